import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "../errors.ts";
import { loadingFailure } from "../optional-packages.ts";

/** A module of an app, and the TypeScript files that it was loaded from. */
export interface ImportedModule {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly files: readonly string[];
}

/**
 * Imports a module. TypeScript is loaded by jiti, which works on every supported version of
 * Node.js.
 */
export async function importModule(file: string): Promise<ImportedModule> {
  if (!/\.[cm]?tsx?$/.test(file)) return { exports: await import(pathToFileURL(file).href), files: [] };
  const { createJiti } = await loadJiti();
  const jiti = createJiti(import.meta.url, { fsCache: cacheFolder(file) ?? false });
  const exports = (await jiti.import(file)) as Readonly<Record<string, unknown>>;
  return { exports, files: Object.keys(jiti.cache) };
}

/**
 * Returns a folder for compiled TypeScript in the closest `node_modules` folder, or undefined
 * without one.
 *
 * The default of jiti can be the temporary folder. Other users could write code there, which the app
 * would then run.
 */
function cacheFolder(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const modules = join(folder, "node_modules");
    if (existsSync(modules)) return join(modules, ".cache", "sallyport");
    if (dirname(folder) === folder) return undefined;
  }
}

async function loadJiti(): Promise<typeof import("jiti")> {
  try {
    return await import("jiti");
  } catch (cause) {
    const message = loadingFailure({ name: "jiti", neededBy: "An app in TypeScript" }, cause);
    throw new ConfigurationError(message, { cause });
  }
}
