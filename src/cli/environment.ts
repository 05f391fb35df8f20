import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ConfigurationError } from "../errors.ts";

/** Returns the path of the closest package.json, or undefined if there is none. */
export function closestPackage(): string | undefined {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const file = resolve(folder, "package.json");
    if (existsSync(file)) return file;
    if (dirname(folder) === folder) return undefined;
  }
}

/** Returns the folder of the closest package.json, or the current folder if there is none. */
export function projectFolder(): string {
  const file = closestPackage();
  return file === undefined ? process.cwd() : dirname(file);
}

/** Files with environment variables. A variable has the value of the first file that contains it. */
const FILES = [".env.local", ".env"];

/**
 * Sets the environment variables of the files `.env.local` and `.env` of the project. Variables that
 * are already set keep their value. Without the files, nothing happens.
 *
 * @throws ConfigurationError if a file cannot be read
 */
export function loadEnvironment(): void {
  const folder = projectFolder();
  for (const file of FILES.map((name) => resolve(folder, name)).filter((path) => existsSync(path))) {
    try {
      process.loadEnvFile(file);
    } catch (cause) {
      throw new ConfigurationError(
        `${file} cannot be read: ${(cause as Error).message}. Correct or delete the file.`,
        { cause },
      );
    }
  }
}
