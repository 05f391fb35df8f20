import { sql } from "kysely";
import { ConfigurationError } from "../errors.ts";
import type { Database } from "../storage/database.ts";

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** The clock of a test database. It runs normally, and can be advanced. */
export class TestClock {
  readonly #storage: Database;
  readonly #onAdvance: () => Promise<unknown>;

  /** @param onAdvance called after the clock was advanced, to apply expired grants */
  constructor(storage: Database, onAdvance: () => Promise<unknown>) {
    this.#storage = storage;
    this.#onAdvance = onAdvance;
  }

  /** Returns the current time of the database in epoch milliseconds, for example for `until`. */
  async now(): Promise<number> {
    const row = await this.#storage.db.selectNoFrom(this.#storage.now.as("now")).executeTakeFirstOrThrow();
    return Number(row.now);
  }

  /**
   * Advances the clock, and applies the result to open connections: expired grants, and connections
   * that are too old.
   *
   * @param by milliseconds, or a text such as `90s`, `30m`, `2h` or `7d`
   * @throws ConfigurationError if the time is invalid or negative
   */
  async advance(by: number | string): Promise<void> {
    await sql`update sallyport_test_clock set offset_ms = offset_ms + ${milliseconds(by)}`.execute(
      this.#storage.db,
    );
    await this.#onAdvance();
  }
}

/** A database with a clock that can be advanced. */
export class ClockedDatabase implements Database {
  readonly db: Database["db"];
  readonly sql = sql;
  readonly now: Database["now"];
  readonly listOf: Database["listOf"];
  readonly transaction: Database["transaction"];
  readonly sharedTransaction: Database["sharedTransaction"];
  readonly executeBatch: Database["executeBatch"];
  readonly execute: Database["execute"];
  readonly asyncCommit: Database["asyncCommit"];
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
    this.asyncCommit = storage.asyncCommit;
    this.supportsWritableCte = storage.supportsWritableCte;
    this.rollbackTransaction = (work) => storage.rollbackTransaction(work);
    this.pollExternalChanges = () => storage.pollExternalChanges();
    this.notification = storage.notification;
    this.listen = (onNotify) => storage.listen(onNotify);
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
    `advance(): the time ${JSON.stringify(by)} is invalid. Pass milliseconds, or a text such as "90s", "30m", "2h" or "7d".`,
  );
}
