import type { RequestError } from "../errors.ts";
import type { AuditSubject } from "../storage/stores/audit.ts";
import { type LimitStore, WINDOW_MS, type WindowPosition } from "../storage/stores/limits.ts";
import { reachedLimit, secondsUntil } from "./limit-errors.ts";
import { COUNTED_LIMITS, describeReached, keyPrefixes } from "./limit-keys.ts";

/** Selects the windows of a user, the windows of a block of addresses, or all windows. */
interface LimitSubject {
  readonly user?: string | undefined;
  readonly address?: string | undefined;
}

/**
 * The prefixes of the keys of all limits. Windows of other limits can remain from an earlier
 * version.
 */
const KNOWN_KEYS = COUNTED_LIMITS.map((limit) => `["${limit}",`);
/** The prefix of the keys of all limits of any version. Other counters do not have it. */
const ANY_KEYS = ["["];

/** Checks limits that are counted in the database, across all processes. */
export class RateLimits {
  readonly #store: LimitStore;

  constructor(store: LimitStore) {
    this.#store = store;
  }

  /**
   * Counts one event.
   *
   * @param key identifies the window, as returned by `limitKey()`
   * @throws RequestError with 429 if the limit is reached
   */
  async take(key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    if (!(await this.#store.take({ key, limit }))) throw await this.#limitError(key, limit);
  }

  /**
   * Checks a limit without counting an event.
   *
   * @throws RequestError with 429 if the limit is reached
   */
  async check(key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const window = await this.#store.window(key);
    if ((window?.count ?? 0) >= limit) throw await this.#limitError(key, limit);
  }

  /**
   * Returns a page of open windows, highest counts first.
   *
   * @param of selects the windows of a user or an address. An empty object selects all windows
   * @param after the last window of the previous page. Default: the first page
   */
  async windows(
    of: LimitSubject,
    limit: number,
    after?: WindowPosition,
  ): Promise<readonly (WindowPosition & { readonly secondsLeft: number })[]> {
    const windows = await this.#store.list(prefixesOf(of, KNOWN_KEYS), limit, after);
    return windows.map(({ key, count, leftMs }) => ({ key, count, secondsLeft: secondsUntil(leftMs) }));
  }

  /**
   * Removes the windows of a user or an address, or all windows, also those of other versions.
   *
   * @param describe returns the audit entry for the number of removed windows that were open
   * @returns how many of the removed windows were open
   */
  clear(of: LimitSubject, describe: (open: number) => AuditSubject): Promise<number> {
    return this.#store.clear(prefixesOf(of, ANY_KEYS), describe);
  }

  async #limitError(key: string, limit: number): Promise<RequestError> {
    const window = await this.#store.window(key);
    return reachedLimit(describeReached(key), limit, window?.leftMs ?? WINDOW_MS);
  }
}

/**
 * Returns the prefixes of keys of {@link limitKey}. Other counters never match.
 *
 * @param all the prefixes to use if `of` contains neither a user nor an address
 */
function prefixesOf(of: LimitSubject, all: readonly string[]): readonly string[] {
  return of.user === undefined && of.address === undefined ? all : keyPrefixes(of);
}
