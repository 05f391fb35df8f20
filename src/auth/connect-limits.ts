import type { Expression, Kysely } from "kysely";
import type { Database } from "../storage/database.ts";
import { prepared } from "../storage/prepared.ts";
import { type CountedLimit, limitKey } from "./limit-keys.ts";
import type { LimitSettings } from "./limit-settings.ts";
import { countUnlessReached, type RateLimits, reachedWindow } from "./rate-limits.ts";

/** The gateway, view and address of a connect. */
export interface ConnectAttempt {
  readonly gatewayId: string;
  /** Path of the view. */
  readonly view: string;
  /** The block of addresses that shares a limit. */
  readonly block: string;
}

/** A key and its limit per minute. */
interface CountedKey {
  readonly key: string;
  readonly limit: number | false;
}

interface Values {
  readonly user: string;
  readonly userLimit: number;
  readonly address: string;
  readonly addressLimit: number;
}

type Count = (db: Kysely<never>, values: Values) => Promise<{ key: string }[]>;

/** The limits of connects: per address, failed connects per address, and per user. */
export class ConnectLimits {
  readonly #database: Database;
  readonly #settings: LimitSettings;
  readonly #rateLimits: RateLimits;
  readonly #countBoth: Count;

  constructor(database: Database, settings: LimitSettings, rateLimits: RateLimits) {
    this.#database = database;
    this.#settings = settings;
    this.#rateLimits = rateLimits;
    this.#countBoth = prepareCountBoth(database);
  }

  /**
   * Counts a connect with a usable token, or an anonymous connect, for its address and its user.
   *
   * One statement counts both, or neither if a limit is reached. A connect that the limit of the
   * user rejects is not counted for the address, because other users may share it.
   *
   * @param userId null for an anonymous connect. The limit per user does not apply to it
   * @throws RequestError with 429 if one of the limits is reached
   */
  async take(attempt: ConnectAttempt, userId: string | null): Promise<void> {
    const address = this.#keyOf("connectsPerIp", attempt, attempt.block);
    const user =
      userId === null ? { key: "", limit: false as const } : this.#keyOf("connectsPerUser", attempt, userId);
    const counted = await this.#count(address, user);
    const missing = [address, user].filter(({ key, limit }) => limit !== false && !counted.has(key));
    if (missing.length === 0) return;
    for (const { key, limit } of [address, user]) await this.#rateLimits.check(this.#database.db, key, limit);
    // The window of the reached limit has ended since the statement.
    for (const { key, limit } of missing) await this.#rateLimits.takeAlone(key, limit);
  }

  /**
   * Undoes the count of {@link take} for the address, after another limit of the user rejected the
   * connect.
   */
  async giveBack(attempt: ConnectAttempt): Promise<void> {
    const { key, limit } = this.#keyOf("connectsPerIp", attempt, attempt.block);
    if (limit !== false) await this.#rateLimits.uncount(key);
  }

  /**
   * Counts a failed connect. It may be an attempt to guess a token or to use a stolen one.
   *
   * If the limit is reached, it only reads, so a flood of bad tokens causes no writes. Checking and
   * counting are one statement, so concurrent attempts never exceed the limit.
   *
   * @throws RequestError with 429 if the limit is reached
   */
  async failed(attempt: ConnectAttempt): Promise<void> {
    const { key, limit } = this.#keyOf("failedConnectsPerIp", attempt, attempt.block);
    await this.#rateLimits.check(this.#database.db, key, limit);
    await this.#rateLimits.takeAlone(key, limit);
  }

  #keyOf(
    limit: Exclude<CountedLimit, "tokensPerUser">,
    { gatewayId, view }: ConnectAttempt,
    subject: string,
  ): CountedKey {
    const setting = this.#settings.at(view, limit);
    return { key: limitKey({ limit, subject, gatewayId, view: setting.view }), limit: setting.value };
  }

  /** Counts both keys if both limits allow it. Returns the keys that were counted. */
  async #count(address: CountedKey, user: CountedKey): Promise<ReadonlySet<string>> {
    if (address.limit === 0 || user.limit === 0) return new Set();
    if (address.limit !== false && user.limit !== false) {
      const values = {
        ...{ user: user.key, userLimit: user.limit },
        ...{ address: address.key, addressLimit: address.limit },
      };
      const rows = await this.#database.execute((db) =>
        this.#countBoth(db as unknown as Kysely<never>, values),
      );
      return new Set(rows.map(({ key }) => key));
    }
    const [only] = [address, user].filter(({ limit }) => limit !== false);
    if (!only) return new Set();
    await this.#rateLimits.takeAlone(only.key, only.limit);
    return new Set([only.key]);
  }
}

function prepareCountBoth(database: Database): Count {
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
