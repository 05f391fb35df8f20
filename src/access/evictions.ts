import { randomUUID } from "node:crypto";
import { type Expression, type ExpressionBuilder, type Kysely, sql } from "kysely";
import type { Database, Tables } from "../storage/database.ts";

type Scope = Tables["sallyport_evictions"]["scope"];

/**
 * Whose sockets a change can have touched: one user, the members of a group, the users whom the record lists, a user who
 * was deleted, a login that ended, those in a channel or at a view, or everyone.
 */
export type Touched =
  | { readonly scope: Exclude<Scope, "users" | "everyone">; readonly subject: string }
  | { readonly scope: "users"; readonly users: readonly string[] | Expression<{ user_id: string }> }
  | { readonly scope: "everyone" };

/** A change of rights whose consequences for open sockets are still to be drawn. */
export interface Eviction {
  readonly id: string;
  readonly scope: Scope;
  /** Id of the user or login, name of the group or channel, path of the view. */
  readonly subject: string;
  /** The change's number in the audit, where it has one. */
  readonly change: number | null;
}

/** How long a process that claimed a record may take for a page before another may claim it, in milliseconds. */
const LEASE_MS = 15_000;

/** Counts changes, so that whoever asked an author's hook can tell whether the answer may be out of date. */
const CHANGES = "changes recorded";

const USERS_PER_INSERT = 5000;

/** The records that changes of rights leave behind, each enforced by whoever claims it. */
export class Evictions {
  readonly #database: Database;
  readonly #claimant = randomUUID();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Counts a change. @returns its number, in the order of commits */
  async number(db: Kysely<Tables>): Promise<number> {
    const row = await db
      .insertInto("sallyport_counters")
      .values({ key: CHANGES, window_started_at: 0, count: 1 })
      .onConflict((conflict) =>
        conflict.column("key").doUpdateSet(({ eb }) => ({ count: eb("sallyport_counters.count", "+", 1) })),
      )
      .returning("count")
      .executeTakeFirstOrThrow();
    return Number(row.count);
  }

  /**
   * One record for a change, however many users it touches, in the change's own transaction. It is this process's
   * to enforce, until the lease is over.
   *
   * @returns the record's id
   */
  async record(db: Kysely<Tables>, touched: Touched, change: number): Promise<string> {
    const { now } = this.#database;
    const id = randomUUID();
    await db
      .insertInto("sallyport_evictions")
      .values(({ eb }) => ({
        id,
        scope: touched.scope,
        subject: "subject" in touched ? touched.subject : "",
        created_at: now,
        claimed_by: this.#claimant,
        claimed_until: eb(now, "+", LEASE_MS),
        change_number: change,
      }))
      .execute();
    if (touched.scope === "users") await this.#list(db, id, touched.users);
    return id;
  }

  /** Notes whom a change touches, while the tables still tell it. */
  async #list(
    db: Kysely<Tables>,
    id: string,
    users: readonly string[] | Expression<{ user_id: string }>,
  ): Promise<void> {
    if (!Array.isArray(users)) {
      const found = sql<{
        eviction_id: string;
        user_id: string;
      }>`select ${id}, found.user_id from ${users as Expression<{ user_id: string }>} as found`;
      await sql`insert into sallyport_eviction_users (eviction_id, user_id) ${found}`.execute(db);
      return;
    }
    for (let from = 0; from < users.length; from += USERS_PER_INSERT) {
      const rows = users.slice(from, from + USERS_PER_INSERT);
      await db
        .insertInto("sallyport_eviction_users")
        .values(rows.map((user_id: string) => ({ eviction_id: id, user_id })))
        .execute();
    }
  }

  /** The users whom a record lists. */
  async listed(db: Kysely<Tables>, id: string): Promise<readonly string[]> {
    const rows = await db
      .selectFrom("sallyport_eviction_users")
      .select("user_id")
      .where("eviction_id", "=", id)
      .execute();
    return rows.map((row) => row.user_id);
  }

  /** How many changes have been recorded: the same number twice means that nothing changed between. */
  async changes(db: Kysely<Tables>): Promise<number> {
    const row = await db
      .selectFrom("sallyport_counters")
      .select("count")
      .where("key", "=", CHANGES)
      .executeTakeFirst();
    return Number(row?.count ?? 0);
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
        .returning(["id", "scope", "subject", "change_number as change"])
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
