import ipaddr from "ipaddr.js";
import type { Expression, ExpressionBuilder, Kysely, OnConflictBuilder, SqlBool } from "kysely";
import * as v from "valibot";
import { RefusedError } from "../errors.ts";
import { atOnceOption, optionsOf, perMinuteOption } from "../options.ts";
import { CHANGES, type Database, type Sql, type Tables } from "../storage/database.ts";
import { COUNTED_LIMITS, describeReached, keyPrefixes } from "./limit-keys.ts";

/** The limits of the app: events per minute, open connections, and messages in flight. `false`: no limit. 0: none are allowed. */
export interface Limits {
  /** Connects of one user through one gateway, with a token that could be spent. Default 20. */
  readonly connectsPerUser: number | false;
  /**
   * Connects from one address (IPv6: one /64) through one gateway: with a token that could be spent, or without a token at a view
   * that allows anonymous users. Default 300.
   */
  readonly connectsPerIp: number | false;
  /**
   * Connects without a usable token or with the token of another session, from one address through one gateway. It limits only such
   * connects. Default 20.
   */
  readonly failedConnectsPerIp: number | false;
  /** Open connections of one user at the same time, through all gateways. Default 50. */
  readonly connectionsPerUser: number | false;
  /** Tokens of one user. Default 20. */
  readonly tokensPerUser: number | false;
  /** Messages on one connection, counted in each process by itself. Default 600. */
  readonly messagesPerConnection: number | false;
  /** Messages of one user on all connections, counted in each process by itself. Default 3000. */
  readonly messagesPerUser: number | false;
  /** Messages on one connection that a process handles at the same time. Default 100. */
  readonly messagesInFlightPerConnection: number | false;
  /** Messages of one user on all connections that a process handles at the same time. Default 200. */
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
/** How long after it began a window's row is kept, in milliseconds. */
const KEEP_WINDOW_MS = 10 * WINDOW_MS;

/**
 * How far in the future a time of the database may be that was written a moment ago, in milliseconds. A time further ahead was written
 * before the clock was set back: it belongs to a window or a token that has ended.
 */
export const MAX_CLOCK_SKEW_MS = 5_000;

/** The template tag and the clock of a database. */
type SqlClock = Pick<Database, "sql" | "now">;

/**
 * A condition for windows that have not ended. A window that begins in the future would otherwise last until the clock gets there.
 *
 * @param column the start of the window
 */
function isOpen({ sql, now }: SqlClock, column = "window_started_at") {
  const started = sql.ref(column);
  return sql<boolean>`(${started} > ${now} - ${sql.lit(WINDOW_MS)} and ${started} <= ${now} + ${sql.lit(MAX_CLOCK_SKEW_MS)})`;
}

/**
 * Counts in the database, so that all instances count together.
 *
 * A window of a minute begins with the first attempt counted in it. Counting and judging are one statement: of
 * any number of racing attempts exactly as many pass as the limit says. A refused attempt is not counted, so
 * being refused never prolongs the wait.
 */
export class RateLimits {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Counts one attempt.
   *
   * @param key what is limited, such as `connect user-7`
   * @throws RefusedError with 429 when the limit is reached
   */
  async take(db: Kysely<Tables>, key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const counted = limit > 0 && (await this.#count(db, key, limit));
    if (!counted) throw await this.#refusal(db, key, limit);
  }

  /** The same as a statement by itself. */
  async takeAlone(key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const counted = limit > 0 && (await this.#database.execute((db) => this.#count(db, key, limit)));
    if (!counted) throw await this.#refusal(this.#database.db, key, limit);
  }

  /** Counts one event less in the open window of a key. */
  async giveBack(key: string): Promise<void> {
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

  /** @throws RefusedError with 429 when the limit is reached; counts nothing */
  async check(db: Kysely<Tables>, key: string, limit: number | false): Promise<void> {
    if (limit === false) return;
    const row = await this.#window(db, key);
    if ((row?.count ?? 0) >= limit) throw await this.#refusal(db, key, limit);
  }

  /** Removes windows that have been over for a while. @returns how many, at most `limit` */
  async removeOver(limit: number): Promise<number> {
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
        // Whoever began a new window meanwhile keeps it.
        .where(({ eb }) => eb("window_started_at", "<", eb(now, "-", KEEP_WINDOW_MS)))
        .executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  /**
   * Removes those of a page of windows, in the order of their keys, that have been over for a while. The cost does not depend on
   * the number of windows.
   *
   * @param after the last key of the page before, `""` for the first page
   * @returns the last key of the page, or undefined if there are no more windows
   */
  async removeOverAfter(after: string, limit: number): Promise<{ readonly last: string | undefined }> {
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
          .as("is_over"),
      ])
      .where("key", ">", after)
      .orderBy("key")
      .limit(limit)
      .execute();
    const over = page
      .filter(({ key, is_over }) => Number(is_over) === 1 && key !== CHANGES)
      .map(({ key }) => key);
    if (over.length > 0) {
      await this.#database.execute((to) =>
        to
          .deleteFrom("sallyport_counters")
          .where("key", "in", over)
          // A new window of the same key stays.
          .where(({ eb }) => eb("window_started_at", "<", eb(now, "-", KEEP_WINDOW_MS)))
          .execute(),
      );
    }
    return { last: page.length < limit ? undefined : page.at(-1)?.key };
  }

  /**
   * Returns a page of open windows, those with the highest counts first.
   *
   * @param of the user or the address that they count; all of them without either
   * @param after the last window of the page before. Default: none
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

  /** Removes the windows of a user or of an address, or all. @returns how many of them were open */
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
      .onConflict(unlessReached(this.#database, this.#database.sql.lit(limit)))
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

  async #refusal(db: Kysely<Tables>, key: string, limit: number): Promise<RefusedError> {
    const row = await this.#window(db, key);
    return reachedLimit(describeReached(key), limit, Number(row?.left_ms ?? WINDOW_MS));
  }
}

/** Selects windows: of a user, of a block of addresses, or all of them. */
interface LimitSubject {
  readonly user?: string | undefined;
  readonly address?: string | undefined;
}

/** The place of a window in the order of a list. */
export interface WindowPosition {
  readonly key: string;
  readonly count: number;
}

/** What the keys of each limit begin with. An earlier version may have left windows of other limits. */
const KNOWN_KEYS = COUNTED_LIMITS.map((limit) => `["${limit}",`);

/**
 * A condition for the keys of {@link limitKey}. Other counters never match.
 *
 * @param all what the keys begin with if `of` names neither a user nor an address. Default: windows of every version
 */
function isOf(sql: Sql, of: LimitSubject, all: readonly string[] = ["["]) {
  const prefixes = of.user === undefined && of.address === undefined ? all : keyPrefixes(of);
  return ({ eb, or }: ExpressionBuilder<Tables, "sallyport_counters">) =>
    or(
      // A LIKE would have to escape the user's id, and compares without regard to case on SQLite.
      prefixes.map((prefix) => eb(sql<string>`substr(key, 1, ${sql.lit([...prefix].length)})`, "=", prefix)),
    );
}

/**
 * What an insert into the counters does where the row is there: counts one more in its window, or begins a new window. Where the
 * limit is reached it changes nothing and returns nothing.
 */
export function unlessReached(clock: SqlClock, limit: Expression<number>) {
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

/** The window of a key, where it is not over and its limit is reached, as a subquery. */
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
 * The part of an address that one subscriber holds: an IPv4 address, or the /64 of an IPv6 one. An IPv4 address
 * written as IPv6 is the IPv4 address.
 */
export function addressBlock(text: string): string | undefined {
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.process(text);
  if (address.kind() === "ipv4") return address.toString();
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::/64`;
}

/** Whole seconds of a window that are left: at least one, and no more than the window is long. */
function secondsUntil(leftMs: number): number {
  return Math.max(1, Math.ceil(Math.min(leftMs, WINDOW_MS) / 1000));
}

/**
 * Returns the error for an event that a limit denies.
 *
 * @param what a clause such as `User ann has reached connectsPerUser`
 * @param leftMs until the window ends, in milliseconds
 */
export function reachedLimit(what: string, limit: number, leftMs: number): RefusedError {
  const retryAfterSeconds = secondsUntil(leftMs);
  return new RefusedError(
    `${what}, which allows ${limit} per minute. The window ends in ${retryAfterSeconds} s.`,
    { reason: "limit", status: 429, reply: "Too many requests.", retryAfterSeconds },
  );
}
