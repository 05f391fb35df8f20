import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { DEFAULT_URL, targetOf } from "./dev/embedded-postgres.ts";
import { closestPackage } from "./environment.ts";
import { packageManagerOf, runCommand } from "./init/package-manager.ts";

/**
 * Returns how to start the database server that a script of the app runs with `--embedded-postgres`,
 * or undefined if there is no such script, or the error has another cause.
 */
export function databaseAdvice(error: unknown): string | undefined {
  const { code, cause } = (error ?? {}) as {
    readonly code?: unknown;
    readonly cause?: { readonly code?: unknown };
  };
  if (code !== "SALLYPORT_STORAGE" || cause?.code !== "ECONNREFUSED") return undefined;
  const file = closestPackage();
  if (file === undefined) return undefined;
  const script = scriptWith(file, "--embedded-postgres");
  if (script === undefined || !isEmbedded(process.env.DATABASE_URL)) return undefined;
  return `${runCommand(packageManagerOf(dirname(file)), script)} starts this server. Keep it running, and repeat the command.`;
}

/** Returns whether `sallyport dev --embedded-postgres` can start a server at this URL. */
function isEmbedded(url: string | undefined): boolean {
  try {
    targetOf(url || DEFAULT_URL);
    return true;
  } catch {
    return false;
  }
}

/** Returns the name of the script of a package.json that contains an option. */
function scriptWith(file: string, option: string): string | undefined {
  try {
    const { scripts = {} } = JSON.parse(readFileSync(file, "utf8")) as {
      readonly scripts?: Readonly<Record<string, unknown>>;
    };
    return Object.keys(scripts).find((name) => String(scripts[name]).includes(option));
  } catch {
    return undefined;
  }
}
