import { requestCancel, type ServerSession } from "./cancel-request.ts";
import { isConnectionLost, isReadOnly } from "./postgres-failures.ts";

/** How long a read may take, in milliseconds: a page of rows at most. */
const READ_TIMEOUT_MS = 4000;
/** How long another statement outside a transaction may take, in milliseconds. It writes a batch of rows at most. */
const WRITE_TIMEOUT_MS = 5000;
/** How much longer than the server's own limit an answer may take, in milliseconds. */
const GRACE_MS = 1000;
/** How long before the end of its time a statement outside a transaction is cancelled, in milliseconds. */
const CANCEL_MS = 750;
/** How often statements in flight are checked, in milliseconds. */
const CHECK_MS = 250;

/** Code of a statement that was cancelled. Source: PostgreSQL, "Error Codes", query_canceled. */
const CANCELLED = "57014";

/** No statement is in flight. */
const NONE = -1;

/** As much of `pg`'s client as is needed. */
export interface WatchedClient extends ServerSession {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  readonly connection: { readonly stream: { destroy(error?: Error): unknown } };
}

/** What is known of one connection. */
export class Line {
  readonly #destroy: (error: Error) => void;
  readonly #cancel: () => void;
  /** `performance.now()` of its opening, and of its last answer. */
  readonly openedAt = performance.now();
  answeredAt = this.openedAt;
  /** When the statement in flight was sent, and how long it may take. */
  sentAt = NONE;
  #limitMs = 0;
  /** Whether the server has no limit of its own for the statement in flight, so that it has to be cancelled. */
  #isCancellable = false;
  /** `performance.now()` at which the statement in flight was cancelled. */
  #cancelledAt = NONE;
  isInTransaction = false;
  #transactionLimitMs = WRITE_TIMEOUT_MS;
  /** The statement in flight was late at the last check already. */
  #isLate = false;
  /** Why it is not used again. */
  lost: Error | undefined;
  /** Whether the server was found to accept writes. */
  isVerified = false;

  /** @param cancel requests that the server cancels the statement in flight */
  constructor(client: WatchedClient, cancel: () => void = () => requestCancel(client)) {
    this.#cancel = cancel;
    this.#destroy = (error) => void client.connection.stream.destroy(error);
  }

  sent(text: string, limitMs?: number): void {
    this.#isCancellable = false;
    this.#cancelledAt = NONE;
    if (!this.isInTransaction && isRead(text)) {
      this.#limitMs = READ_TIMEOUT_MS;
      this.#isCancellable = true;
    } else if (/^(begin|start transaction)\b/i.test(text)) {
      // A text of several statements may end what it begins.
      this.isInTransaction = !/\b(commit|rollback)$/i.test(text);
      const limits = [...text.matchAll(/statement_timeout = (\d+)/g)].map(([, ms]) => Number(ms));
      const locks = [...text.matchAll(/select pg_advisory/g)].length;
      // The first one holds while locks are waited for, one after the other, and the last one for the statements that follow.
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

  answered(): void {
    this.sentAt = NONE;
    this.answeredAt = performance.now();
  }

  /** Returns the error for the caller of the statement. */
  failed(error: unknown): unknown {
    const wasCancelled = this.#cancelledAt !== NONE;
    this.answered();
    if (isConnectionLost(error) || isReadOnly(error)) this.lost ??= asError(error);
    return wasCancelled && (error as { code?: unknown } | null)?.code === CANCELLED ? this.lost : error;
  }

  /**
   * Cancels a statement whose answer is late, and closes the connection if there is still no answer. A statement has to be late at
   * two checks: a process that was busy or frozen first reads what has arrived.
   *
   * The server ends a cancelled statement and answers, so that only this connection is replaced.
   *
   * @returns whether it was closed
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
        // The request might arrive after the answer and meet another statement, so the connection is not used again.
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

/** A statement that can be repeated without harm. */
export function isRead(text: string): boolean {
  // Every message sends one that begins like this.
  return text.startsWith("select ") || /^\s*select\b/i.test(text);
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/**
 * Limits how long statements wait for their answers. A limit of the server does not help where the network drops its answer: without a
 * limit here, the connection would be in use until the kernel stops sending again, which is 15 minutes.
 */
export class StatementClock {
  readonly #lines = new Set<Line>();
  readonly #onLost: (sentAt: number) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param onLost is called for a connection that was closed, with the `performance.now()` at which its statement was sent */
  constructor(onLost: (sentAt: number) => void) {
    this.#onLost = onLost;
  }

  add(line: Line): void {
    this.#lines.add(line);
  }

  remove(line: Line): void {
    this.#lines.delete(line);
  }

  /** Runs a statement on a connection. */
  async time<Result>(
    line: Line,
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

  /** Runs only while statements are in flight, and keeps no process alive. */
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
