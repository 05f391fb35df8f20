import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "../errors.ts";
import { loadingFailure } from "../optional-packages.ts";

/**
 * Imports a module, and returns its exports. TypeScript is loaded by jiti, which works on every
 * supported version of Node.js.
 *
 * Below `sallyport dev` or `node --watch`, the process restarts when a file of the module changes,
 * also if the import failed.
 */
export async function importModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  watch([file]);
  if (!/\.[cm]?tsx?$/.test(file)) return import(pathToFileURL(file).href);
  const { createJiti } = await loadJiti();
  const compiler = createJiti(import.meta.url, { fsCache: cacheFolder(file) ?? false });
  const jiti = createJiti(import.meta.url, {
    // The compiler has the cache, so that this function is called for each file.
    fsCache: false,
    transform: (source) => {
      // A file can change while the others are loaded.
      if (source.filename !== undefined) watch([source.filename]);
      return { code: compiler.transform(source) };
    },
  });
  return jiti.import(file);
}

/** Reports the files to the parent process, as Node.js does, if that process watches them. */
function watch(files: readonly string[]): void {
  if (process.env.WATCH_REPORT_DEPENDENCIES) process.send?.({ "watch:require": files });
}

/**
 * Returns a folder for compiled TypeScript in the `node_modules` folder beside the closest
 * package.json, or undefined without one.
 *
 * A user who can write there can also replace the packages of the app. The default of jiti can be the
 * temporary folder, in which each user can write.
 */
function cacheFolder(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const modules = join(folder, "node_modules");
    if (existsSync(join(folder, "package.json")))
      return existsSync(modules) ? join(modules, ".cache", "sallyport") : undefined;
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
