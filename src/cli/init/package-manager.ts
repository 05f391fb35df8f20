import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse } from "jsonc-parser";
import { ConfigurationError } from "../../errors.ts";

export const PACKAGE_MANAGERS = ["npm", "pnpm", "yarn", "bun"] as const;
export type PackageManager = (typeof PACKAGE_MANAGERS)[number];

/** Lock files by package manager. */
const LOCK_FILES: readonly (readonly [string, PackageManager])[] = [
  ["pnpm-lock.yaml", "pnpm"],
  ["yarn.lock", "yarn"],
  ["bun.lock", "bun"],
  ["bun.lockb", "bun"],
  ["package-lock.json", "npm"],
];

/**
 * Returns the package manager of a folder, which is the first of these:
 *
 * - `packageManager` of package.json or the lock file, in the folder or in a parent folder up to
 *   the root of the Git repository or of the workspace
 * - the package manager that runs this process, such as `pnpm create`
 * - npm
 */
export function packageManagerOf(folder: string): PackageManager {
  for (const each of foldersOfRepository(folder)) {
    const [, locked] = LOCK_FILES.find(([file]) => existsSync(join(each, file))) ?? [];
    const found = declaredIn(each) ?? locked;
    if (found) return found;
  }
  const [running] = (process.env.npm_config_user_agent ?? "").split("/");
  return PACKAGE_MANAGERS.find((name) => name === running) ?? "npm";
}

/** Returns the package manager that `packageManager` of a package.json names, such as `pnpm@9.0.0`. */
function declaredIn(folder: string): PackageManager | undefined {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return undefined;
  // A file that is not valid JSON is reported when the project is read.
  const { packageManager } = (parse(readFileSync(file, "utf8")) ?? {}) as {
    readonly packageManager?: unknown;
  };
  return PACKAGE_MANAGERS.find((name) => String(packageManager).startsWith(`${name}@`));
}

/** Returns the folder and its parents up to the repository or workspace, or only the folder outside of one. */
function foldersOfRepository(folder: string): readonly string[] {
  const folders = [folder];
  for (let current = folder; !isRoot(current); ) {
    const parent = dirname(current);
    if (parent === current) return [folder];
    folders.push(parent);
    current = parent;
  }
  return folders;
}

function isRoot(folder: string): boolean {
  if ([".git", "pnpm-workspace.yaml"].some((name) => existsSync(join(folder, name)))) return true;
  const file = join(folder, "package.json");
  if (!existsSync(file)) return false;
  const { workspaces } = (parse(readFileSync(file, "utf8")) ?? {}) as { readonly workspaces?: unknown };
  return workspaces !== undefined;
}

/** Returns the command that runs a program of an installed package. */
export function execCommand(manager: PackageManager, program: string): string {
  const prefix = { npm: "npx", pnpm: "pnpm exec", yarn: "yarn", bun: "bunx" }[manager];
  return `${prefix} ${program}`;
}

/** Returns the command that adds a package. */
export function addCommand(manager: PackageManager, name: string): string {
  return `${manager} ${manager === "npm" ? "install" : "add"} ${name}`;
}

/** Returns the command that runs a script of package.json. */
export function runCommand(manager: PackageManager, script: string): string {
  return manager === "npm" || manager === "bun" ? `${manager} run ${script}` : `${manager} ${script}`;
}

/** Installs the packages of a folder, and returns the error if the package manager fails. */
export async function install(
  manager: PackageManager,
  folder: string,
): Promise<ConfigurationError | undefined> {
  const child = spawn(manager, ["install"], {
    cwd: folder,
    // stdout contains the output of the command only.
    stdio: ["ignore", process.stderr, process.stderr],
    shell: process.platform === "win32",
  });
  const failure = await Promise.race([
    once(child, "error").then(([error]) => (error as Error).message),
    once(child, "close").then(([code]) => (code === 0 ? undefined : `exit code ${code}`)),
  ]);
  if (failure === undefined) return undefined;
  return new ConfigurationError(
    `"${manager} install" failed (${failure}). Correct the problem, and run it again in ${folder}.`,
  );
}
