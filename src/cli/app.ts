import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "../errors.ts";
import { INTERNAL } from "../internal.ts";
import { loadingFailure } from "../optional-packages.ts";
import type { Sallyport } from "../sallyport.ts";

const HOW =
  'Name the module that exports it: "sallyport": { "app": "src/sallyport.ts" } in package.json, --app FILE, or SALLYPORT_APP.';

/**
 * Finds and loads the Sallyport object of the app. The module is named by `--app`, by
 * SALLYPORT_APP, or by `sallyport.app` of the closest package.json, in this order.
 *
 * @throws ConfigurationError if no module is named, or if it exports no Sallyport object
 */
async function loadApp(option: string | undefined): Promise<Sallyport> {
  const file = option
    ? resolve(option)
    : process.env.SALLYPORT_APP
      ? resolve(process.env.SALLYPORT_APP)
      : await appOfPackage();
  if (!existsSync(file)) {
    throw new ConfigurationError(
      `The app ${file} does not exist. Build it first, or correct its path. ${HOW}`,
    );
  }
  const module = (await importModule(file)) as Record<string, unknown>;
  for (const candidate of [module.sallyport, module.default]) if (isSallyport(candidate)) return candidate;
  throw new ConfigurationError(
    `${file} exports no Sallyport object. Add: export const sallyport = createSallyport({ … })`,
  );
}

/**
 * Runs a command with the Sallyport object of the app, and closes the object afterwards.
 *
 * Output of the app itself goes to stderr, because stdout contains only the output of the command.
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

/**
 * Imports a module. TypeScript is loaded by jiti, which works on every supported version of
 * Node.js.
 */
async function importModule(file: string): Promise<unknown> {
  if (!/\.[cm]?tsx?$/.test(file)) return import(pathToFileURL(file).href);
  const { createJiti } = await loadJiti();
  // The cache of jiti is in the temporary folder, where other users could write code that the app
  // would then run.
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
  return typeof value === "object" && value !== null && INTERNAL in value;
}

/**
 * Returns the app that the closest package.json names. As in npm, that file marks the root of the
 * project. A package.json above it belongs to another package, so its code is not run.
 */
async function appOfPackage(): Promise<string> {
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

/** Returns `sallyport.app` of a package.json, or undefined if it names none. */
function appOf(text: string, file: string): string | undefined {
  try {
    const { app } = (JSON.parse(text) as { sallyport?: { app?: unknown } } | null)?.sallyport ?? {};
    return typeof app === "string" ? app : undefined;
  } catch (error) {
    throw new ConfigurationError(`${file} is not valid JSON: ${(error as Error).message}. Correct the file.`);
  }
}
