import { createHash, randomBytes } from "node:crypto";
import type { Expression, Kysely } from "kysely";
import { RefusedError } from "../errors.ts";
import type { Subject } from "../permissions/rules.ts";
import { changesRecorded, type Database, type Tables } from "../storage/database.ts";
import { prepared } from "../storage/prepared.ts";
import {
  type EffectivePermissionsQuery,
  type PermissionColumns,
  permissionColumns,
  permissionsFrom,
} from "../storage/sql/effective-permissions.ts";
import { sessionEnded } from "./ended-sessions.ts";
import { MAX_CLOCK_SKEW_MS } from "./rate-limits.ts";

/** Whose a token is. */
export interface TokenGrant {
  readonly userId: string;
  /** The app's login that asked for the token, or null. */
  readonly sessionId: string | null;
  /** Origin of the page that asked, or null. */
  readonly origin: string | null;
  /** The gateway it may be spent at, or null for any. */
  readonly gatewayId: string | null;
  /** The view that it opens, or null for any. */
  readonly view: string | null;
  /** The channel that it opens, or null for any and for none. */
  readonly channel: string | null;
}

/** A token's grant, and what the statement that spent it read along: its user's state and rights. */
export interface SpentToken extends TokenGrant {
  readonly subject: Subject;
  /** Number of the last change before its user's permissions were read. */
  readonly since: number;
  /** When it was spent, in epoch milliseconds. */
  readonly spentAt: number;
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

/** How long after its expiry a token is kept, so that a replay can still be told from a guess. */
const KEEP_MS = 10 * 60_000;

/** Old tokens that are removed with each new one, so that they do not grow where nobody cleans up. */
const REMOVED_WITH_EACH = 10;

/** Single-use tokens for connecting. Only their SHA-256 is stored. */
export class Tokens {
  readonly #database: Database;
  readonly #expiryMs: number;

  readonly #spend: (db: Kysely<never>, values: { hash: string }) => Promise<SpentRow[]>;

  /** @param grantsSubquery the rights that spending a token brings along */
  constructor(
    database: Database,
    expirySeconds: number,
    { grantsSubquery }: { readonly grantsSubquery: EffectivePermissionsQuery },
  ) {
    this.#database = database;
    this.#expiryMs = expirySeconds * 1000;
    const { commitsLater, db, now } = database;
    this.#spend = prepared(database, (value) =>
      db
        .updateTable("sallyport_tokens")
        .set({ spent_at: now })
        .where("hash", "=", value("hash"))
        .where("spent_at", "is", null)
        .where("ended_at", "is", null)
        .where("expires_at", ">", now)
        // Issued before the clock was set back, it would be valid until the clock gets there again.
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
          // The row of the connection is committed after it, and brings it to the disk.
          commitsLater.as("commits_later"),
        ]),
    );
  }

  /** @returns 64 lowercase hex characters, which exist nowhere else */
  async issue(db: Kysely<Tables>, grant: TokenGrant): Promise<string> {
    const { now } = this.#database;
    const token = randomBytes(32).toString("hex");
    await db
      .insertInto("sallyport_tokens")
      .values(({ eb }) => ({
        hash: hashToken(token),
        user_id: grant.userId,
        session_id: grant.sessionId,
        origin: grant.origin,
        gateway_id: grant.gatewayId,
        view: grant.view,
        channel: grant.channel,
        created_at: now,
        expires_at: eb(now, "+", this.#expiryMs),
        spent_at: null,
        ended_at: null,
      }))
      .execute();
    await this.#removeExpired(db, REMOVED_WITH_EACH);
    return token;
  }

  /** Removes tokens that expired long ago. @returns how many, at most `limit` */
  removeExpired(limit: number): Promise<number> {
    return this.#database.execute((db) => this.#removeExpired(db, limit));
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

  /**
   * Spends a single-use token and tells whose it was.
   *
   * Check and spend are one statement: of any number of racing calls exactly one gets the grant.
   *
   * @throws RefusedError when it is unknown, expired or already spent; the reason tells which
   */
  async spend(token: string): Promise<SpentToken> {
    if (!isToken(token)) throw unusable("token-unknown", "The token is not 64 hex characters");
    const hash = hashToken(token);
    const [spent] = await this.#database.execute((db) =>
      this.#spend(db as unknown as Kysely<never>, { hash }),
    );
    if (!spent) throw await this.#whyNot(this.#database.db, hash);
    return {
      userId: spent.user_id,
      sessionId: spent.session_id,
      origin: spent.origin,
      gatewayId: spent.gateway_id,
      view: spent.view,
      channel: spent.channel,
      subject: { userId: spent.user_id, ...permissionsFrom(spent) },
      since: Number(spent.last_change ?? 0),
      spentAt: Number(spent.spent_at),
    };
  }

  /** Returns why a spent token is good for nothing any more, or undefined. A connect can still be in flight when its session ends. */
  async whyEnded(db: Kysely<Tables>, token: string, spentAt: number): Promise<RefusedError | undefined> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(["ended_at", "spent_at", "user_id"])
      .where("hash", "=", hashToken(token))
      .executeTakeFirst();
    if (!row) {
      const why = "The user was deleted while the connection opened, and the token with it.";
      return new RefusedError(why, { reason: "session" });
    }
    if (row.ended_at !== null) return sessionEnded();
    if (Number(row.spent_at) === spentAt) return undefined;
    return unusable(
      "token-replayed",
      `The database lost the note that the token of user ${row.user_id} was spent, because it crashed. Another connect may have spent it since`,
    );
  }

  /**
   * The row of a token that was spent by one connect, and whose login has not ended, as a subquery. After a crash the database may have
   * lost that it was spent, see {@link Database.commitsLater}.
   */
  standing(db: Kysely<Tables>, hash: Expression<string>, spentAt: Expression<number>) {
    return db
      .selectFrom("sallyport_tokens as token")
      .select("token.hash")
      .where("token.hash", "=", hash)
      .where("token.spent_at", "=", spentAt)
      .where("token.ended_at", "is", null);
  }

  /** Removes one token, or every token of a user who was deleted. */
  async forget(
    db: Kysely<Tables>,
    which: { readonly token: string } | { readonly user: string },
  ): Promise<void> {
    await db
      .deleteFrom("sallyport_tokens")
      .where((eb) =>
        "token" in which ? eb("hash", "=", hashToken(which.token)) : eb("user_id", "=", which.user),
      )
      .execute();
  }

  /** Ends the tokens of a session of the app, in the transaction that ends it. A connect in flight is denied, too. */
  async end(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    await db
      .updateTable("sallyport_tokens")
      .set({ ended_at: this.#database.now })
      .where("session_id", "=", sessionHash)
      .execute();
  }

  async #whyNot(db: Kysely<Tables>, hash: string): Promise<RefusedError> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(["spent_at", "ended_at", "user_id"])
      .where("hash", "=", hash)
      .executeTakeFirst();
    if (!row) return unusable("token-unknown", "The token was never issued, or long ago");
    if (row.ended_at !== null) return sessionEnded();
    if (row.spent_at === null)
      return unusable("token-expired", `The token of user ${row.user_id} has expired`);
    return unusable(
      "token-replayed",
      `The token of user ${row.user_id} was already spent: somebody replays it`,
    );
  }
}

function unusable(reason: "token-unknown" | "token-expired" | "token-replayed", why: string): RefusedError {
  return new RefusedError(`${why}. A client fetches a fresh token for every connect.`, { reason });
}

/** Whether a text has a token's form. */
export function isToken(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** What is stored of a token. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
