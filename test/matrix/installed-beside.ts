import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { installPackages } from "../packages/install.ts";

const root = resolve(import.meta.dirname, "../..");

/** The API of aws-cdk-lib that a test uses. It has no types here, because the package is not a dependency. */
export type Untyped = ReturnType<typeof JSON.parse>;

/**
 * Installs the packages of `test/packages/<name>` and the built package beside them, as an app has
 * them.
 *
 * @param name the folder below `test/packages`
 * @returns the path of that folder
 */
export async function installBeside(name: string): Promise<string> {
  const folder = await installPackages(name);
  const installed = join(folder, "node_modules/sallyport");
  await rm(installed, { recursive: true, force: true });
  await mkdir(installed, { recursive: true });
  for (const part of ["bin", "dist", "package.json"])
    await cp(join(root, part), join(installed, part), { recursive: true });
  // Its own dependencies come first, because the other packages may have other versions of them.
  await symlink(join(root, "node_modules"), join(installed, "node_modules"));
  return folder;
}

/** Imports a module as a file in a folder would. */
export async function importFrom(folder: string, name: string): Promise<Untyped> {
  const file = createRequire(join(folder, "package.json")).resolve(name);
  return import(pathToFileURL(file).href);
}

/** Copies files into a new folder, in which they find the packages of `test/packages/<name>`. */
export async function copyBeside(packages: string, source: string): Promise<string> {
  const folder = await mkdtemp(join(packages, ".copy-"));
  await cp(source, folder, {
    recursive: true,
    filter: (path) => !/\/(node_modules|cdk\.out)(\/|$)/.test(path),
  });
  return folder;
}
