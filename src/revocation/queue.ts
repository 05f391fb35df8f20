import { createHash, randomUUID } from "node:crypto";
import type { AliasableExpression, ExpressionBuilder, Kysely } from "kysely";
import { MAX_CLOCK_SKEW_MS } from "../auth/rate-limits.ts";
import { MAX_CONNECTION_ROW_AGE_MS } from "../protocol/quotas.ts";
import type { Database, Tables } from "../storage/database.ts";

type Scope = Tables["sallyport_revocations"]["scope"];

/**
 * The connections that a change can affect.
 *
 * They belong to one user, the members of a group, the listed users, a deleted user or an ended
 * session. Or they are in a channel, of a view, or all connections.
 */
export type RevocationTarget =
  | { readonly scope: Exclude<Scope, "users" | "everyone">; readonly subject: string }
  | { readonly scope: "users"; readonly users: readonly string[] | AliasableExpression<{ user_id: string }> }
  | { readonly scope: "everyone" };

/** The record of a permission change that must still be applied to open connections. */
export interface Revocation {
  readonly id: string;
  readonly scope: Scope;
  /** Id of the user, hash of the session id, name of the group or channel, or path of the view. */
  readonly subject: string;
  /** Number of the change in the audit log, or `null`. */
  readonly change: number | null;
  /** Whether another process had started it, and may have exited before it was finished. */
  readonly isTakenOver: boolean;
}

/** Duration of a lease, in milliseconds. Afterwards, another process may dequeue the record. */
const LEASE_MS = 15_000;
/** Interval of the renewal of leases, in milliseconds. */
const RENEW_MS = 4000;
/**
 * Time without progress after which a lease is not renewed, in milliseconds. It is longer than the
 * longest call to API Gateway with all retries.
 */
const MAX_IDLE_MS = 90_000;

/** Maximum number of users per INSERT. */
const USERS_PER_INSERT = 5000;

/**
 * The queue of recorded permission changes. Each record is processed by the process that dequeues
 * it.
 */
export class RevocationQueue {
  readonly #database: Database;
  readonly #app: string;
  readonly #claimant = randomUUID();
  /** Records in progress in this process, with the time of their last progress. */
  readonly #leases = new Map<string, { advancedAt: number }>();
  #renewing: NodeJS.Timeout | undefined;

  /**
   * @param app identifies the views and channels of this app. All processes with the same views and
   *   channels pass the same value
   */
  constructor(database: Database, app: string) {
    this.#database = database;
    this.#app = createHash("sha256").update(app).digest("hex").slice(0, 16);
  }

  /**
   * Adds one record for a change, in the transaction of the change. The number of users does not
   * matter. Until its lease expires, only this process can dequeue it.
   *
   * @returns the id of the record
   */
  async record(db: Kysely<Tables>, touched: RevocationTarget, change: number | null): Promise<string> {
    const { now } = this.#database;
    const id = randomUUID();
    await db
      .insertInto("sallyport_revocations")
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
          claimed_by: this.#claimant,
          claimed_until: eb(now, "+", LEASE_MS),
          change_number: change,
        })),
      )
      .execute();
  }

  /** Lists the users that a change affects, before the change removes that information. */
  async #listUsers(
    db: Kysely<Tables>,
    id: string,
    users: readonly string[] | AliasableExpression<{ user_id: string }>,
  ): Promise<void> {
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

  /**
   * Dequeues the oldest record that is available, or a given one, and takes its lease. If several
   * processes call it at the same time, only one receives a record.
   *
   * @param options.except records that are in progress in this process
   * @param options.only id of the record to dequeue. Default: the oldest
   */
  async dequeue(options: { except: ReadonlySet<string>; only?: string }): Promise<Revocation | undefined> {
    const { now } = this.#database;
    const due = (db: Kysely<Tables>) => {
      let query = db
        .selectFrom("sallyport_revocations")
        .select(["id", "scope", "subject", "change_number", "claimed_by"])
        .where((eb) => this.#isDequeuable(eb))
        .orderBy("created_at")
        .orderBy("id")
        .limit(1);
      if (options.except.size > 0) query = query.where("id", "not in", [...options.except]);
      if (options.only !== undefined) query = query.where("id", "=", options.only);
      return query.executeTakeFirst();
    };
    // Read without a lock first, because usually no record is due.
    if (!(await due(this.#database.db))) return undefined;
    return this.#database.transaction(async (db) => {
      const row = await due(db);
      if (!row) return undefined;
      await db
        .updateTable("sallyport_revocations")
        .set(({ eb }) => ({ claimed_by: this.#claimant, claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "=", row.id)
        .execute();
      const { id, scope, subject, change_number, claimed_by } = row;
      return {
        id,
        scope,
        subject,
        change: change_number === null ? null : Number(change_number),
        isTakenOver: claimed_by !== this.#claimant,
      };
    });
  }

  /**
   * Renews the lease of a record while its work makes progress, so that no other process starts it.
   *
   * A failed renewal is ignored, because the work is idempotent.
   *
   * @param work calls `advanced` each time that it makes progress
   */
  async withLease<Result>(id: string, work: (advanced: () => void) => Promise<Result>): Promise<Result> {
    const lease = { advancedAt: performance.now() };
    this.#leases.set(id, lease);
    if (!this.#renewing) this.#renewLater();
    try {
      return await work(() => {
        lease.advancedAt = performance.now();
      });
    } finally {
      this.#leases.delete(id);
      if (this.#leases.size === 0) {
        clearTimeout(this.#renewing);
        this.#renewing = undefined;
      }
    }
  }

  /** Renews all leases with one statement. Only one renewal is in flight at a time. */
  #renewLater(): void {
    const timer = setTimeout(async () => {
      const now = performance.now();
      const active = [...this.#leases].filter(([, { advancedAt }]) => now - advancedAt < MAX_IDLE_MS);
      if (active.length > 0) await this.#renew(active.map(([id]) => id)).catch(() => undefined);
      // All earlier records are finished, and newer ones have started another timer.
      if (this.#renewing !== timer) return;
      this.#renewLater();
    }, RENEW_MS).unref();
    this.#renewing = timer;
  }

  async #renew(ids: readonly string[]): Promise<void> {
    const { now } = this.#database;
    await this.#database.execute((db) =>
      db
        .updateTable("sallyport_revocations")
        .set(({ eb }) => ({ claimed_until: eb(now, "+", LEASE_MS) }))
        .where("id", "in", ids)
        .where("claimed_by", "=", this.#claimant)
        .execute(),
    );
  }

  /**
   * Returns a failed record to the queue. Any process can dequeue it when its lease has expired.
   *
   * A record that another process has dequeued since then is not changed.
   */
  async postpone(id: string): Promise<void> {
    await this.#database.transaction((db) =>
      db
        .updateTable("sallyport_revocations")
        .set({ claimed_by: null })
        .where("id", "=", id)
        .where("claimed_by", "=", this.#claimant)
        .execute(),
    );
  }

  /**
   * Completes a record for this app, if another app must check some of its connections. The record
   * is kept for the maximum duration of a connection.
   */
  async completeForThisApp(id: string): Promise<void> {
    const { now } = this.#database;
    await this.#database.transaction(async (db) => {
      await db
        .updateTable("sallyport_revocations")
        .set({
          done_by: this.#database.sql<string>`done_by || ${`,${this.#app},`}`,
          claimed_by: null,
          claimed_until: null,
        })
        .where("id", "=", id)
        .where("claimed_by", "=", this.#claimant)
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

  /** Removes a finished record. A record that another process has dequeued since then is kept. */
  async finish(id: string): Promise<void> {
    await this.#database.transaction(async (db) => {
      const isLeased = await db
        .selectFrom("sallyport_revocations")
        .select("id")
        .where("id", "=", id)
        .where("claimed_by", "=", this.#claimant)
        .executeTakeFirst();
      if (isLeased) await deleteRecord(db, id);
    });
  }

  /**
   * Condition of a record without a valid lease of another process that this app has not completed.
   */
  #isDequeuable(eb: ExpressionBuilder<Tables, "sallyport_revocations">) {
    const { now } = this.#database;
    const isAvailable = eb.or([
      eb("claimed_by", "=", this.#claimant),
      eb("claimed_until", "is", null),
      eb("claimed_until", "<", now),
      // The clock was set back, and the process with the lease may have exited.
      eb("claimed_until", ">", eb(now, "+", LEASE_MS + MAX_CLOCK_SKEW_MS)),
    ]);
    return eb.and([isAvailable, eb("done_by", "not like", `%,${this.#app},%`)]);
  }
}

async function deleteRecord(db: Kysely<Tables>, id: string): Promise<void> {
  await db.deleteFrom("sallyport_revocation_users").where("revocation_id", "=", id).execute();
  await db.deleteFrom("sallyport_revocations").where("id", "=", id).execute();
}
