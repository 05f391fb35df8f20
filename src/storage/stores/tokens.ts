import type { EndedSessionCheck } from "./sessions.ts";
import type { Subject } from "./users.ts";

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

/** The grant of a spent token, and the permissions of its user, read together. */
export interface SpentToken extends TokenGrant {
  readonly subject: Subject;
  /** Number of the last change before the permissions of the user were read. */
  readonly since: number;
  /** When the token was spent, in epoch milliseconds. */
  readonly spentAt: number;
}

/** A token that cannot be spent, and why. */
export interface UnusableToken {
  readonly status: "expired" | "spent" | "session-ended";
  readonly userId: string;
}

/** The user of a token request, and what is checked and counted for it. */
export interface TokenRequester {
  readonly userId: string;
  /** The session that must not have ended, or null for none. */
  readonly session: EndedSessionCheck | null;
  /** The window in which the request is counted, or undefined for no limit. */
  readonly counted: { readonly key: string; readonly limit: number } | undefined;
}

/** The result of a token request before its view and channel are checked. */
export type TokenAdmission =
  | { readonly kind: "admitted"; readonly subject: Subject }
  | { readonly kind: "session-ended" }
  /** The limit is reached. The window ends after `leftMs` milliseconds. */
  | { readonly kind: "limited"; readonly leftMs: number };

/** Single-use tokens for connecting. Only their SHA-256 is stored. Each operation is atomic. */
export interface TokenStore {
  /**
   * Checks the session of a token request, creates the row of a new user, counts the request, and
   * reads the permissions of the user.
   *
   * A request is counted also if a later check rejects it.
   */
  admit(requester: TokenRequester): Promise<TokenAdmission>;

  /**
   * Stores a token, and removes a few expired ones.
   *
   * @param hash SHA-256 of the token in hexadecimal
   * @param session the session that must not have ended, or null for none
   * @returns false if the session has ended. Nothing is stored then
   */
  issue(
    hash: string,
    grant: TokenGrant,
    options: { readonly expiresInMs: number; readonly session: EndedSessionCheck | null },
  ): Promise<boolean>;

  /**
   * Spends a token and returns its grant. Of concurrent calls, exactly one receives the grant.
   *
   * @returns undefined if the token cannot be spent. {@link findUnusable} returns why
   */
  spend(hash: string): Promise<SpentToken | undefined>;

  /** Returns why a token cannot be spent, or undefined if it is not stored. */
  findUnusable(hash: string): Promise<UnusableToken | undefined>;

  /** Removes a token. */
  delete(hash: string): Promise<void>;

  /**
   * Returns how long ago the oldest stored token expired, in milliseconds. Negative if it is still
   * valid, and undefined if no token is stored.
   */
  expiredForMs(): Promise<number | undefined>;

  /**
   * Removes tokens that expired more than ten minutes ago.
   *
   * @returns how many were removed, at most `limit`
   */
  removeExpired(limit: number): Promise<number>;
}
