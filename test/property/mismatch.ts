import { isDeepStrictEqual } from "node:util";

/** Thrown when the result of the library differs from the reference model. */
export class Mismatch extends Error {}

/**
 * Compares a result of the library with the reference model.
 *
 * @throws Mismatch if they differ
 */
export function expectSame(what: string, actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Mismatch(
    `${what}: the library returned ${JSON.stringify(actual)}, the model expects ${JSON.stringify(expected)}`,
  );
}

/** Returns the same failure with the steps that led to it, one line for each step. */
export function withSteps(failure: unknown, lines: readonly string[]): Mismatch {
  const { message } = failure as Error;
  // The stack of a mismatch is not useful. Any other error is a crash or a bug in the suite, so it
  // is kept.
  const cause = failure instanceof Mismatch ? failure.cause : failure;
  return new Mismatch([message, ...lines].join("\n"), cause === undefined ? {} : { cause });
}
