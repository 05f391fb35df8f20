import { createHash, randomBytes } from "node:crypto";
import { ForbiddenError, type RequestError } from "../errors.ts";
import type { OpenResult } from "../storage/stores/connections.ts";
import type { EndedSessionCheck } from "../storage/stores/sessions.ts";
import type { SpentToken, TokenGrant, TokenStore } from "../storage/stores/tokens.ts";
import { sessionEnded } from "./ended-sessions.ts";

/** Creates and spends single-use tokens for connecting. Only their SHA-256 is stored. */
export class Tokens {
  readonly #store: TokenStore;
  /** How long a token is valid, in seconds. */
  readonly expiresInSeconds: number;

  constructor(store: TokenStore, expiresInSeconds: number) {
    this.#store = store;
    this.expiresInSeconds = expiresInSeconds;
  }

  /**
   * Creates a token. Only its hash is stored.
   *
   * @param session the session that must not have ended, or null for none
   * @returns 64 lowercase hexadecimal characters
   * @throws RequestError if the session has ended
   */
  async issue(grant: TokenGrant, session: EndedSessionCheck | null): Promise<string> {
    const token = randomBytes(32).toString("hex");
    const options = { expiresInMs: this.expiresInSeconds * 1000, session };
    if (!(await this.#store.issue(hashToken(token), grant, options))) throw sessionEnded();
    return token;
  }

  /**
   * Spends a single-use token and returns its grant.
   *
   * Of concurrent calls, exactly one receives the grant.
   *
   * @throws RequestError if the token is unknown, expired or already spent. Its `reason` states
   *   which
   */
  async spend(token: string): Promise<SpentToken> {
    if (!isToken(token)) throw unusable("token-unknown", "The token is not 64 hexadecimal characters");
    const hash = hashToken(token);
    const spent = await this.#store.spend(hash);
    if (!spent) throw await this.#spendError(hash);
    return spent;
  }

  /** Removes a token. */
  async delete(token: string): Promise<void> {
    await this.#store.delete(hashToken(token));
  }

  async #spendError(hash: string): Promise<RequestError> {
    const found = await this.#store.findUnusable(hash);
    if (!found) return unusable("token-unknown", "The token was never issued, or it expired long ago");
    const { status, userId } = found;
    if (status === "session-ended") return sessionEnded();
    if (status === "expired") return unusable("token-expired", `The token of user ${userId} has expired`);
    return unusable("token-replayed", `The token of user ${userId} was already spent`);
  }
}

/** Results of opening a connection with a token that has become invalid since it was spent. */
type SpentTokenResult = Extract<OpenResult["kind"], "token-deleted" | "session-ended" | "token-respent">;

/**
 * Returns the error for a spent token that has become invalid. The session of a connect can end
 * while the connect is in flight.
 *
 * @param userId the user of the token
 */
export function spentTokenError(kind: SpentTokenResult, userId: string): RequestError {
  switch (kind) {
    case "token-deleted":
      return new ForbiddenError(
        "The user and the token were deleted while the connection was being opened. Request a new token.",
        { reason: "session" },
      );
    case "session-ended":
      return sessionEnded();
    case "token-respent":
      return unusable(
        "token-replayed",
        `The database crashed and lost that the token of user ${userId} was spent, so another connect may have used it`,
      );
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
