import type { Expression, ExpressionBuilder, Kysely, OnConflictBuilder, SqlBool } from "kysely";
import { CHANGES, type Database, MAX_CLOCK_SKEW_MS, type Sql, type Tables } from "../database.ts";
import { prepared } from "../prepared.ts";
import type { AuditSubject } from "../stores/audit.ts";
import {
  type CountedKey,
  type CountedWindow,
  type LimitStore,
  WINDOW_MS,
  type WindowPosition,
} from "../stores/limits.ts";
import type { SqlAudit } from "./audit.ts";

/** How long the row of a window is kept after the start of the window, in milliseconds. */
const KEEP_WINDOW_MS = 10 * WINDOW_MS;

/** Counts events in windows. Checking and counting are one statement. */
export class SqlLimits implements LimitStore {
  readonly #database: Database;
  readonly #audit: Pick<SqlAudit, "appendIn">;
  readonly #countBoth: CountBoth;

  constructor(database: Database, audit: Pick<SqlAudit, "appendIn">) {
    this.#database = database;
    this.#audit = audit;
    this.#countBoth = prepareCountBoth(database);
  }

  async take(counted: CountedKey): Promise<boolean> {
    return counted.limit > 0 && (await this.#database.execute((db) => this.#count(db, counted)));
  }

  /** Does the same as {@link take} in a transaction. */
  async takeIn(db: Kysely<Tables>, counted: CountedKey): Promise<boolean> {
    return counted.limit > 0 && (await this.#count(db, counted));
  }

  async takeBoth(user: CountedKey, address: CountedKey): Promise<ReadonlySet<string>> {
    if (user.limit === 0 || address.limit === 0) return new Set();
    const values = {
      ...{ user: user.key, userLimit: user.limit },
      ...{ address: address.key, addressLimit: address.limit },
    };
    const rows = await this.#database.execute((db) =>
      this.#countBoth(db as unknown as Kysely<never>, values),
    );
    return new Set(rows.map(({ key }) => key));
  }

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

  window(key: string): Promise<CountedWindow | undefined> {
    return this.windowIn(this.#database.db, key);
  }

  /** Does the same as {@link window} in a transaction. */
  async windowIn(db: Kysely<Tables>, key: string): Promise<CountedWindow | undefined> {
    const row = await db
      .selectFrom("sallyport_counters")
      .select(({ eb }) => ["count", this.#leftMs(eb).as("left_ms")])
      .where("key", "=", key)
      .where(isOpen(this.#database))
      .executeTakeFirst();
    return row && { count: Number(row.count), leftMs: Number(row.left_ms) };
  }

  async list(
    prefixes: readonly string[],
    limit: number,
    after?: WindowPosition,
  ): Promise<readonly (WindowPosition & CountedWindow)[]> {
    const { db, sql } = this.#database;
    let query = db
      .selectFrom("sallyport_counters")
      .select(({ eb }) => ["key", "count", this.#leftMs(eb).as("left_ms")])
      .where(startsWithAny(sql, prefixes))
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
      leftMs: Number(left_ms),
    }));
  }

  clear(prefixes: readonly string[], describe: (open: number) => AuditSubject): Promise<number> {
    const { sql } = this.#database;
    return this.#database.transaction(async (db) => {
      const removed = async (which: Expression<SqlBool>) => {
        const { numDeletedRows } = await db
          .deleteFrom("sallyport_counters")
          .where(startsWithAny(sql, prefixes))
          .where(which)
          .executeTakeFirst();
        return Number(numDeletedRows);
      };
      const open = await removed(isOpen(this.#database));
      await removed(sql<boolean>`not ${isOpen(this.#database)}`);
      await this.#audit.appendIn(db, describe(open));
      return open;
    });
  }

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

  async #count(db: Kysely<Tables>, { key, limit }: CountedKey): Promise<boolean> {
    const { now, sql } = this.#database;
    const rows = await db
      .insertInto("sallyport_counters")
      .values({ key, window_started_at: now, count: 1 })
      .onConflict(countUnlessReached(this.#database, sql.lit(limit)))
      .returning("count")
      .execute();
    return rows.length > 0;
  }

  /** Returns an expression for the time until a window ends. */
  #leftMs(eb: ExpressionBuilder<Tables, "sallyport_counters">) {
    return eb("window_started_at", "-", eb.parens(this.#database.now, "-", WINDOW_MS));
  }
}

/** Returns a condition for keys that start with one of the prefixes. */
function startsWithAny(sql: Sql, prefixes: readonly string[]) {
  return ({ eb, or }: ExpressionBuilder<Tables, "sallyport_counters">) =>
    or(
      // LIKE would require escaping, and is not case-sensitive in SQLite.
      prefixes.map((prefix) => eb(sql<string>`substr(key, 1, ${sql.lit([...prefix].length)})`, "=", prefix)),
    );
}

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
 * Returns the ON CONFLICT clause for an insert of a counter.
 *
 * It increments the count of an open window, or starts a new window. If the limit is reached, it
 * changes nothing and returns no row.
 */
function countUnlessReached(clock: SqlClock, limit: Expression<number>) {
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
function reachedWindow(
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

interface CountedValues {
  readonly user: string;
  readonly userLimit: number;
  readonly address: string;
  readonly addressLimit: number;
}

/** Counts a user and an address in one statement, and returns the counted keys. */
type CountBoth = (db: Kysely<never>, values: CountedValues) => Promise<{ key: string }[]>;

function prepareCountBoth(database: Database): CountBoth {
  const { asyncCommit, db, now, sql, supportsWritableCte } = database;
  return prepared(database, (value) => {
    const text = (name: "user" | "address") => sql<string>`cast(${value(name)} as text)`;
    const number = (name: "userLimit" | "addressLimit") => sql<number>`cast(${value(name)} as bigint)`;
    const firstCount = (key: Expression<string>) =>
      [sql<string>`${key}`.as("key"), now.as("window_started_at"), sql.lit(1).as("count")] as const;
    const isReached = (key: "user" | "address") =>
      sql<boolean>`exists ${reachedWindow(db, database, text(key), number(`${key}Limit`))}`;
    const user = db.selectNoFrom(firstCount(text("user"))).where(sql<boolean>`not ${isReached("address")}`);
    const counters = ["key", "window_started_at", "count"] as const;
    if (!supportsWritableCte) {
      const address = db
        .selectNoFrom(firstCount(text("address")))
        .where(sql<boolean>`not ${isReached("user")}`);
      const limit = sql<number>`case when sallyport_counters.key = ${text("user")} then ${number("userLimit")} else ${number("addressLimit")} end`;
      return db
        .insertInto("sallyport_counters")
        .columns(counters)
        .expression(user.unionAll(address))
        .onConflict(countUnlessReached(database, limit))
        .returning("key");
    }
    // Concurrent connects of a user wait for the row of the user. Only counted ones lock the
    // address.
    return db
      .with("counted_user", () =>
        db
          .insertInto("sallyport_counters")
          .columns(counters)
          .expression(user)
          .onConflict(countUnlessReached(database, number("userLimit")))
          // A crash of the database can undo a count. In exchange, connects do not wait for the
          // disk.
          .returning(["key", asyncCommit.as("commits_later")]),
      )
      .with("counted_address", (cte) =>
        cte
          .insertInto("sallyport_counters")
          .columns(counters)
          .expression(cte.selectFrom("counted_user").select(firstCount(text("address"))))
          .onConflict(countUnlessReached(database, number("addressLimit")) as never)
          .returning("key"),
      )
      .selectFrom("counted_user")
      .select("counted_user.key")
      .unionAll((eb) => eb.selectFrom("counted_address").select("counted_address.key"));
  });
}
