import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const OPTIONS = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"];
/** Folder of the packages. This file runs as `bench/src/` and as `bench/dist/`. */
const PACKAGES = resolve(import.meta.dirname, "../../test/packages");
/** A copy of the lock file that `node_modules` was installed from. */
const INSTALLED = "node_modules/.installed-lock.json";

/**
 * Installs packages that only some tests need from the lock file in `test/packages/<name>`, so that
 * `npm ci` of the repository stays small. Does nothing if they are already installed.
 *
 * @returns the path of `test/packages/<name>`, which contains `node_modules`
 */
export async function installPackages(name: string): Promise<string> {
  const folder = join(PACKAGES, name);
  const lock = await readFile(join(folder, "package-lock.json"), "utf8");
  if ((await readFile(join(folder, INSTALLED), "utf8").catch(() => undefined)) === lock) return folder;
  const partial = await mkdtemp(join(folder, ".install-"));
  try {
    for (const file of ["package.json", "package-lock.json", ".npmrc"]) {
      if (existsSync(join(folder, file))) await cp(join(folder, file), join(partial, file));
    }
    await promisify(execFile)("npm", ["ci", ...OPTIONS], { cwd: partial });
    await writeFile(join(partial, INSTALLED), lock);
    await rm(join(folder, "node_modules"), { recursive: true, force: true });
    await rename(join(partial, "node_modules"), join(folder, "node_modules")).catch((error) => {
      // Another test process installed the same lock file meanwhile.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}
