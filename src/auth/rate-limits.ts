import ipaddr from "ipaddr.js";
import type { Expression, ExpressionBuilder, Kysely, OnConflictBuilder, SqlBool } from "kysely";
import * as v from "valibot";
import { type RequestError, TooManyRequestsError } from "../errors.ts";
import { atOnceOption, optionsOf, perMinuteOption } from "../options.ts";
import { CHANGES, type Database, type Sql, type Tables } from "../storage/database.ts";
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

/** Length of the window of a limit, in milliseconds. */
export const WINDOW_MS = 60_000;
/** How long the row of a window is kept after the start of the window, in milliseconds. */
const KEEP_WINDOW_MS = 10 * WINDOW_MS;

/**
 * How far in the future a stored time can be, in milliseconds. A later time was written before the
 * clock was set back. The window or token that it belongs to has ended.
 */
export const MAX_CLOCK_SKEW_MS = 5_000;

/** The template tag and the clock of a database. */
type SqlClock = Pick<Database, "sql" | "now">;

/**
 * Returns a condition for windows that have not ended.
 *
 * A window that starts in the future counts as ended. It would otherwise last until the clock
 * reaches it.
 *
 * @param column the start of the window
 */
function isOpen({ sql, now }: SqlClock, column = "window_started_at") {
  const started = sql.ref(column);
  return sql<boolean>`(${started} > ${now} - ${sql.lit(WINDOW_MS)} and ${started} <= ${now} + ${sql.lit(MAX_CLOCK_SKEW_MS)})`;
}

/**
 * Counts events in the database, across all processes.
 *
 * A window of one minute starts with the first counted event. Checking and counting are one
 * statement, so concurrent events never exceed the limit. Rejected events are not counted, so they
 * do not extend the wait.
 */
export class RateLimits {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Counts one event.
   *
   * @param key identifies the window, as returned by `limitKey()`
   * @throws RequestError with 429 if the limit is reached
   */
  async take(db: Kysely<Tables>, key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const counted = limit > 0 && (await this.#count(db, key, limit));
    if (!counted) throw await this.#limitError(db, key, limit);
  }

  /** Does the same with a separate statement, outside of any transaction. */
  async takeAlone(key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const counted = limit > 0 && (await this.#database.execute((db) => this.#count(db, key, limit)));
    if (!counted) throw await this.#limitError(this.#database.db, key, limit);
  }

  /** Subtracts one event from the open window of a key. */
  async uncount(key: string): Promise<void> {
    await this.#database.execute((db) =>
      db
        .updateTable("sallyport_counters")
        .set(({ eb }) => ({ count: eb("count", "-", 1) }))
        .where("key", "=", key)
        .where("count", ">", 0)
        .where(isOpen(this.#database))
        .execute(),
    );
  }

  /**
   * Checks a limit without counting an event.
   *
   * @throws RequestError with 429 if the limit is reached
   */
  async check(db: Kysely<Tables>, key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const row = await this.#window(db, key);
    if ((row?.count ?? 0) >= limit) throw await this.#limitError(db, key, limit);
  }

  /**
   * Removes windows that started more than ten minutes ago.
   *
   * @returns how many were removed, at most `limit`
   */
  async removeEnded(limit: number): Promise<number> {
    const { now } = this.#database;
    const { numDeletedRows } = await this.#database.execute((db) =>
      db
        .deleteFrom("sallyport_counters")
        .where("key", "in", (eb) =>
          eb
            .selectFrom("sallyport_counters as old")
            .select("old.key")
            .where("old.key", "!=", CHANGES)
            .where(({ eb: on }) => on("old.window_started_at", "<", on(now, "-", KEEP_WINDOW_MS)))
            .orderBy("old.key")
            .limit(limit),
        )
        // Keeps a window that was started again since the subquery ran.
        .where(({ eb }) => eb("window_started_at", "<", eb(now, "-", KEEP_WINDOW_MS)))
        .executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  /**
   * Removes old windows from one page of windows, in the order of their keys. The cost does not
   * depend on the number of windows.
   *
   * @param after the last key of the previous page, `""` for the first page
   * @returns the last key of the page, or undefined for the last page
   */
  async removeEndedAfter(after: string, limit: number): Promise<{ readonly last: string | undefined }> {
    const { db, now } = this.#database;
    const page = await db
      .selectFrom("sallyport_counters")
      .select(({ eb }) => [
        "key",
        eb
          .case()
          .when("window_started_at", "<", eb(now, "-", KEEP_WINDOW_MS))
          .then(1)
          .else(0)
          .end()
          .as("has_ended"),
      ])
      .where("key", ">", after)
      .orderBy("key")
      .limit(limit)
      .execute();
    const ended = page
      .filter(({ key, has_ended }) => Number(has_ended) === 1 && key !== CHANGES)
      .map(({ key }) => key);
    if (ended.length > 0) {
      await this.#database.execute((to) =>
        to
          .deleteFrom("sallyport_counters")
          .where("key", "in", ended)
          // Keeps a window that was started again since the page was read.
          .where(({ eb }) => eb("window_started_at", "<", eb(now, "-", KEEP_WINDOW_MS)))
          .execute(),
      );
    }
    return { last: page.length < limit ? undefined : page.at(-1)?.key };
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
    const { db, now } = this.#database;
    let query = db
      .selectFrom("sallyport_counters")
      .select(({ eb }) => [
        "key",
        "count",
        eb("window_started_at", "-", eb.parens(now, "-", WINDOW_MS)).as("left_ms"),
      ])
      .where(isOf(this.#database.sql, of, KNOWN_KEYS))
      .where(isOpen(this.#database))
      .orderBy("count", "desc")
      .orderBy("key")
      .limit(limit);
    if (after !== undefined) {
      query = query.where(({ and, eb, or }) =>
        or([eb("count", "<", after.count), and([eb("count", "=", after.count), eb("key", ">", after.key)])]),
      );
    }
    return (await query.execute()).map(({ key, count, left_ms }) => ({
      key,
      count: Number(count),
      secondsLeft: secondsUntil(Number(left_ms)),
    }));
  }

  /**
   * Removes the windows of a user or an address, or all windows.
   *
   * @returns how many of the removed windows were open
   */
  async clear(db: Kysely<Tables>, of: LimitSubject): Promise<number> {
    const removed = async (which: Expression<SqlBool>) => {
      const { numDeletedRows } = await db
        .deleteFrom("sallyport_counters")
        .where(isOf(this.#database.sql, of))
        .where(which)
        .executeTakeFirst();
      return Number(numDeletedRows);
    };
    const open = await removed(isOpen(this.#database));
    await removed(this.#database.sql<boolean>`not ${isOpen(this.#database)}`);
    return open;
  }

  async #count(db: Kysely<Tables>, key: string, limit: number): Promise<boolean> {
    const { now } = this.#database;
    const rows = await db
      .insertInto("sallyport_counters")
      .values({ key, window_started_at: now, count: 1 })
      .onConflict(countUnlessReached(this.#database, this.#database.sql.lit(limit)))
      .returning("count")
      .execute();
    return rows.length > 0;
  }

  #window(db: Kysely<Tables>, key: string) {
    const { now } = this.#database;
    return db
      .selectFrom("sallyport_counters")
      .select(({ eb }) => [
        "count",
        eb("window_started_at", "-", eb.parens(now, "-", WINDOW_MS)).as("left_ms"),
      ])
      .where("key", "=", key)
      .where(isOpen(this.#database))
      .executeTakeFirst();
  }

  async #limitError(db: Kysely<Tables>, key: string, limit: number): Promise<RequestError> {
    const row = await this.#window(db, key);
    return reachedLimit(describeReached(key), limit, Number(row?.left_ms ?? WINDOW_MS));
  }
}

/** Selects the windows of a user, the windows of a block of addresses, or all windows. */
interface LimitSubject {
  readonly user?: string | undefined;
  readonly address?: string | undefined;
}

/** The position of a window in a list. */
export interface WindowPosition {
  readonly key: string;
  readonly count: number;
}

/**
 * The prefixes of the keys of all limits. Windows of other limits can remain from an earlier
 * version.
 */
const KNOWN_KEYS = COUNTED_LIMITS.map((limit) => `["${limit}",`);

/**
 * Returns a condition for keys of {@link limitKey}. Other counters never match.
 *
 * @param all prefixes to use if `of` contains neither a user nor an address. Default: windows of
 *   any version
 */
function isOf(sql: Sql, of: LimitSubject, all: readonly string[] = ["["]) {
  const prefixes = of.user === undefined && of.address === undefined ? all : keyPrefixes(of);
  return ({ eb, or }: ExpressionBuilder<Tables, "sallyport_counters">) =>
    or(
      // LIKE would require escaping, and is not case-sensitive in SQLite.
      prefixes.map((prefix) => eb(sql<string>`substr(key, 1, ${sql.lit([...prefix].length)})`, "=", prefix)),
    );
}

/**
 * Returns the ON CONFLICT clause for an insert of a counter.
 *
 * It increments the count of an open window, or starts a new window. If the limit is reached, it
 * changes nothing and returns no row.
 */
export function countUnlessReached(clock: SqlClock, limit: Expression<number>) {
  const { sql, now } = clock;
  const isStillOpen = isOpen(clock, "sallyport_counters.window_started_at");
  return (conflict: OnConflictBuilder<Tables, "sallyport_counters">) =>
    conflict
      .column("key")
      .doUpdateSet(({ ref, eb }) => {
        const more = eb("sallyport_counters.count", "+", 1);
        const started = ref("sallyport_counters.window_started_at");
        return {
          count: eb.case().when(isStillOpen).then(more).else(1).end(),
          window_started_at: eb.case().when(isStillOpen).then(started).else(now).end(),
        };
      })
      .where(({ eb, or }) =>
        or([sql<boolean>`not ${isStillOpen}`, eb("sallyport_counters.count", "<", limit)]),
      );
}

/** Returns a subquery for the open window of a key that has reached its limit. */
export function reachedWindow(
  db: Kysely<Tables>,
  clock: SqlClock,
  key: Expression<string>,
  limit: Expression<number>,
) {
  return db
    .selectFrom("sallyport_counters as full")
    .select("full.key")
    .where("full.key", "=", key)
    .where("full.count", ">=", limit)
    .where(isOpen(clock, "full.window_started_at"));
}

/**
 * Returns the block of addresses that one subscriber holds, or undefined for an invalid address.
 *
 * The block is an IPv4 address, or a /64 of IPv6. An IPv4-mapped IPv6 address counts as IPv4.
 */
export function addressBlock(text: string): string | undefined {
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.process(text);
  if (address.kind() === "ipv4") return address.toString();
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::/64`;
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
