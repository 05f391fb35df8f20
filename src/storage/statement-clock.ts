import { isConnectionLost, isReadOnly } from "./postgres-failures.ts";

/** How long a read may take, in milliseconds: a page of rows at most. */
const READ_TIMEOUT_MS = 4000;
/** How long another statement outside a transaction may take, in milliseconds. */
const WRITE_TIMEOUT_MS = 11_000;
/** How much longer than the server's own limit an answer may take, in milliseconds. */
const GRACE_MS = 1000;
/** How often statements in flight are checked, in milliseconds. */
const CHECK_MS = 250;

/** No statement is in flight. */
const NONE = -1;

/** As much of `pg`'s client as is needed. */
export interface WatchedClient {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  readonly connection: { readonly stream: { destroy(error?: Error): unknown } };
}

/** What is known of one connection. */
export class Line {
  readonly #destroy: (error: Error) => void;
  /** `performance.now()` of its opening, and of its last answer. */
  readonly openedAt = performance.now();
  answeredAt = this.openedAt;
  /** When the statement in flight was sent, and how long it may take. */
  sentAt = NONE;
  #limitMs = 0;
  isInTransaction = false;
  #transactionLimitMs = WRITE_TIMEOUT_MS;
  /** The statement in flight was late at the last check already. */
  #isLate = false;
  /** Why it is not used again. */
  lost: Error | undefined;
  /** Whether the server was found to accept writes. */
  isVerified = false;

  constructor(client: WatchedClient) {
    this.#destroy = (error) => void client.connection.stream.destroy(error);
  }

  sent(text: string, limitMs?: number): void {
    if (!this.isInTransaction && isRead(text)) {
      this.#limitMs = READ_TIMEOUT_MS;
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
    }
    if (limitMs !== undefined) this.#limitMs = limitMs;
    this.#isLate = false;
    this.sentAt = performance.now();
  }

  answered(): void {
    this.sentAt = NONE;
    this.answeredAt = performance.now();
  }

  failed(error: unknown): void {
    this.answered();
    if (isConnectionLost(error) || isReadOnly(error)) this.lost ??= asError(error);
  }

  /**
   * Closes the connection if its answer is late. It has to be late at two checks: a process that was busy or frozen first reads
   * what has arrived.
   *
   * @returns whether it was closed
   */
  check(now: number): boolean {
    if (this.sentAt === NONE || now - this.sentAt < this.#limitMs) return false;
    if (!this.#isLate) {
      this.#isLate = true;
      return false;
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
 * Limits how long statements wait for their answers. The server's own limit is of no use where the network drops its answer: without a
 * limit here, the connection would be in use for as long as the kernel sends again, which is 15 minutes.
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
      line.failed(error);
      throw error;
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
