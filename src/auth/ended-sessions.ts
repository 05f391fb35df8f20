import { createHash } from "node:crypto";
import * as v from "valibot";
import { ConfigurationError, type RequestError, UnauthorizedError } from "../errors.ts";
import { numberOption, optionsOf, wholeNumberOption } from "../options.ts";
import type { EndedSessionCheck, EndedSessionStore } from "../storage/stores/sessions.ts";

/** How long ended sessions are remembered. */
export interface EndedSessionsOptions {
  /**
   * How long a session that was ended with `access.endSession()` remains denied, in days. Set it to
   * the longest lifetime of your sessions. Default 30.
   */
  readonly keepDays?: number | undefined;
  /**
   * The maximum number of stored ended sessions. If there are more, the oldest are removed and
   * `onError` is called. Default 1 000 000.
   */
  readonly maxRows?: number | undefined;
}

/** The option `endedSessions`, with its defaults. */
export const endedSessionsSchema = optionsOf<EndedSessionsOptions>()({
  keepDays: v.optional(numberOption(1 / 86_400, 36_500, "a number of days above 0"), 30),
  maxRows: v.optional(wholeNumberOption(1, undefined, "rows"), 1_000_000),
});

const DAY_MS = 24 * 60 * 60_000;
/** The minimum time between two sweeps, in milliseconds. */
const SWEEP_MS = 10 * 60_000;
/** The maximum number of rows that one statement of a sweep removes. */
const ROWS_PER_SWEEP = 1000;

/**
 * Returns the stored form of a session id: its SHA-256 as 64 hexadecimal characters.
 *
 * In some apps, session ids are secrets. Sallyport only compares them, so a hash is sufficient.
 */
export function hashSessionId(sessionId: string): string {
  return createHash("sha256").update(sessionId).digest("hex");
}

/**
 * The sessions that were ended with `access.endSession()`. `authenticate` may still accept them.
 */
export class EndedSessions {
  readonly #store: EndedSessionStore;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #onError: (error: unknown, where: string) => void;
  /** The first sweep is due at once, because a serverless process may not run for ten minutes. */
  #sweptAt = Number.NEGATIVE_INFINITY;
  #isSurplusReported = false;
  #isUserIdReported = false;

  constructor(
    store: EndedSessionStore,
    options: v.InferOutput<typeof endedSessionsSchema>,
    onError: (error: unknown, where: string) => void,
  ) {
    this.#store = store;
    this.#keepMs = options.keepDays * DAY_MS;
    this.#maxRows = options.maxRows;
    this.#onError = onError;
  }

  /**
   * Returns the session of a user that must not have ended, or null if nothing must be checked.
   *
   * A session id that equals the user id is not checked. Otherwise, the user could not connect
   * again until the row is removed.
   */
  checkOf({
    userId,
    sessionId: hash,
  }: {
    readonly userId: string;
    readonly sessionId: string | null;
  }): EndedSessionCheck | null {
    if (hash === null) return null;
    if (hash === hashSessionId(userId)) {
      this.#reportUserId();
      return null;
    }
    return { hash, keepMs: this.#keepMs };
  }

  /**
   * Removes expired and surplus rows, at most once every ten minutes. Failures are passed to
   * `onError`.
   */
  async sweep(): Promise<void> {
    if (performance.now() - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = performance.now();
    try {
      while ((await this.removeOld(ROWS_PER_SWEEP)) > 0);
    } catch (error) {
      this.#onError(error, "removing ended sessions");
    }
  }

  /**
   * Removes rows that are older than `keepDays`. If there are none, removes surplus rows.
   *
   * @returns how many were removed, at most `limit`
   */
  async removeOld(limit: number): Promise<number> {
    const expired = await this.#store.removeExpired(this.#keepMs, limit);
    if (expired > 0) return expired;
    const surplus = await this.#store.removeSurplus(this.#maxRows, limit);
    if (surplus > 0) this.#reportSurplus();
    return surplus;
  }

  #reportUserId(): void {
    if (this.#isUserIdReported) return;
    this.#isUserIdReported = true;
    const message =
      "authenticate() returned a sessionId that is the user id, so endSession() closes the user's connections but cannot keep the " +
      "session from connecting again. Return an id that is new at each sign-in, or leave sessionId out.";
    this.#onError(new ConfigurationError(message), "authenticate()");
  }

  #reportSurplus(): void {
    if (this.#isSurplusReported) return;
    this.#isSurplusReported = true;
    const message =
      `More than ${this.#maxRows} ended sessions are stored, so the oldest are removed early. ` +
      "They can connect again if authenticate() accepts them. " +
      "Raise endedSessions.maxRows, or lower endedSessions.keepDays.";
    this.#onError(new ConfigurationError(message), "removing ended sessions");
  }
}

/** Returns the error for a request of a session that was ended. */
export function sessionEnded(): RequestError {
  return new UnauthorizedError(
    "The session was ended with endSession(), but the request still belongs to it. Issue a new session id at each sign-in.",
    { reason: "session-ended", clientMessage: "Authentication required." },
  );
}
