import type { Expression, Kysely, OnConflictBuilder } from "kysely";
import type { Database, Tables } from "../database.ts";
import { prepared } from "../prepared.ts";
import { WINDOW_MS } from "../stores/limits.ts";
import { MAX_CLOCK_SKEW_MS } from "./clock-skew.ts";

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
export function isOpen({ sql, now }: SqlClock, column = "window_started_at") {
  const started = sql.ref(column);
  return sql<boolean>`(${started} > ${now} - ${sql.lit(WINDOW_MS)} and ${started} <= ${now} + ${sql.lit(MAX_CLOCK_SKEW_MS)})`;
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
export type CountBoth = (db: Kysely<never>, values: CountedValues) => Promise<{ key: string }[]>;

export function prepareCountBoth(database: Database): CountBoth {
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
