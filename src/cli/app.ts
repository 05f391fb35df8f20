import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "../errors.ts";
import { loadingFailure } from "../optional-packages.ts";
import { SALLYPORT, type Sallyport } from "../sallyport.ts";

const HOW =
  'Name the module that exports it: "sallyport": { "app": "src/sallyport.ts" } in package.json, --app FILE, or SALLYPORT_APP.';

/**
 * Finds and loads the app's Sallyport: `--app`, else SALLYPORT_APP, else `sallyport.app` of the nearest package.json.
 *
 * @throws ConfigurationError that says which of the three to set, or what is wrong with the module
 */
async function loadApp(option: string | undefined): Promise<Sallyport> {
  const file = option
    ? resolve(option)
    : process.env.SALLYPORT_APP
      ? resolve(process.env.SALLYPORT_APP)
      : await named();
  if (!existsSync(file)) {
    throw new ConfigurationError(
      `The app ${file} does not exist. Build it first, or correct its path. ${HOW}`,
    );
  }
  const module = (await importModule(file)) as Record<string, unknown>;
  for (const candidate of [module.sallyport, module.default]) if (isSallyport(candidate)) return candidate;
  throw new ConfigurationError(
    `${file} exports no Sallyport. Write: export const sallyport = createSallyport({ … })`,
  );
}

/**
 * Runs a command with the app's Sallyport, and closes it however the command ends. What the app itself writes to stdout
 * meanwhile, in a listener perhaps, goes to stderr: stdout is for the answer.
 */
export async function withApp(
  option: string | undefined,
  command: (sallyport: Sallyport) => Promise<void>,
): Promise<void> {
  const { write } = process.stdout;
  process.stdout.write = process.stderr.write.bind(process.stderr);
  try {
    const sallyport = await loadApp(option);
    try {
      await command(sallyport);
    } finally {
      await sallyport.close();
    }
  } finally {
    process.stdout.write = write;
  }
}

/** TypeScript runs through jiti, which takes it as it is written on every Node we support. */
async function importModule(file: string): Promise<unknown> {
  if (!/\.[cm]?tsx?$/.test(file)) return import(pathToFileURL(file).href);
  const { createJiti } = await loadJiti();
  // jiti's cache would be in the system's temporary folder, where other users can write code that the app then runs.
  return createJiti(import.meta.url, { fsCache: false }).import(file);
}

async function loadJiti(): Promise<typeof import("jiti")> {
  try {
    return await import("jiti");
  } catch (cause) {
    const message = loadingFailure({ name: "jiti", neededBy: "An app in TypeScript" }, cause);
    throw new ConfigurationError(message, { cause });
  }
}

function isSallyport(value: unknown): value is Sallyport {
  return typeof value === "object" && value !== null && SALLYPORT in value;
}

/**
 * Returns the app that the nearest package.json names. As in npm, that file is where the project ends: the code that a package.json
 * above it names belongs to another package and is not run.
 */
async function named(): Promise<string> {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const file = resolve(folder, "package.json");
    if (existsSync(file)) {
      const app = appOf(await readFile(file, "utf8"), file);
      if (app !== undefined) return resolve(folder, app);
      throw new ConfigurationError(
        `No app was named. ${file} does not contain "sallyport": { "app" }, and a package.json above it is not read, because it ` +
          `belongs to another package. ${HOW}`,
      );
    }
    if (dirname(folder) === folder) throw new ConfigurationError(`No app was named. ${HOW}`);
  }
}

/** `sallyport.app` of a package.json, or undefined where it names none. */
function appOf(text: string, file: string): string | undefined {
  try {
    const { app } = (JSON.parse(text) as { sallyport?: { app?: unknown } } | null)?.sallyport ?? {};
    return typeof app === "string" ? app : undefined;
  } catch (error) {
    throw new ConfigurationError(`${file} cannot be read: ${(error as Error).message}`);
  }
}
