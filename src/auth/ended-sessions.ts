import { createHash } from "node:crypto";
import type { Kysely, SelectQueryBuilder } from "kysely";
import * as v from "valibot";
import { ConfigurationError, type RequestError, UnauthorizedError } from "../errors.ts";
import { numberOption, optionsOf, wholeNumberOption } from "../options.ts";
import type { Database, Tables } from "../storage/database.ts";

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
  readonly #database: Database;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #onError: (error: unknown, where: string) => void;
  /** The first sweep is due at once, because a serverless process may not run for ten minutes. */
  #sweptAt = Number.NEGATIVE_INFINITY;
  #isSurplusReported = false;
  #isUserIdReported = false;

  constructor(
    database: Database,
    options: v.InferOutput<typeof endedSessionsSchema>,
    onError: (error: unknown, where: string) => void,
  ) {
    this.#database = database;
    this.#keepMs = options.keepDays * DAY_MS;
    this.#maxRows = options.maxRows;
    this.#onError = onError;
  }

  /** Stores an ended session, in the transaction that ends it. */
  async add(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    const { now } = this.#database;
    await db
      .insertInto("sallyport_ended_sessions")
      .values({ session_hash: sessionHash, ended_at: now })
      .onConflict((conflict) => conflict.column("session_hash").doUpdateSet({ ended_at: now }))
      .execute();
  }

  /**
   * Checks that a session was not ended.
   *
   * A session id that equals the user id is not checked. Otherwise, the user could not connect
   * again until the row is removed.
   *
   * @throws RequestError with 401 if the session was ended
   */
  async requireOpen(
    db: Kysely<Tables>,
    { userId, sessionId: sessionHash }: { readonly userId: string; readonly sessionId: string | null },
  ): Promise<void> {
    if (sessionHash === null) return;
    if (sessionHash === hashSessionId(userId)) {
      this.#reportUserId();
      return;
    }
    const { now } = this.#database;
    const row = await db
      .selectFrom("sallyport_ended_sessions")
      .select("ended_at")
      .where("session_hash", "=", sessionHash)
      .where(({ eb }) => eb("ended_at", ">", eb(now, "-", this.#keepMs)))
      .executeTakeFirst();
    if (row) throw sessionEnded();
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
    return (await this.#removeExpired(limit)) || (await this.#removeSurplus(limit));
  }

  #removeExpired(limit: number): Promise<number> {
    const { now, db } = this.#database;
    return this.#remove(
      db
        .selectFrom("sallyport_ended_sessions as old")
        .select("old.session_hash")
        .where(({ eb }) => eb("old.ended_at", "<=", eb(now, "-", this.#keepMs)))
        .orderBy("old.ended_at")
        .limit(limit),
    );
  }

  async #removeSurplus(limit: number): Promise<number> {
    const { db } = this.#database;
    const rows = await db
      .selectFrom("sallyport_ended_sessions")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirst();
    if (Number(rows?.count ?? 0) <= this.#maxRows) return 0;
    this.#reportSurplus();
    return this.#remove(
      db
        .selectFrom("sallyport_ended_sessions as old")
        .select("old.session_hash")
        .orderBy("old.ended_at", "desc")
        .orderBy("old.session_hash")
        // Skips the newest rows. A number of rows to remove would be wrong if two processes do
        // this.
        .offset(this.#maxRows)
        .limit(limit),
    );
  }

  async #remove(hashes: SelectQueryBuilder<Tables, never, { session_hash: string }>): Promise<number> {
    const { numDeletedRows } = await this.#database.execute((db) =>
      db.deleteFrom("sallyport_ended_sessions").where("session_hash", "in", hashes).executeTakeFirst(),
    );
    return Number(numDeletedRows);
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
