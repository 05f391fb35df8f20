import { randomUUID } from "node:crypto";
import type { Database, Tables } from "../storage/database.ts";

/** A change of rights whose consequences for open sockets are still to be drawn. */
export interface Eviction {
  readonly id: string;
  readonly scope: Tables["sallyport_evictions"]["scope"];
  /** Id of the user or login, name of the group, permission or channel, path of the view. */
  readonly subject: string;
}

/** How long a process that claimed a record may take before another may claim it, in milliseconds. */
const LEASE_MS = 15_000;

/** The records that changes of rights leave behind, each enforced by whoever claims it. */
export class Evictions {
  readonly #database: Database;
  readonly #claimant = randomUUID();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Claims the oldest record that nobody is at; of two racing claimants one gets it. */
  async claim(): Promise<Eviction | undefined> {
    const { now } = this.#database;
    return this.#database.write((db) =>
      db
        .updateTable("sallyport_evictions")
        .set(({ eb }) => ({ claimed_by: this.#claimant, claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "=", ({ selectFrom }) =>
          selectFrom("sallyport_evictions")
            .select("id")
            .where((eb) => eb.or([eb("claimed_until", "is", null), eb("claimed_until", "<", now)]))
            .orderBy("created_at")
            .orderBy("id")
            .limit(1),
        )
        .returning(["id", "scope", "subject"])
        .executeTakeFirst(),
    );
  }

  /** True when there is a record that could be claimed; a read, so that looking costs no lock. */
  async isDue(): Promise<boolean> {
    const { db, now } = this.#database;
    const row = await db
      .selectFrom("sallyport_evictions")
      .select("id")
      .where((eb) => eb.or([eb("claimed_until", "is", null), eb("claimed_until", "<", now)]))
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** The record has been enforced to its end. */
  async finish(id: string): Promise<void> {
    await this.#database.write((db) => db.deleteFrom("sallyport_evictions").where("id", "=", id).execute());
  }
}
