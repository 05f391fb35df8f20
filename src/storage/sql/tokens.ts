import type { Expression, Kysely } from "kysely";
import { changesRecorded, type Database, MAX_CLOCK_SKEW_MS, type Tables } from "../database.ts";
import { prepared } from "../prepared.ts";
import { WINDOW_MS } from "../stores/limits.ts";
import type { EndedSessionCheck } from "../stores/sessions.ts";
import type {
  SpentToken,
  TokenAdmission,
  TokenGrant,
  TokenRequester,
  TokenStore,
  UnusableToken,
} from "../stores/tokens.ts";
import { type PermissionColumns, permissionColumns, permissionsFrom } from "./effective-permissions.ts";
import type { SqlEndedSessions } from "./ended-sessions.ts";
import type { SqlLimits } from "./limits.ts";
import { ensureUser, type SqlUsers } from "./users.ts";

/** The other tables that a token request reads and writes. */
interface RelatedTables {
  readonly users: Pick<SqlUsers, "grantsSubquery" | "subjectIn">;
  readonly endedSessions: Pick<SqlEndedSessions, "isEndedIn">;
  readonly limits: Pick<SqlLimits, "takeIn" | "windowIn">;
}

interface SpentRow extends PermissionColumns {
  user_id: string;
  session_id: string | null;
  origin: string | null;
  gateway_id: string | null;
  view: string | null;
  channel: string | null;
  last_change: number | null;
  spent_at: number | null;
}

type Spend = (db: Kysely<never>, values: { hash: string }) => Promise<SpentRow[]>;

/**
 * How long a token is kept after its expiry, so that a replay can be distinguished from a guess.
 */
const KEEP_MS = 10 * 60_000;

/**
 * The maximum number of expired tokens that are removed with each new one. No cleanup job is
 * needed.
 */
const REMOVED_WITH_EACH = 10;

/** Stores, spends and removes tokens. */
export class SqlTokens implements TokenStore {
  readonly #database: Database;
  readonly #related: RelatedTables;
  readonly #spend: Spend;

  constructor(database: Database, related: RelatedTables) {
    this.#database = database;
    this.#related = related;
    this.#spend = prepareSpend(database, related.users);
  }

  /** Commits also if the request is rejected, so that a counted request is kept. */
  admit({ userId, session, counted }: TokenRequester): Promise<TokenAdmission> {
    const { users, endedSessions, limits } = this.#related;
    return this.#database.sharedTransaction<TokenAdmission>(async (db) => {
      if (session && (await endedSessions.isEndedIn(db, session))) return { kind: "session-ended" };
      await ensureUser(this.#database, db, userId);
      if (counted && !(await limits.takeIn(db, counted))) {
        const window = await limits.windowIn(db, counted.key);
        return { kind: "limited", leftMs: window?.leftMs ?? WINDOW_MS };
      }
      return { kind: "admitted", subject: await users.subjectIn(db, userId) };
    });
  }

  issue(
    hash: string,
    grant: TokenGrant,
    { expiresInMs, session }: { readonly expiresInMs: number; readonly session: EndedSessionCheck | null },
  ): Promise<boolean> {
    return this.#database.sharedTransaction(async (db) => {
      // The session can have ended since it was checked. This transaction runs either before or
      // after the one that ends it.
      if (session && (await this.#related.endedSessions.isEndedIn(db, session))) return false;
      await this.#insert(db, hash, grant, expiresInMs);
      await this.#removeExpired(db, REMOVED_WITH_EACH);
      return true;
    });
  }

  /** Checking and spending are one statement. */
  async spend(hash: string): Promise<SpentToken | undefined> {
    const [spent] = await this.#database.execute((db) =>
      this.#spend(db as unknown as Kysely<never>, { hash }),
    );
    return (
      spent && {
        userId: spent.user_id,
        sessionId: spent.session_id,
        origin: spent.origin,
        gatewayId: spent.gateway_id,
        view: spent.view,
        channel: spent.channel,
        subject: { userId: spent.user_id, ...permissionsFrom(spent) },
        since: Number(spent.last_change ?? 0),
        spentAt: Number(spent.spent_at),
      }
    );
  }

  async findUnusable(hash: string): Promise<UnusableToken | undefined> {
    const row = await this.#database.db
      .selectFrom("sallyport_tokens")
      .select(["spent_at", "ended_at", "user_id"])
      .where("hash", "=", hash)
      .executeTakeFirst();
    if (!row) return undefined;
    const userId = row.user_id;
    if (row.ended_at !== null) return { status: "session-ended", userId };
    return { status: row.spent_at === null ? "expired" : "spent", userId };
  }

  async delete(hash: string): Promise<void> {
    await this.#database.sharedTransaction((db) =>
      db.deleteFrom("sallyport_tokens").where("hash", "=", hash).execute(),
    );
  }

  async expiredForMs(): Promise<number | undefined> {
    const { db, now } = this.#database;
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(({ eb }) => eb(now, "-", eb.ref("expires_at")).as("expired_for"))
      .orderBy("expires_at")
      .limit(1)
      .executeTakeFirst();
    return row && Number(row.expired_for);
  }

  removeExpired(limit: number): Promise<number> {
    return this.#database.execute((db) => this.#removeExpired(db, limit));
  }

  /**
   * Returns a subquery for a token that this connect spent, unless its session was ended.
   *
   * After a crash, the database may no longer contain that the token was spent. See
   * {@link Database.asyncCommit}.
   */
  spentTokenQuery(db: Kysely<Tables>, hash: Expression<string>, spentAt: Expression<number>) {
    return db
      .selectFrom("sallyport_tokens as token")
      .select("token.hash")
      .where("token.hash", "=", hash)
      .where("token.spent_at", "=", spentAt)
      .where("token.ended_at", "is", null);
  }

  /**
   * Ends the tokens of a session, in the transaction that ends it. Connects in flight are denied,
   * too.
   */
  async endOfSession(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    await db
      .updateTable("sallyport_tokens")
      .set({ ended_at: this.#database.now })
      .where("session_id", "=", sessionHash)
      .execute();
  }

  /** Removes all tokens of a deleted user. */
  async deleteOfUser(db: Kysely<Tables>, userId: string): Promise<void> {
    await db.deleteFrom("sallyport_tokens").where("user_id", "=", userId).execute();
  }

  async #insert(db: Kysely<Tables>, hash: string, grant: TokenGrant, expiresInMs: number): Promise<void> {
    const { now } = this.#database;
    await db
      .insertInto("sallyport_tokens")
      .values(({ eb }) => ({
        hash,
        user_id: grant.userId,
        session_id: grant.sessionId,
        origin: grant.origin,
        gateway_id: grant.gatewayId,
        view: grant.view,
        channel: grant.channel,
        created_at: now,
        expires_at: eb(now, "+", expiresInMs),
        spent_at: null,
        ended_at: null,
      }))
      .execute();
  }

  async #removeExpired(db: Kysely<Tables>, limit: number): Promise<number> {
    const { now } = this.#database;
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_tokens")
      .where("hash", "in", (eb) =>
        eb
          .selectFrom("sallyport_tokens as old")
          .select("old.hash")
          .where(({ eb: on }) => on("old.expires_at", "<", on(now, "-", KEEP_MS)))
          .orderBy("old.expires_at")
          .limit(limit),
      )
      .executeTakeFirst();
    return Number(numDeletedRows);
  }
}

function prepareSpend(
  database: Database,
  { grantsSubquery }: Pick<RelatedTables["users"], "grantsSubquery">,
): Spend {
  const { asyncCommit, db, now } = database;
  return prepared(database, (value) =>
    db
      .updateTable("sallyport_tokens")
      .set({ spent_at: now })
      .where("hash", "=", value("hash"))
      .where("spent_at", "is", null)
      .where("ended_at", "is", null)
      .where("expires_at", ">", now)
      // A token from before the clock was set back would be valid until the clock reaches its
      // expiry.
      .where(({ eb }) => eb("created_at", "<=", eb(now, "+", MAX_CLOCK_SKEW_MS)))
      .returning((eb) => [
        "user_id",
        "session_id",
        "origin",
        "gateway_id",
        "view",
        "channel",
        "spent_at",
        ...permissionColumns(db, eb.ref("sallyport_tokens.user_id"), grantsSubquery),
        changesRecorded(db).as("last_change"),
        // The row of the connection is committed later. That commit also writes this one to disk.
        asyncCommit.as("commits_later"),
      ]),
  );
}
