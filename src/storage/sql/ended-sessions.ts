import type { Kysely, SelectQueryBuilder } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { EndedSessionCheck, EndedSessionStore } from "../stores/sessions.ts";

/** Stores the sessions that were ended, and removes old ones. */
export class SqlEndedSessions implements EndedSessionStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Stores an ended session, in the transaction that ends it. */
  async add(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    const { now } = this.#database;
    await db
      .insertInto("sallyport_ended_sessions")
      .values({ session_hash: sessionHash, ended_at: now })
      .onConflict((conflict) => conflict.column("session_hash").doUpdateSet({ ended_at: now }))
      .execute();
  }

  isEnded(session: EndedSessionCheck): Promise<boolean> {
    return this.isEndedIn(this.#database.db, session);
  }

  /** Does the same as {@link isEnded} in a transaction. */
  async isEndedIn(db: Kysely<Tables>, { hash, keepMs }: EndedSessionCheck): Promise<boolean> {
    const { now } = this.#database;
    const row = await db
      .selectFrom("sallyport_ended_sessions")
      .select("ended_at")
      .where("session_hash", "=", hash)
      .where(({ eb }) => eb("ended_at", ">", eb(now, "-", keepMs)))
      .executeTakeFirst();
    return row !== undefined;
  }

  removeExpired(keepMs: number, limit: number): Promise<number> {
    const { now, db } = this.#database;
    return this.#remove(
      db
        .selectFrom("sallyport_ended_sessions as old")
        .select("old.session_hash")
        .where(({ eb }) => eb("old.ended_at", "<=", eb(now, "-", keepMs)))
        .orderBy("old.ended_at")
        .limit(limit),
    );
  }

  async removeSurplus(maxRows: number, limit: number): Promise<number> {
    const { db } = this.#database;
    const rows = await db
      .selectFrom("sallyport_ended_sessions")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirst();
    if (Number(rows?.count ?? 0) <= maxRows) return 0;
    return this.#remove(
      db
        .selectFrom("sallyport_ended_sessions as old")
        .select("old.session_hash")
        .orderBy("old.ended_at", "desc")
        .orderBy("old.session_hash")
        // Skips the newest rows. A number of rows to remove would be wrong if two processes do
        // this.
        .offset(maxRows)
        .limit(limit),
    );
  }

  async #remove(hashes: SelectQueryBuilder<Tables, never, { session_hash: string }>): Promise<number> {
    const { numDeletedRows } = await this.#database.execute((db) =>
      db.deleteFrom("sallyport_ended_sessions").where("session_hash", "in", hashes).executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }
}
