import { randomUUID } from "node:crypto";
import type { AliasableExpression, ExpressionBuilder, Kysely } from "kysely";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../protocol/quotas.ts";
import { type Database, MAX_CLOCK_SKEW_MS, type Tables } from "../database.ts";
import type {
  DequeueOptions,
  Revocation,
  RevocationClaimant,
  RevocationStore,
  RevocationTarget,
} from "../stores/revocations.ts";

/** Duration of a lease, in milliseconds. Afterwards, another process may dequeue the record. */
const LEASE_MS = 15_000;

/** Maximum number of users per INSERT. */
const USERS_PER_INSERT = 5000;

/** The users that a record lists: their ids, or a subquery for them. */
export type ListedUsers = readonly string[] | AliasableExpression<{ user_id: string }>;

/** A {@link RevocationTarget} to record, with the users to list. */
export type RecordedTarget =
  | Exclude<RevocationTarget, { readonly scope: "users" | "everyone" }>
  | { readonly scope: "users"; readonly users: ListedUsers }
  | { readonly scope: "everyone" };

/** The records of revocations. */
export class SqlRevocations implements RevocationStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Adds one record for a change, in the transaction of the change. The number of users does not
   * matter.
   *
   * @param change number of the change in the audit log, or null
   * @param claimedBy id of the process that has the first lease, or null for none
   * @param options.addsOnly whether the change only adds permissions. Default false
   * @returns the id of the record
   */
  async record(
    db: Kysely<Tables>,
    touched: RecordedTarget,
    change: number | null,
    claimedBy: string | null,
    { addsOnly = false }: { readonly addsOnly?: boolean } = {},
  ): Promise<string> {
    const { now } = this.#database;
    const id = randomUUID();
    await db
      .insertInto("sallyport_revocations")
      .values(({ eb }) => ({
        id,
        scope: touched.scope,
        subject: "subject" in touched ? touched.subject : "",
        created_at: now,
        claimed_by: claimedBy,
        claimed_until: claimedBy === null ? null : eb(now, "+", LEASE_MS),
        change_number: change,
        adds_only: addsOnly ? 1 : 0,
      }))
      .execute();
    if (touched.scope === "users") await this.#listUsers(db, id, touched.users);
    return id;
  }

  /** Adds a record for each of several changes of one user or group, in one statement. */
  async recordMany(
    db: Kysely<Tables>,
    records: readonly {
      readonly scope: "user" | "group";
      readonly subject: string;
      readonly change: number;
    }[],
    claimedBy: string,
  ): Promise<void> {
    if (records.length === 0) return;
    const { now } = this.#database;
    await db
      .insertInto("sallyport_revocations")
      .values(({ eb }) =>
        records.map(({ scope, subject, change }) => ({
          id: randomUUID(),
          scope,
          subject,
          created_at: now,
          claimed_by: claimedBy,
          claimed_until: eb(now, "+", LEASE_MS),
          change_number: change,
        })),
      )
      .execute();
  }

  /** Lists the users that a change affects, before the change removes that information. */
  async #listUsers(db: Kysely<Tables>, id: string, users: ListedUsers): Promise<void> {
    if (!Array.isArray(users)) {
      const touched = users as AliasableExpression<{ user_id: string }>;
      await db
        .insertInto("sallyport_revocation_users")
        .columns(["revocation_id", "user_id"])
        .expression(({ cast, selectFrom, val }) =>
          selectFrom(touched.as("touched")).select([
            cast<string>(val(id), "text").as("id"),
            "touched.user_id",
          ]),
        )
        .execute();
      return;
    }
    for (let from = 0; from < users.length; from += USERS_PER_INSERT) {
      const rows = users.slice(from, from + USERS_PER_INSERT);
      await db
        .insertInto("sallyport_revocation_users")
        .values(rows.map((user_id: string) => ({ revocation_id: id, user_id })))
        .execute();
    }
  }

  /** Returns the users that a record lists, at most `limit`. */
  async listed(db: Kysely<Tables>, id: string, limit = Number.MAX_SAFE_INTEGER): Promise<readonly string[]> {
    const rows = await db
      .selectFrom("sallyport_revocation_users")
      .select("user_id")
      .where("revocation_id", "=", id)
      .limit(limit)
      .execute();
    return rows.map((row) => row.user_id);
  }

  async dequeue(
    claimant: RevocationClaimant,
    { except, only, addsOnly = false }: DequeueOptions,
  ): Promise<Revocation | undefined> {
    const { now } = this.#database;
    const due = (db: Kysely<Tables>) => {
      let query = db
        .selectFrom("sallyport_revocations")
        .select(["id", "scope", "subject", "change_number", "adds_only", "claimed_by"])
        .where((eb) => this.#isDequeuable(eb, claimant))
        .where("adds_only", "=", addsOnly ? 1 : 0)
        .orderBy("created_at")
        .orderBy("id")
        .limit(1);
      if (except.size > 0) query = query.where("id", "not in", [...except]);
      if (only !== undefined) query = query.where("id", "=", only);
      if (addsOnly)
        query = query.where(({ not, exists }) => not(exists(this.#earlierRemovals(db, claimant))));
      return query.executeTakeFirst();
    };
    // Read without a lock first, because usually no record is due.
    if (!(await due(this.#database.db))) return undefined;
    return this.#database.transaction(async (db) => {
      const row = await due(db);
      if (!row) return undefined;
      await db
        .updateTable("sallyport_revocations")
        .set(({ eb }) => ({ claimed_by: claimant.id, claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "=", row.id)
        .execute();
      const { id, scope, subject, change_number, adds_only, claimed_by } = row;
      return {
        id,
        scope,
        subject,
        change: change_number === null ? null : Number(change_number),
        addsOnly: adds_only === 1,
        isTakenOver: claimed_by !== claimant.id,
      };
    });
  }

  /** Renews all leases with one statement. */
  async renew(claimant: RevocationClaimant, ids: readonly string[]): Promise<void> {
    const { now } = this.#database;
    await this.#database.execute((db) =>
      db
        .updateTable("sallyport_revocations")
        .set(({ eb }) => ({ claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "in", ids)
        .where("claimed_by", "=", claimant.id)
        .execute(),
    );
  }

  async postpone(claimant: RevocationClaimant, id: string): Promise<void> {
    await this.#database.transaction((db) =>
      db
        .updateTable("sallyport_revocations")
        .set({ claimed_by: null })
        .where("id", "=", id)
        .where("claimed_by", "=", claimant.id)
        .execute(),
    );
  }

  async completeForThisApp(claimant: RevocationClaimant, id: string): Promise<void> {
    const { now } = this.#database;
    await this.#database.transaction(async (db) => {
      await db
        .updateTable("sallyport_revocations")
        .set({
          done_by: this.#database.sql<string>`done_by || ${`,${claimant.app},`}`,
          claimed_by: null,
          claimed_until: null,
        })
        .where("id", "=", id)
        .where("claimed_by", "=", claimant.id)
        .returning(this.#database.notification.as("notified"))
        .execute();
      const old = await db
        .selectFrom("sallyport_revocations")
        .select("id")
        .where(({ eb }) => eb("created_at", "<", eb(now, "-", MAX_CONNECTION_ROW_AGE_MS)))
        .execute();
      for (const record of old) await deleteRecord(db, record.id);
    });
  }

  async finish(claimant: RevocationClaimant, id: string): Promise<void> {
    await this.#database.transaction(async (db) => {
      const isLeased = await db
        .selectFrom("sallyport_revocations")
        .select("id")
        .where("id", "=", id)
        .where("claimed_by", "=", claimant.id)
        .executeTakeFirst();
      if (isLeased) await deleteRecord(db, id);
    });
  }

  /**
   * Returns the records of removals before a record, which this app has not completed. Their notices
   * are sent first.
   */
  #earlierRemovals(db: Kysely<Tables>, { app }: RevocationClaimant) {
    return db
      .selectFrom("sallyport_revocations as removal")
      .select("removal.id")
      .where("removal.adds_only", "=", 0)
      .where("removal.done_by", "not like", `%,${app},%`)
      .whereRef("removal.created_at", "<=", "sallyport_revocations.created_at" as never);
  }

  /**
   * Condition of a record without a valid lease of another process that this app has not completed.
   */
  #isDequeuable(eb: ExpressionBuilder<Tables, "sallyport_revocations">, { id, app }: RevocationClaimant) {
    const { now } = this.#database;
    const isAvailable = eb.or([
      eb("claimed_by", "=", id),
      eb("claimed_until", "is", null),
      eb("claimed_until", "<", now),
      // The clock was set back, and the process with the lease may have exited.
      eb("claimed_until", ">", eb(now, "+", LEASE_MS + MAX_CLOCK_SKEW_MS)),
    ]);
    return eb.and([isAvailable, eb("done_by", "not like", `%,${app},%`)]);
  }
}

async function deleteRecord(db: Kysely<Tables>, id: string): Promise<void> {
  await db.deleteFrom("sallyport_revocation_users").where("revocation_id", "=", id).execute();
  await db.deleteFrom("sallyport_revocations").where("id", "=", id).execute();
}
