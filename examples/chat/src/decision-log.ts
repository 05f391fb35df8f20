import type { Decision } from "sallyport";

let isServing = false;

/**
 * Starts to print one line for each denial and each revocation. The server calls it. The command
 * line of Sallyport loads the same app and must not print them.
 */
export function logDecisions(): void {
  isServing = true;
}

export function log(decision: Decision): void {
  if (isServing) console.log(lineOf(decision));
}

/**
 * Formats a decision as one line. `npx sallyport why REFERENCE` prints all details of the decision.
 */
function lineOf({ verdict, event, path, userId, status, message, reference, repeats }: Decision): string {
  const who = userId === undefined ? "" : ` of user ${userId}`;
  const more = repeats === 0 ? "" : `, ${repeats} more of this kind`;
  const line = `${verdict} ${status}: ${event} ${path}${who}: ${message} (reference ${reference}${more})`;
  // Clients can send control characters, which must not reach the terminal.
  return line.replace(/\p{C}/gu, "?");
}
