import * as v from "valibot";
import { type RequestError, TooManyRequestsError } from "../errors.ts";
import { atOnceOption, optionsOf, perMinuteOption } from "../options.ts";
import type { AuditSubject } from "../storage/stores/audit.ts";
import type { ConnectionLimit, ConnectionScope } from "../storage/stores/connections.ts";
import { type LimitStore, WINDOW_MS, type WindowPosition } from "../storage/stores/limits.ts";
import type { ValidViewLimits } from "../views/limits.ts";
import { COUNTED_LIMITS, describeReached, keyPrefixes } from "./limit-keys.ts";

/**
 * The limits of the app. `false` turns a limit off, and 0 allows nothing.
 *
 * Limits of connects, tokens and messages are per minute. Limits of open connections and of
 * messages in flight apply at any time.
 */
export interface Limits {
  /** Connects of one user through one gateway, with a usable token, per minute. Default 20. */
  readonly connectsPerUser: number | false;
  /**
   * Connects from one address (IPv6: one /64) through one gateway, per minute. It counts connects
   * with a usable token, and connects without a token to views that allow anonymous users. Default
   * 300.
   */
  readonly connectsPerIp: number | false;
  /**
   * Failed connects from one address (IPv6: one /64) through one gateway, per minute. A connect
   * fails if it has no usable token, or the token of another session. Other connects are not
   * limited. Default 20.
   */
  readonly failedConnectsPerIp: number | false;
  /** Open connections of one user through all gateways. Default 50. */
  readonly connectionsPerUser: number | false;
  /** Tokens of one user per minute. Default 20. */
  readonly tokensPerUser: number | false;
  /** Messages on one connection per minute. Each process counts separately. Default 600. */
  readonly messagesPerConnection: number | false;
  /**
   * Messages of one user on all connections per minute. Each process counts separately. Default
   * 3000.
   */
  readonly messagesPerUser: number | false;
  /** Messages on one connection that a process handles at the same time. Default 100. */
  readonly messagesInFlightPerConnection: number | false;
  /**
   * Messages of one user on all connections that a process handles at the same time. Default 200.
   */
  readonly messagesInFlightPerUser: number | false;
  /** Messages that a process handles at the same time. Default 2000. */
  readonly messagesInFlightPerProcess: number | false;
}

/** The option `limits`, with its defaults. */
export const limitsSchema = optionsOf<Partial<Limits>>()({
  connectsPerUser: v.optional(perMinuteOption, 20),
  connectsPerIp: v.optional(perMinuteOption, 300),
  failedConnectsPerIp: v.optional(perMinuteOption, 20),
  connectionsPerUser: v.optional(atOnceOption("connections"), 50),
  tokensPerUser: v.optional(perMinuteOption, 20),
  messagesPerConnection: v.optional(perMinuteOption, 600),
  messagesPerUser: v.optional(perMinuteOption, 3000),
  messagesInFlightPerConnection: v.optional(atOnceOption("messages"), 100),
  messagesInFlightPerUser: v.optional(atOnceOption("messages"), 200),
  messagesInFlightPerProcess: v.optional(atOnceOption("messages"), 2000),
});

/** The value of a limit at a view. */
export interface LimitSetting {
  readonly value: number | false;
  /**
   * The view that sets the value. Only its events are counted. Null if the app sets the value. The
   * events of all views that use it are then counted together.
   */
  readonly view: string | null;
}

/** The limits of the app and of its views. */
export class LimitSettings {
  readonly app: Limits;
  readonly #views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>;

  /** The views that use the value of the app for `connectionsPerUser`. */
  readonly #appScope: ConnectionScope;

  /** @param views the views by path */
  constructor(app: Limits, views: ReadonlyMap<string, { readonly limits: ValidViewLimits }>) {
    this.app = app;
    this.#views = views;
    const limitedViews = [...views].filter(([, { limits }]) => limits.connectionsPerUser !== undefined);
    this.#appScope = { exceptViews: limitedViews.map(([path]) => path) };
  }

  /**
   * Returns the value that applies at a view.
   *
   * @param view the path of the view. For any other value, the value of the app is returned
   */
  at(view: unknown, name: keyof ValidViewLimits): LimitSetting {
    const value = typeof view === "string" ? this.#views.get(view)?.limits[name] : undefined;
    return value === undefined ? { value: this.app[name], view: null } : { value, view: view as string };
  }

  /** Returns the limit of open connections per user at a view, or undefined for no limit. */
  connectionsAt(path: string): ConnectionLimit | undefined {
    const { value, view } = this.at(path, "connectionsPerUser");
    if (value === false) return undefined;
    return { max: value, scope: view === null ? this.#appScope : { view } };
  }
}

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

/** Returns the remaining time of a window in whole seconds, from 1 to the length of a window. */
function secondsUntil(leftMs: number): number {
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
