import { createHash } from "node:crypto";
import type { Kysely, SelectQueryBuilder } from "kysely";
import * as v from "valibot";
import { ConfigurationError, RefusedError } from "../errors.ts";
import { numberOption, optionsOf, wholeNumberOption } from "../options.ts";
import type { Database, Tables } from "../storage/database.ts";

/** How long ended sessions are remembered. */
export interface EndedSessionsOptions {
  /**
   * How long a session that was ended with `access.endSession()` is denied, in days. Set it to the longest lifetime of your sessions.
   * Default 30.
   */
  readonly keepDays?: number | undefined;
  /** Maximum number of ended sessions. If there are more, the oldest are forgotten and `onError` is called. Default 1 000 000. */
  readonly maxRows?: number | undefined;
}

/** The option `endedSessions`, with its defaults. */
export const endedSessionsSchema = optionsOf<EndedSessionsOptions>()({
  keepDays: v.optional(numberOption(1 / 86_400, 36_500, "a number of days above 0"), 30),
  maxRows: v.optional(wholeNumberOption(1, undefined, "rows"), 1_000_000),
});

const DAY_MS = 24 * 60 * 60_000;
/** How often the number of rows is checked, in milliseconds. */
const SWEEP_MS = 10 * 60_000;
/** Rows that one statement of a sweep removes. */
const ROWS_PER_SWEEP = 1000;

/**
 * Returns what is stored of a session id: its SHA-256 as 64 hexadecimal characters. The ids of some apps are secrets, and they are only
 * compared.
 */
export function hashSessionId(sessionId: string): string {
  return createHash("sha256").update(sessionId).digest("hex");
}

/** Sessions of the app that were ended with `access.endSession()`. The app's `authenticate` may still accept them. */
export class EndedSessions {
  readonly #database: Database;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #onError: (error: unknown, where: string) => void;
  /** Swept soon after the start: a process of a serverless runtime may not live for ten minutes. */
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

  /** Remembers a session, in the transaction that ends it. */
  async remember(db: Kysely<Tables>, sessionHash: string): Promise<void> {
    const { now } = this.#database;
    await db
      .insertInto("sallyport_ended_sessions")
      .values({ session_hash: sessionHash, ended_at: now })
      .onConflict((conflict) => conflict.column("session_hash").doUpdateSet({ ended_at: now }))
      .execute();
  }

  /**
   * A session id that is the user's id is not checked, because the user could not connect again for as long as it is remembered.
   *
   * @throws RefusedError with 401 if the session was ended
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

  /** Removes rows that are too old or too many, once in ten minutes at most. */
  async sweep(): Promise<void> {
    if (performance.now() - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = performance.now();
    try {
      while ((await this.removeOld(ROWS_PER_SWEEP)) > 0);
    } catch (error) {
      this.#onError(error, "removing ended sessions");
    }
  }

  /** Removes rows that are older than `keepDays`, or more than `maxRows`. @returns how many, at most `limit` */
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
        // The newest rows are skipped, in place of a number of rows to remove: two processes can run this at the same time.
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
      `More than ${this.#maxRows} sessions were ended with endSession() and are remembered, so the oldest are forgotten before ` +
      "their time and can connect again if authenticate() accepts them. Raise endedSessions.maxRows, or lower endedSessions.keepDays.";
    this.#onError(new ConfigurationError(message), "removing ended sessions");
  }
}

/** The denial of a session that was ended. */
export function sessionEnded(): RefusedError {
  return new RefusedError(
    "The session was ended with endSession(), but the request still belongs to it. Issue a new session id at each sign-in.",
    { reason: "session-ended", status: 401, reply: "Authentication required." },
  );
}
