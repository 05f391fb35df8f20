import { inspect } from "node:util";
import { printableLines } from "./printable.ts";

/**
 * Writes an error to stderr: what `onError` does by default.
 *
 * The message of an error of the app, a driver or a schema may repeat what a client sent.
 *
 * @param where the operation in which the error occurred
 */
export function printError(error: unknown, where: string): void {
  console.error(printableLines(`${where}: ${inspect(error)}`));
}
