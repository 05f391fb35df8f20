import { isDeepStrictEqual } from "node:util";

/** The core and the oracle disagree. */
export class Disagreement extends Error {}

/** @throws Disagreement when what the core said is not what the oracle says */
export function same(what: string, core: unknown, oracle: unknown): void {
  if (isDeepStrictEqual(core, oracle)) return;
  throw new Disagreement(
    `${what}: the core says ${JSON.stringify(core)}, the oracle ${JSON.stringify(oracle)}`,
  );
}

/** The same failure with the story that led to it, a line for each step. */
export function told(failure: unknown, lines: readonly string[]): Disagreement {
  const { message } = failure as Error;
  // Where the core and the oracle disagree the stack tells nothing; anything else is a mistake of the suite or a crash.
  const cause = failure instanceof Disagreement ? failure.cause : failure;
  return new Disagreement([message, ...lines].join("\n"), cause === undefined ? {} : { cause });
}
