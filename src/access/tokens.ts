import { createHash, randomBytes } from "node:crypto";
import type { Kysely } from "kysely";
import { RefusedError } from "../errors.ts";
import type { Database, Tables } from "../storage/database.ts";

/** Whose a token is. */
export interface TokenGrant {
  readonly userId: string;
  /** The app's login that asked for the token, or null. */
  readonly loginId: string | null;
  /** Origin of the page that asked, or null. */
  readonly origin: string | null;
  /** The gateway it may be spent at, or null for any. */
  readonly gatewayId: string | null;
}

/** How long after its expiry a token is kept, so that a replay can still be told from a guess. */
const KEEP_MS = 10 * 60_000;

/** Single-use tokens for connecting. Only their SHA-256 is stored. */
export class Tokens {
  readonly #database: Database;
  readonly #expiryMs: number;

  constructor(database: Database, expirySeconds: number) {
    this.#database = database;
    this.#expiryMs = expirySeconds * 1000;
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
        login_id: grant.loginId,
        origin: grant.origin,
        gateway_id: grant.gatewayId,
        created_at: now,
        expires_at: eb(now, "+", this.#expiryMs),
        spent_at: null,
      }))
      .execute();
    await db
      .deleteFrom("sallyport_tokens")
      .where(({ eb }) => eb("expires_at", "<", eb(now, "-", KEEP_MS)))
      .execute();
    return token;
  }

  /**
   * Spends a single-use token and tells whose it was.
   *
   * Check and spend are one statement: of any number of racing calls exactly one gets the grant.
   *
   * @throws RefusedError when it is unknown, expired or already spent; the reason tells which
   */
  async spend(db: Kysely<Tables>, token: string): Promise<TokenGrant> {
    const { now } = this.#database;
    if (!/^[0-9a-f]{64}$/.test(token)) throw unusable("token-unknown", "The token is not 64 hex characters");
    const hash = hashToken(token);
    const spent = await db
      .updateTable("sallyport_tokens")
      .set({ spent_at: now })
      .where("hash", "=", hash)
      .where("spent_at", "is", null)
      .where("expires_at", ">", now)
      .returning(["user_id", "login_id", "origin", "gateway_id"])
      .executeTakeFirst();
    if (!spent) throw await this.#whyNot(db, hash);
    return {
      userId: spent.user_id,
      loginId: spent.login_id,
      origin: spent.origin,
      gatewayId: spent.gateway_id,
    };
  }

  /** True while a spent token's login has not ended: a connect may still be on its way when it does. */
  async stands(db: Kysely<Tables>, token: string): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select("hash")
      .where("hash", "=", hashToken(token))
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Takes back one token, or every token of a login that has ended or of a user who was deleted. */
  async forget(
    db: Kysely<Tables>,
    which: { readonly token: string } | { readonly login: string } | { readonly user: string },
  ): Promise<void> {
    await db
      .deleteFrom("sallyport_tokens")
      .where((eb) => {
        if ("token" in which) return eb("hash", "=", hashToken(which.token));
        return "login" in which ? eb("login_id", "=", which.login) : eb("user_id", "=", which.user);
      })
      .execute();
  }

  async #whyNot(db: Kysely<Tables>, hash: string): Promise<RefusedError> {
    const row = await db
      .selectFrom("sallyport_tokens")
      .select(["spent_at", "user_id"])
      .where("hash", "=", hash)
      .executeTakeFirst();
    if (!row) return unusable("token-unknown", "The token was never issued, or long ago");
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

function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
