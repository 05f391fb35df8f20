import { type RequestError, TooManyRequestsError } from "../errors.ts";
import { WINDOW_MS } from "../storage/stores/limits.ts";

/** Returns the remaining time of a window in whole seconds, from 1 to the length of a window. */
export function secondsUntil(leftMs: number): number {
  return Math.max(1, Math.ceil(Math.min(leftMs, WINDOW_MS) / 1000));
}

/**
 * Returns the error for an event that a limit rejects.
 *
 * @param what a clause such as `User ann has reached connectsPerUser`
 * @param leftMs the time until the window ends, in milliseconds
 */
export function reachedLimit(what: string, limit: number, leftMs: number): RequestError {
  const retryAfterSeconds = secondsUntil(leftMs);
  return new TooManyRequestsError(
    `${what}, which allows ${limit} per minute. Retry in ${retryAfterSeconds} s, or raise the limit.`,
    { reason: "limit", clientMessage: "Too many requests.", retryAfterSeconds },
  );
}
