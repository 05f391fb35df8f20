import { sql } from "kysely";
import type { Database } from "../database.ts";
import type { Storage, Store } from "../store.ts";
import { storeOf } from "./sql-store.ts";

/** A database with a clock that can be advanced, for tests. */
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
  readonly pendingMigrations: Database["pendingMigrations"];
  readonly failure: Database["failure"];
  readonly close: Database["close"];
  readonly #database: Database;

  /** @param storage what `sqlite()` or `postgres()` returned */
  constructor(storage: Storage) {
    const database = storage as Database;
    this.#database = database;
    this.db = database.db;
    this.now = sql<number>`(${database.now} + (select offset_ms from sallyport_test_clock))`;
    this.listOf = (...given) => database.listOf(...given);
    this.transaction = (work) => database.transaction(work);
    this.sharedTransaction = (work, options) => database.sharedTransaction(work, options);
    this.executeBatch = (statements, options) => database.executeBatch(statements, options);
    this.execute = (work) => database.execute(work);
    this.asyncCommit = database.asyncCommit;
    this.supportsWritableCte = database.supportsWritableCte;
    this.rollbackTransaction = (work) => database.rollbackTransaction(work);
    this.pollExternalChanges = () => database.pollExternalChanges();
    this.notification = database.notification;
    this.listen = (onNotify) => database.listen(onNotify);
    this.checkWritable = () => database.checkWritable();
    this.pendingMigrations = () => database.pendingMigrations();
    this.failure = (error) => database.failure(error);
    this.close = () => database.close();
  }

  /** The operations use the clock of this object. */
  get store(): Store {
    return storeOf(this);
  }

  async migrate(): Promise<readonly string[]> {
    const names = await this.#database.migrate();
    await sql`create table if not exists sallyport_test_clock (offset_ms bigint not null)`.execute(this.db);
    await sql`insert into sallyport_test_clock select 0 where not exists (select 1 from sallyport_test_clock)`.execute(
      this.db,
    );
    return names;
  }

  /** Advances the clock by a number of milliseconds. */
  async advance(ms: number): Promise<void> {
    await sql`update sallyport_test_clock set offset_ms = offset_ms + ${ms}`.execute(this.db);
  }
}
