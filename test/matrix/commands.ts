import { execFile } from "node:child_process";
import { delimiter, dirname } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** How long one command can take, in milliseconds: `npm ci` with an empty cache needs most of it. */
const COMMAND_TIMEOUT_MS = 600_000;

export interface CommandOptions {
  readonly cwd: string;
  /** Folders that come first in PATH. */
  readonly bins?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a command and returns its standard output.
 *
 * @throws Error with the command and everything it printed, if its exit code is not 0
 */
export async function run(command: readonly string[], options: CommandOptions): Promise<string> {
  const [file, ...args] = command as readonly [string, ...string[]];
  const { cwd } = options;
  try {
    const { stdout } = await execute(file, args, {
      cwd,
      env: commandEnv(options),
      timeout: COMMAND_TIMEOUT_MS,
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout.trim();
  } catch (error) {
    const { message, stdout } = error as Error & { stdout?: string };
    throw new Error(`${message}\n${stdout ?? ""}`, { cause: error });
  }
}

/**
 * Returns the environment of a user's shell, without what npm and vitest set for their child
 * processes.
 */
export function commandEnv({ bins = [], env = {} }: CommandOptions): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|VITEST|TEST|NODE_ENV$|NODE_OPTIONS$|INIT_CWD$|DATABASE_URL$|PORT$)/.test(name),
  );
  const path = [...bins, process.env.PATH ?? ""].join(delimiter);
  return { ...Object.fromEntries(own), PATH: path, ...env };
}

const folders = new Map<string, Promise<string>>();

/** Downloads a package into npx's cache, and returns the folder of its command. */
export function binFolder(spec: string, command: string): Promise<string> {
  const known = folders.get(spec);
  if (known) return known;
  const folder = run(["npx", "-y", "--prefer-offline", "-p", spec, "-c", `command -v ${command}`], {
    cwd: "/",
  }).then(dirname);
  folders.set(spec, folder);
  return folder;
}

/** The folder of a Node of this major version: the running one if it matches, otherwise one from npm. */
export async function nodeFolder(major: number): Promise<string> {
  if (process.versions.node.startsWith(`${major}.`)) return dirname(process.execPath);
  return binFolder(`node@${major}`, "node");
}
