import { randomUUID } from "node:crypto";
import type { ExpressionBuilder, Kysely } from "kysely";
import type { Database, Tables } from "../storage/database.ts";

/** A change of rights whose consequences for open sockets are still to be drawn. */
export interface Eviction {
  readonly id: string;
  readonly scope: Tables["sallyport_evictions"]["scope"];
  /** Id of the user or login, name of the group or channel. */
  readonly subject: string;
}

/** How long a process that claimed a record may take for a page before another may claim it, in milliseconds. */
const LEASE_MS = 15_000;

/** Counts changes, so that whoever asked an author's hook can tell whether the answer may be out of date. */
const CHANGES = "changes recorded";

/** The records that changes of rights leave behind, each enforced by whoever claims it. */
export class Evictions {
  readonly #database: Database;
  readonly #claimant = randomUUID();

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * One record for a change, however many users it touches, in the change's own transaction. It is this process's
   * to enforce, until the lease is over.
   */
  async record(db: Kysely<Tables>, scope: Eviction["scope"], subject: string): Promise<void> {
    const { now } = this.#database;
    await db
      .insertInto("sallyport_evictions")
      .values(({ eb }) => ({
        id: randomUUID(),
        scope,
        subject,
        created_at: now,
        claimed_by: this.#claimant,
        claimed_until: eb(now, "+", LEASE_MS),
      }))
      .execute();
    await db
      .insertInto("sallyport_counters")
      .values({ key: CHANGES, window_started_at: 0, count: 1 })
      .onConflict((conflict) =>
        conflict.column("key").doUpdateSet(({ eb }) => ({ count: eb("sallyport_counters.count", "+", 1) })),
      )
      .execute();
  }

  /** How many changes have been recorded: the same number twice means that nothing changed between. */
  async changes(db: Kysely<Tables>): Promise<number> {
    const row = await db
      .selectFrom("sallyport_counters")
      .select("count")
      .where("key", "=", CHANGES)
      .executeTakeFirst();
    return row?.count ?? 0;
  }

  /** Claims the oldest record that is ours or nobody's; of two racing processes one gets it. */
  async claim(): Promise<Eviction | undefined> {
    if (!(await this.#isDue())) return undefined;
    const { now } = this.#database;
    return this.#database.write((db) =>
      db
        .updateTable("sallyport_evictions")
        .set(({ eb }) => ({ claimed_by: this.#claimant, claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "=", ({ selectFrom }) =>
          selectFrom("sallyport_evictions")
            .select("id")
            .where((eb) => this.#claimable(eb))
            .orderBy("created_at")
            .orderBy("id")
            .limit(1),
        )
        .returning(["id", "scope", "subject"])
        .executeTakeFirst(),
    );
  }

  /** A long enforcement goes on: nobody else needs to begin it. */
  async renew(id: string): Promise<void> {
    const { now } = this.#database;
    await this.#database.write((db) =>
      db
        .updateTable("sallyport_evictions")
        .set(({ eb }) => ({ claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "=", id)
        .execute(),
    );
  }

  /** Not done, or not ours to do: anybody may claim it when the lease is over. */
  async postpone(id: string): Promise<void> {
    await this.#database.write((db) =>
      db.updateTable("sallyport_evictions").set({ claimed_by: null }).where("id", "=", id).execute(),
    );
  }

  /** The record has been enforced to its end. */
  async finish(id: string): Promise<void> {
    await this.#database.write((db) => db.deleteFrom("sallyport_evictions").where("id", "=", id).execute());
  }

  /** A read, so that looking costs no lock. */
  async #isDue(): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_evictions")
      .select("id")
      .where((eb) => this.#claimable(eb))
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Ours, nobody's yet, or of a process that took too long. */
  #claimable(eb: ExpressionBuilder<Tables, "sallyport_evictions">) {
    return eb.or([
      eb("claimed_by", "=", this.#claimant),
      eb("claimed_until", "is", null),
      eb("claimed_until", "<", this.#database.now),
    ]);
  }
}
