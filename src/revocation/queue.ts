import { createHash, randomUUID } from "node:crypto";
import type { AliasableExpression, ExpressionBuilder, Kysely } from "kysely";
import { MAX_CLOCK_SKEW_MS } from "../auth/rate-limits.ts";
import { MAX_SESSION_MS } from "../protocol/quotas.ts";
import type { Database, Tables } from "../storage/database.ts";

type Scope = Tables["sallyport_revocations"]["scope"];

/**
 * Whose sockets a change can have touched: one user, the members of a group, the users whom the record lists, a user who
 * was deleted, a login that ended, those in a channel or at a view, or everyone.
 */
export type RevocationTarget =
  | { readonly scope: Exclude<Scope, "users" | "everyone">; readonly subject: string }
  | { readonly scope: "users"; readonly users: readonly string[] | AliasableExpression<{ user_id: string }> }
  | { readonly scope: "everyone" };

/** A change of rights whose consequences for open sockets are still to be drawn. */
export interface Revocation {
  readonly id: string;
  readonly scope: Scope;
  /** Id of the user or login, name of the group or channel, path of the view. */
  readonly subject: string;
  /** The change's number in the audit, where it has one. */
  readonly change: number | null;
  /** Another process had it before, and may have died half-way. */
  readonly isTakenOver: boolean;
}

/** How long a process that claimed a record may be silent before another may claim it, in milliseconds. */
const LEASE_MS = 15_000;
/** How often whoever works on some says so, in milliseconds. */
const RENEW_MS = 4000;
/** How long a work may come no further and keep others off, in milliseconds: longer than the longest call with all its tries. */
const STUCK_MS = 90_000;

const USERS_PER_INSERT = 5000;

/** The records that changes of rights leave behind, each enforced by whoever claims it. */
export class RevocationQueue {
  readonly #database: Database;
  readonly #app: string;
  readonly #claimant = randomUUID();
  /** Records in work here, each with when it last came further. */
  readonly #leases = new Map<string, { advancedAt: number }>();
  #renewing: NodeJS.Timeout | undefined;

  /** @param app names what this process can judge: processes of the same views and channels bear the same name */
  constructor(database: Database, app: string) {
    this.#database = database;
    this.#app = createHash("sha256").update(app).digest("hex").slice(0, 16);
  }

  /**
   * One record for a change, however many users it touches, in the change's own transaction. It is this process's
   * to enforce, until the lease is over.
   *
   * @returns the record's id
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
    if (touched.scope === "users") await this.#list(db, id, touched.users);
    return id;
  }

  /** Records several changes, each of one user or group, in one statement. */
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

  /** Notes whom a change touches, while the tables still tell it. */
  async #list(
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

  /** Returns the users whom a record lists, at most `limit`. */
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
   * Claims a record that is ours or nobody's: the oldest, or a given one. Of two racing processes one gets it.
   *
   * @param options.except records that this process has in hand
   */
  async dequeue(options: { except: ReadonlySet<string>; only?: string }): Promise<Revocation | undefined> {
    const { now } = this.#database;
    const due = (db: Kysely<Tables>) => {
      let query = db
        .selectFrom("sallyport_revocations")
        .select(["id", "scope", "subject", "change_number", "claimed_by"])
        .where((eb) => this.#claimable(eb))
        .orderBy("created_at")
        .orderBy("id")
        .limit(1);
      if (options.except.size > 0) query = query.where("id", "not in", [...options.except]);
      if (options.only !== undefined) query = query.where("id", "=", options.only);
      return query.executeTakeFirst();
    };
    // A read first, so that looking costs no lock.
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
   * Keeps a record for as long as its work comes further: nobody else needs to begin it. A renewal that fails is no failure of the
   * work, since doing it twice does no harm.
   *
   * @param work calls `advanced` whenever it has come further
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

  /** One statement for all records, and one at a time. */
  #renewLater(): void {
    const timer = setTimeout(async () => {
      const now = performance.now();
      const alive = [...this.#leases].filter(([, { advancedAt }]) => now - advancedAt < STUCK_MS);
      if (alive.length > 0) await this.#renew(alive.map(([id]) => id)).catch(() => undefined);
      // Those of then are all done, and whoever came since has a timer.
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

  /** It failed: anybody may claim it when the lease is over. One that another process has claimed since is left alone. */
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
   * This app has done what it can judge; another one has sockets to look at. Such a record is kept for as long as a socket
   * of then can live.
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
        .where(({ eb }) => eb("created_at", "<", eb(now, "-", MAX_SESSION_MS)))
        .execute();
      for (const record of old) await forget(db, record.id);
    });
  }

  /** The record has been enforced to its end; unless another process has claimed it since, and still tells those whom it found. */
  async finish(id: string): Promise<void> {
    await this.#database.transaction(async (db) => {
      const ours = await db
        .selectFrom("sallyport_revocations")
        .select("id")
        .where("id", "=", id)
        .where("claimed_by", "=", this.#claimant)
        .executeTakeFirst();
      if (ours) await forget(db, id);
    });
  }

  /** Ours, nobody's yet, or of a process that took too long; and not done already as far as this app can. */
  #claimable(eb: ExpressionBuilder<Tables, "sallyport_revocations">) {
    const { now } = this.#database;
    const free = eb.or([
      eb("claimed_by", "=", this.#claimant),
      eb("claimed_until", "is", null),
      eb("claimed_until", "<", now),
      // The clock was set back, and the process that claimed it may be gone.
      eb("claimed_until", ">", eb(now, "+", LEASE_MS + MAX_CLOCK_SKEW_MS)),
    ]);
    return eb.and([free, eb("done_by", "not like", `%,${this.#app},%`)]);
  }
}

async function forget(db: Kysely<Tables>, id: string): Promise<void> {
  await db.deleteFrom("sallyport_revocation_users").where("revocation_id", "=", id).execute();
  await db.deleteFrom("sallyport_revocations").where("id", "=", id).execute();
}
