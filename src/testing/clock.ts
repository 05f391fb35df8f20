import { sql } from "kysely";
import { ConfigurationError } from "../errors.ts";
import type { Database } from "../storage/database.ts";

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** The clock of a test's database. It runs, and can be put forward. */
export class TestClock {
  readonly #storage: Database;
  readonly #advanced: () => Promise<unknown>;

  /** @param advanced called when the clock was put forward: what time changed is enforced */
  constructor(storage: Database, advanced: () => Promise<unknown>) {
    this.#storage = storage;
    this.#advanced = advanced;
  }

  /** Now, by the database's clock, in epoch milliseconds: what `until` is compared with. */
  async now(): Promise<number> {
    const row = await this.#storage.db.selectNoFrom(this.#storage.now.as("now")).executeTakeFirstOrThrow();
    return Number(row.now);
  }

  /**
   * Puts the clock forward and enforces what that changed: grants whose end came, sessions that are too old.
   *
   * @param by milliseconds, or text such as `90s`, `30m`, `2h`, `7d`
   * @throws ConfigurationError for a time that is none, or one backward
   */
  async advance(by: number | string): Promise<void> {
    await sql`update sallyport_test_clock set offset_ms = offset_ms + ${milliseconds(by)}`.execute(
      this.#storage.db,
    );
    await this.#advanced();
  }
}

/** The same database by a clock that can be put forward. */
export class ClockedDatabase implements Database {
  readonly db: Database["db"];
  readonly sql = sql;
  readonly now: Database["now"];
  readonly listOf: Database["listOf"];
  readonly transaction: Database["transaction"];
  readonly sharedTransaction: Database["sharedTransaction"];
  readonly executeBatch: Database["executeBatch"];
  readonly execute: Database["execute"];
  readonly commitsLater: Database["commitsLater"];
  readonly supportsWritableCte: boolean;
  readonly rollbackTransaction: Database["rollbackTransaction"];
  readonly pollExternalChanges: Database["pollExternalChanges"];
  readonly notification: Database["notification"];
  readonly listen: Database["listen"];
  readonly checkWritable: Database["checkWritable"];
  readonly failure: Database["failure"];
  readonly close: Database["close"];
  readonly #storage: Database;

  constructor(storage: Database) {
    this.#storage = storage;
    this.db = storage.db;
    this.now = sql<number>`(${storage.now} + (select offset_ms from sallyport_test_clock))`;
    this.listOf = (...given) => storage.listOf(...given);
    this.transaction = (work) => storage.transaction(work);
    this.sharedTransaction = (work, options) => storage.sharedTransaction(work, options);
    this.executeBatch = (statements, options) => storage.executeBatch(statements, options);
    this.execute = (work) => storage.execute(work);
    this.commitsLater = storage.commitsLater;
    this.supportsWritableCte = storage.supportsWritableCte;
    this.rollbackTransaction = (work) => storage.rollbackTransaction(work);
    this.pollExternalChanges = () => storage.pollExternalChanges();
    this.notification = storage.notification;
    this.listen = (woken) => storage.listen(woken);
    this.checkWritable = () => storage.checkWritable();
    this.failure = (error) => storage.failure(error);
    this.close = () => storage.close();
  }

  async migrate(): Promise<readonly string[]> {
    const names = await this.#storage.migrate();
    await sql`create table if not exists sallyport_test_clock (offset_ms bigint not null)`.execute(this.db);
    await sql`insert into sallyport_test_clock select 0 where not exists (select 1 from sallyport_test_clock)`.execute(
      this.db,
    );
    return names;
  }
}

function milliseconds(by: number | string): number {
  const [, digits, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(String(by)) ?? [];
  const value = typeof by === "number" ? by : Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new ConfigurationError(
    `advance(${JSON.stringify(by)}): give milliseconds, or text such as "90s", "30m", "2h", "7d".`,
  );
}
