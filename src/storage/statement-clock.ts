import { requestCancel, type ServerSession } from "./cancel-request.ts";
import { isConnectionLost, isReadOnly } from "./postgres-failures.ts";

/** The maximum duration of a read, in milliseconds. It reads at most a page of rows. */
const READ_TIMEOUT_MS = 4000;
/**
 * The maximum duration of a write outside a transaction, in milliseconds. It writes at most a batch
 * of rows.
 */
const WRITE_TIMEOUT_MS = 5000;
/** The additional time for an answer after the limit of the server, in milliseconds. */
const GRACE_MS = 1000;
/** A statement outside a transaction is cancelled this long before its limit, in milliseconds. */
const CANCEL_MS = 750;
/** The interval of the checks of statements in flight, in milliseconds. */
const CHECK_MS = 250;

/** The code of a cancelled statement. Source: PostgreSQL, "Error Codes", query_canceled. */
const CANCELLED = "57014";

/** The time if no statement is in flight. */
const NONE = -1;

/** The part of the client of `pg` that is used here. */
export interface WatchedClient extends ServerSession {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  readonly connection: { readonly stream: { destroy(error?: Error): unknown } };
}

/** The state of one connection and its statement in flight. */
export class TrackedConnection {
  readonly #destroy: (error: Error) => void;
  readonly #cancel: () => void;
  /** `performance.now()` when the connection was opened. */
  readonly openedAt = performance.now();
  /** `performance.now()` of the last answer. */
  answeredAt = this.openedAt;
  /** `performance.now()` when the statement in flight was sent. */
  sentAt = NONE;
  #limitMs = 0;
  /** Whether the server has no limit for the statement in flight. It then has to be cancelled. */
  #isCancellable = false;
  /** `performance.now()` when the statement in flight was cancelled. */
  #cancelledAt = NONE;
  isInTransaction = false;
  #transactionLimitMs = WRITE_TIMEOUT_MS;
  /** Whether the statement in flight was late at the last check. */
  #isLate = false;
  /** Why the connection must not be used again. */
  lost: Error | undefined;
  /** Whether a check has shown that the server accepts writes. */
  isVerified = false;

  /** @param cancel requests that the server cancels the statement in flight */
  constructor(client: WatchedClient, cancel: () => void = () => requestCancel(client)) {
    this.#cancel = cancel;
    this.#destroy = (error) => void client.connection.stream.destroy(error);
  }

  /**
   * Records that a statement was sent.
   *
   * @param limitMs the time limit. Default: depends on the statement
   */
  sent(text: string, limitMs?: number): void {
    this.#isCancellable = false;
    this.#cancelledAt = NONE;
    if (!this.isInTransaction && isRead(text)) {
      this.#limitMs = READ_TIMEOUT_MS;
      this.#isCancellable = true;
    } else if (/^(begin|start transaction)\b/i.test(text)) {
      // A text of several statements can also end the transaction.
      this.isInTransaction = !/\b(commit|rollback)$/i.test(text);
      const limits = [...text.matchAll(/statement_timeout = (\d+)/g)].map(([, ms]) => Number(ms));
      const locks = [...text.matchAll(/select pg_advisory/g)].length;
      // The first limit applies to the wait for each lock. The last limit applies to later
      // statements.
      this.#limitMs = withGrace((limits[0] ?? WRITE_TIMEOUT_MS) * Math.max(1, locks));
      this.#transactionLimitMs = withGrace(limits.at(-1) ?? WRITE_TIMEOUT_MS);
    } else if (this.isInTransaction) {
      this.#limitMs = this.#transactionLimitMs;
      if (/^(commit|rollback)$/i.test(text)) this.isInTransaction = false;
    } else {
      this.#limitMs = WRITE_TIMEOUT_MS;
      this.#isCancellable = true;
    }
    if (limitMs !== undefined) {
      this.#limitMs = limitMs;
      this.#isCancellable = false;
    }
    this.#isLate = false;
    this.sentAt = performance.now();
  }

  /** Records that the statement in flight was answered. */
  answered(): void {
    this.sentAt = NONE;
    this.answeredAt = performance.now();
  }

  /** Records that the statement in flight failed. Returns the error for the caller. */
  failed(error: unknown): unknown {
    const wasCancelled = this.#cancelledAt !== NONE;
    this.answered();
    if (isConnectionLost(error) || isReadOnly(error)) this.lost ??= asError(error);
    return wasCancelled && (error as { code?: unknown } | null)?.code === CANCELLED ? this.lost : error;
  }

  /**
   * Cancels a late statement, and closes the connection if there is still no answer.
   *
   * A statement must be late at two checks, because a process that was busy or frozen must first
   * read the answers that have arrived. The server answers a cancelled statement, so only this
   * connection is replaced.
   *
   * @returns whether the connection was closed
   */
  check(now: number): boolean {
    const dueMs = this.#isCancellable ? this.#limitMs - CANCEL_MS : this.#limitMs;
    if (this.sentAt === NONE || now - this.sentAt < dueMs) return false;
    if (!this.#isLate) {
      this.#isLate = true;
      return false;
    }
    if (this.#isCancellable) {
      if (this.#cancelledAt === NONE) {
        this.#cancelledAt = now;
        // The request can arrive after the answer and cancel another statement, so the connection
        // is replaced.
        this.lost ??= Object.assign(
          new Error(
            `The server did not finish a statement within ${this.#limitMs - CANCEL_MS} ms, so the statement was cancelled.`,
          ),
          { code: CANCELLED },
        );
        this.#cancel();
        return false;
      }
      if (now - this.#cancelledAt < CANCEL_MS) return false;
    }
    this.lost = Object.assign(
      new Error(`No answer arrived within ${this.#limitMs} ms, so the connection was closed.`),
      { code: "ETIMEDOUT" },
    );
    this.#destroy(this.lost);
    return true;
  }
}

function withGrace(serverLimitMs: number): number {
  return serverLimitMs === 0 ? Number.POSITIVE_INFINITY : serverLimitMs + GRACE_MS;
}

/** Returns whether a statement only reads, so that it can be repeated. */
export function isRead(text: string): boolean {
  // The fast path. Each message sends such a statement.
  return text.startsWith("select ") || /^\s*select\b/i.test(text);
}

/** Returns the error, or an Error with the thrown value as its message. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/**
 * Limits how long statements wait for their answers.
 *
 * A limit of the server does not help if the network drops the answer. Without a limit here, the
 * connection would be in use until the kernel gives up after 15 minutes.
 */
export class StatementClock {
  readonly #lines = new Set<TrackedConnection>();
  readonly #onLost: (sentAt: number) => void;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param onLost called when a connection was closed, with the `performance.now()` of its
   *   statement
   */
  constructor(onLost: (sentAt: number) => void) {
    this.#onLost = onLost;
  }

  add(line: TrackedConnection): void {
    this.#lines.add(line);
  }

  remove(line: TrackedConnection): void {
    this.#lines.delete(line);
  }

  /** Runs a statement on a connection, with a time limit. */
  async time<Result>(
    line: TrackedConnection,
    text: string,
    run: () => Promise<Result>,
    limitMs?: number,
  ): Promise<Result> {
    line.sent(text, limitMs);
    this.#timer ??= this.#start();
    try {
      const result = await run();
      line.answered();
      return result;
    } catch (error) {
      throw line.failed(error);
    }
  }

  /**
   * Starts a timer that runs while statements are in flight. It does not keep the process alive.
   */
  #start(): NodeJS.Timeout {
    return setInterval(() => {
      const now = performance.now();
      let inFlight = 0;
      for (const line of this.#lines) {
        if (line.sentAt === NONE) continue;
        inFlight++;
        if (line.check(now)) this.#onLost(line.sentAt);
      }
      if (inFlight > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    }, CHECK_MS).unref();
  }
}
