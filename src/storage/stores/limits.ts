import type { AuditSubject } from "./audit.ts";

/** The duration of a window, in milliseconds. */
export const WINDOW_MS = 60_000;

/** The open window of a limit. */
export interface CountedWindow {
  /** The number of counted events. */
  readonly count: number;
  /** The time until the window ends, in milliseconds. */
  readonly leftMs: number;
}

/** The position of a window in a list. */
export interface WindowPosition {
  readonly key: string;
  readonly count: number;
}

/** A key and the number of events that its window allows. */
export interface CountedKey {
  readonly key: string;
  readonly limit: number;
}

/**
 * Counts events across all processes.
 *
 * A window of one minute starts with the first counted event. Checking and counting are one
 * operation, so concurrent events never exceed the limit. Rejected events are not counted, so they
 * do not extend the wait.
 */
export interface LimitStore {
  /** Counts an event. @returns false if the limit is reached. Nothing is counted then */
  take(counted: CountedKey): Promise<boolean>;

  /**
   * Counts an event for a user and for an address, or for neither if one of the limits is reached.
   * A limit can be reached by a concurrent event. Then only the user is counted.
   *
   * @returns the keys that were counted
   */
  takeBoth(user: CountedKey, address: CountedKey): Promise<ReadonlySet<string>>;

  /** Subtracts one event from the open window of a key. */
  uncount(key: string): Promise<void>;

  /** Returns the open window of a key. */
  window(key: string): Promise<CountedWindow | undefined>;

  /**
   * Returns a page of open windows, highest counts first.
   *
   * @param prefixes only windows with one of these prefixes of their keys
   * @param after the last window of the previous page. Default: the first page
   */
  list(
    prefixes: readonly string[],
    limit: number,
    after?: WindowPosition,
  ): Promise<readonly (WindowPosition & CountedWindow)[]>;

  /**
   * Removes windows, and records that in the audit log.
   *
   * @param prefixes only windows with one of these prefixes of their keys
   * @param describe returns the audit entry for the number of removed windows that were open
   * @returns how many of the removed windows were open
   */
  clear(prefixes: readonly string[], describe: (open: number) => AuditSubject): Promise<number>;

  /**
   * Removes windows that started more than ten minutes ago.
   *
   * @returns how many were removed, at most `limit`
   */
  removeEnded(limit: number): Promise<number>;

  /**
   * Removes old windows from one page of windows, in the order of their keys. The cost does not
   * depend on the number of windows.
   *
   * @param after the last key of the previous page, `""` for the first page
   * @returns the last key of the page, or undefined for the last page
   */
  removeEndedAfter(after: string, limit: number): Promise<{ readonly last: string | undefined }>;
}
