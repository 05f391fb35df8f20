import type { Decision } from "sallyport";

let isServing = false;

/** From now on each denial and each permission that ended is printed in one line. A command in another terminal prints none. */
export function logDecisions(): void {
  isServing = true;
}

export function log(decision: Decision): void {
  if (isServing) console.log(lineOf(decision));
}

/** Who was denied what and why. The reference leads to the whole decision: `npx sallyport why REFERENCE`. */
function lineOf({ verdict, event, path, userId, status, message, reference, repeats }: Decision): string {
  const who = userId === undefined ? "" : ` of user ${userId}`;
  const more = repeats === 0 ? "" : `, ${repeats} more of this kind`;
  const line = `${verdict} ${status}: ${event} ${path}${who}: ${message} (reference ${reference}${more})`;
  // Names come from clients, and control characters would reach the terminal.
  return line.replace(/\p{C}/gu, "?");
}
