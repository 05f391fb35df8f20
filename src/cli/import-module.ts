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
  // The cache of jiti is in the temporary folder, where other users could write code that the app
  // would then run.
  const jiti = createJiti(import.meta.url, { fsCache: false });
  const exports = (await jiti.import(file)) as Readonly<Record<string, unknown>>;
  return { exports, files: Object.keys(jiti.cache) };
}

async function loadJiti(): Promise<typeof import("jiti")> {
  try {
    return await import("jiti");
  } catch (cause) {
    const message = loadingFailure({ name: "jiti", neededBy: "An app in TypeScript" }, cause);
    throw new ConfigurationError(message, { cause });
  }
}
