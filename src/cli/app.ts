import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ConfigurationError } from "../errors.ts";
import { INTERNAL } from "../internal.ts";
import type { Sallyport } from "../sallyport.ts";
import { closestPackage, loadEnvironment } from "./environment.ts";
import { importModule } from "./import-module.ts";

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
  const exports = await importModule(file);
  for (const candidate of [exports.sallyport, exports.default]) if (isSallyport(candidate)) return candidate;
  throw new ConfigurationError(
    `${file} exports no Sallyport object. Add: export const sallyport = createSallyport({ … })`,
  );
}

/**
 * Runs a command with the Sallyport object of the app, and closes the object afterwards. The
 * environment variables of `.env` are set first.
 *
 * Output of the app itself goes to stderr, because stdout contains only the output of the command.
 */
export async function withApp(
  option: string | undefined,
  command: (sallyport: Sallyport) => Promise<void>,
): Promise<void> {
  loadEnvironment();
  return withAppOfEnvironment(option, command);
}

/** Does the same as {@link withApp}, for a command that has called `loadEnvironment`. */
export async function withAppOfEnvironment(
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

function isSallyport(value: unknown): value is Sallyport {
  return typeof value === "object" && value !== null && INTERNAL in value;
}

/**
 * Returns the app that the closest package.json names. As in npm, that file marks the root of the
 * project. A package.json above it belongs to another package, so its code is not run.
 */
async function appOfPackage(): Promise<string> {
  const file = closestPackage();
  if (file === undefined) throw new ConfigurationError(`No app was named. ${HOW}`);
  const app = appOf(await readFile(file, "utf8"), file);
  if (app !== undefined) return resolve(dirname(file), app);
  throw new ConfigurationError(
    `No app was named. ${file} does not contain "sallyport": { "app" }, and a package.json above it is not read, because it ` +
      `belongs to another package. ${HOW}`,
  );
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
