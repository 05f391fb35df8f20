import { createHash, randomBytes } from "node:crypto";
import type { Expression, Kysely } from "kysely";
import { ForbiddenError, type RequestError } from "../errors.ts";
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

/** The owner of a token, and where it can be spent. */
export interface TokenGrant {
  readonly userId: string;
  /** Hash of the session that requested the token, or null. */
  readonly sessionId: string | null;
  /** Origin of the page that requested the token, or null. */
  readonly origin: string | null;
  /** The gateway at which the token can be spent, or null for any gateway. */
  readonly gatewayId: string | null;
  /** The view at which the token can be spent, or null for any view. */
  readonly view: string | null;
  /** The channel that the token is valid for, or null for any channel and for none. */
  readonly channel: string | null;
}

/** The grant of a spent token, and the permissions of its user. One statement reads both. */
export interface SpentToken extends TokenGrant {
  readonly subject: Subject;
  /** Number of the last change before the permissions of the user were read. */
  readonly since: number;
  /** When the token was spent, in epoch milliseconds. */
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

/**
 * How long a token is kept after its expiry, so that a replay can be distinguished from a guess.
 */
const KEEP_MS = 10 * 60_000;

/**
 * The maximum number of expired tokens that are removed with each new one. No cleanup job is
 * needed.
 */
const REMOVED_WITH_EACH = 10;

/** Single-use tokens for connecting. Only their SHA-256 is stored. */
export class Tokens {
  readonly #database: Database;
  readonly #expiryMs: number;

  readonly #spend: (db: Kysely<never>, values: { hash: string }) => Promise<SpentRow[]>;

  /** @param grantsSubquery reads the permissions of the user when a token is spent */
  constructor(
    database: Database,
    expirySeconds: number,
    { grantsSubquery }: { readonly grantsSubquery: EffectivePermissionsQuery },
  ) {
    this.#database = database;
    this.#expiryMs = expirySeconds * 1000;
    const { asyncCommit, db, now } = database;
    this.#spend = prepared(database, (value) =>
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

  /**
   * Creates a token. Only its hash is stored.
   *
   * @returns 64 lowercase hexadecimal characters
   */
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

  /**
   * Removes tokens that expired more than ten minutes ago.
   *
   * @returns how many were removed, at most `limit`
   */
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
   * Spends a single-use token and returns its grant.
   *
   * Checking and spending are one statement. Of concurrent calls, exactly one receives the grant.
   *
   * @throws RequestError if the token is unknown, expired or already spent. Its `reason` states
   *   which
   */
  async spend(token: string): Promise<SpentToken> {
    if (!isToken(token)) throw unusable("token-unknown", "The token is not 64 hexadecimal characters");
    const hash = hashToken(token);
    const [spent] = await this.#database.execute((db) =>
      this.#spend(db as unknown as Kysely<never>, { hash }),
    );
    if (!spent) throw await this.#spendError(this.#database.db, hash);
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

  /**
   * Returns the error for a spent token that has become invalid, or undefined. The session of a
   * connect can end while the connect is in flight.
   */
  async findSpentError(
    db: Kysely<Tables>,
    token: string,
    spentAt: number,
  ): Promise<RequestError | undefined> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(["ended_at", "spent_at", "user_id"])
      .where("hash", "=", hashToken(token))
      .executeTakeFirst();
    if (!row) {
      const message = "The user and the token were deleted while the connection was being opened.";
      return new ForbiddenError(message, { reason: "session" });
    }
    if (row.ended_at !== null) return sessionEnded();
    if (Number(row.spent_at) === spentAt) return undefined;
    return unusable(
      "token-replayed",
      `The database crashed and lost that the token of user ${row.user_id} was spent, so another connect may have used it`,
    );
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

  /** Removes one token, or all tokens of a deleted user. */
  async delete(
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

  /**
   * Ends the tokens of a session, in the transaction that ends it. Connects in flight are denied,
   * too.
   */
  async end(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    await db
      .updateTable("sallyport_tokens")
      .set({ ended_at: this.#database.now })
      .where("session_id", "=", sessionHash)
      .execute();
  }

  async #spendError(db: Kysely<Tables>, hash: string): Promise<RequestError> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(["spent_at", "ended_at", "user_id"])
      .where("hash", "=", hash)
      .executeTakeFirst();
    if (!row) return unusable("token-unknown", "The token was never issued, or it expired long ago");
    if (row.ended_at !== null) return sessionEnded();
    if (row.spent_at === null)
      return unusable("token-expired", `The token of user ${row.user_id} has expired`);
    return unusable("token-replayed", `The token of user ${row.user_id} was already spent`);
  }
}

/**
 * Returns the error for a token that cannot be spent.
 *
 * @param cause a sentence without its period
 */
function unusable(reason: "token-unknown" | "token-expired" | "token-replayed", cause: string): RequestError {
  return new ForbiddenError(`${cause}. Request a new token for each connect.`, { reason });
}

/** Returns whether a text has the form of a token: 64 lowercase hexadecimal characters. */
export function isToken(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** Returns the stored form of a token: its SHA-256 in hexadecimal. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
