import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
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
 * Returns the package manager of a folder: that of its lock file, else the one that runs this
 * process, such as `pnpm create`, else npm.
 */
export function packageManagerOf(folder: string): PackageManager {
  const [, locked] = LOCK_FILES.find(([file]) => existsSync(join(folder, file))) ?? [];
  const [running] = (process.env.npm_config_user_agent ?? "").split("/");
  return locked ?? PACKAGE_MANAGERS.find((name) => name === running) ?? "npm";
}

/** Returns the command that runs a script of package.json. */
export function runCommand(manager: PackageManager, script: string): string {
  return manager === "npm" || manager === "bun" ? `${manager} run ${script}` : `${manager} ${script}`;
}

/** Installs the packages of a folder. @throws ConfigurationError if the package manager fails */
export async function install(manager: PackageManager, folder: string): Promise<void> {
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
  if (failure === undefined) return;
  throw new ConfigurationError(
    `"${manager} install" failed (${failure}). Correct the problem, and run it again in ${folder}.`,
  );
}
