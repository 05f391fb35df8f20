import type { RateLimits } from "../auth/rate-limits.ts";
import type { Tokens } from "../auth/tokens.ts";
import type { Connections } from "../connections/connections.ts";
import type { ChangeLog } from "../revocation/change-log.ts";
import type { Database } from "../storage/database.ts";
import { KEEP_SESSION_HOURS } from "./cleanup.ts";

/** How often a process that serves events cleans up, in milliseconds. */
const CLEAN_EVERY_MS = 60_000;
/**
 * Rows that one statement looks at or removes: how many at first, at least and at most. On SQLite, a statement blocks the event loop
 * until its rows are written.
 */
const BATCH_ROWS = { first: 10, least: 5, most: 200 };
/** A statement that takes less is followed by one with twice as many rows, in milliseconds. */
const SHORT_MS = 2;
/** A statement that takes more is followed by one with half as many rows, in milliseconds. */
const LONG_MS = 5;
/** Most statements of one kind in one run. What is left is removed by the next one. */
const MAX_BATCHES = 2_000;
/** The rest after a statement is this many times as long as the statement, and has at least {@link LEAST_REST_MS}. */
const REST_FACTOR = 4;
const LEAST_REST_MS = 10;
/** Longest rest, in milliseconds. */
const MOST_REST_MS = 1_000;
/** How long the database's clock must have run evenly before rows of connections are removed by their age, in milliseconds. */
const EVEN_FOR_MS = 10 * 60_000;
/** Difference between the two clocks that counts as a step, in milliseconds. */
const STEP_MS = 30_000;
const HOUR_MS = 3_600_000;

/** What is cleaned up. */
export interface CleanedTables {
  readonly database: Database;
  readonly connections: Pick<Connections, "removeOlder">;
  readonly tokens: Pick<Tokens, "removeExpired">;
  readonly rateLimits: Pick<RateLimits, "removeOverAfter">;
  readonly changeLog: Pick<ChangeLog, "removeOld">;
  readonly onError: (error: unknown, where: string) => void;
}

/**
 * Removes windows of limits that are over, expired tokens, old entries of the change log and rows of old connections, in a process that serves events. Statements
 * are small, with rests in between. Several processes at once remove the same rows, which is harmless.
 */
export class BackgroundCleanup {
  readonly #tables: CleanedTables;
  readonly #clock: SteadyClock;
  #begunAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  #isStopped = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;
  #endRest: (() => void) | undefined;
  /** The last key that was looked at: a run that did not reach the end of the table is continued by the next one. */
  #after = "";

  /** @param evenForMs see {@link EVEN_FOR_MS} */
  constructor(tables: CleanedTables, { evenForMs = EVEN_FOR_MS }: { readonly evenForMs?: number } = {}) {
    this.#tables = tables;
    this.#clock = new SteadyClock(evenForMs);
  }

  /** Starts a run per minute. Calling it again has no effect. Keeps no process alive. */
  start(): void {
    if (this.#isClosed) return;
    this.#timer ??= setInterval(() => this.begin(), CLEAN_EVERY_MS).unref();
  }

  /** Starts a run, at most once per minute. It is not waited for. */
  begin(): void {
    const now = performance.now();
    if (this.#isRunning || now - this.#begunAt < CLEAN_EVERY_MS) return;
    this.#begunAt = now;
    this.#isStopped = false;
    this.#isRunning = true;
    this.#running = this.#run()
      .catch((error) => this.#tables.onError(error, "removing old rows"))
      .finally(() => {
        this.#isRunning = false;
      });
  }

  /** Resolves when the run is finished, or immediately if there is none. */
  idle(): Promise<void> {
    return this.#running;
  }

  /** Issues no further statement until it is started again, and resolves when the one that is in flight is finished. */
  pause(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#isStopped = true;
    this.#endRest?.();
    return this.#running;
  }

  /** The same for good. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.pause();
  }

  async #run(): Promise<void> {
    const { database, connections, tokens, rateLimits, changeLog } = this.#tables;
    const { rows } = await database.sql<{ now: number }>`select ${database.now} as now`.execute(database.db);
    this.#clock.read(Number(rows[0]?.now), performance.now());
    await this.#inBatches(async (limit) => {
      const { last } = await rateLimits.removeOverAfter(this.#after, limit);
      this.#after = last ?? "";
      return last !== undefined;
    });
    await this.#inBatches(async (limit) => (await tokens.removeExpired(limit)) > 0);
    await this.#inBatches(async (limit) => (await changeLog.removeOld(limit)) > 0);
    // A clock that stepped forward makes every connection look old, and a row that is gone cannot be restored.
    if (!this.#clock.isEven) return;
    const keepMs = KEEP_SESSION_HOURS * HOUR_MS;
    await this.#inBatches(async (limit) => (await connections.removeOlder(keepMs, limit)) > 0);
  }

  /** Keeps no process alive, and ends at once when the clean-up is paused: the caller of {@link close} waits for it. */
  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#endRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** @param step issues one statement, and returns whether there may be more to do */
  async #inBatches(step: (limit: number) => Promise<boolean>): Promise<void> {
    let limit = BATCH_ROWS.first;
    for (let batch = 0; batch < MAX_BATCHES && !this.#isStopped; batch++) {
      const begun = performance.now();
      if (!(await step(limit))) return;
      const tookMs = performance.now() - begun;
      if (tookMs < SHORT_MS) limit = Math.min(BATCH_ROWS.most, limit * 2);
      else if (tookMs > LONG_MS) limit = Math.max(BATCH_ROWS.least, Math.floor(limit / 2));
      const restMs = Math.min(MOST_REST_MS, Math.max(LEAST_REST_MS, REST_FACTOR * tookMs));
      await this.#rest(restMs);
    }
  }
}

/** Compares a clock that can step with the monotonic one. */
export class SteadyClock {
  readonly #evenForMs: number;
  #last: { readonly wallMs: number; readonly monotonicMs: number } | undefined;
  /** Monotonic time since which the clock did not step. */
  #evenSince = 0;
  #isEven = false;

  constructor(evenForMs: number) {
    this.#evenForMs = evenForMs;
  }

  /** Whether the clock has not stepped for long enough, as of the last reading. */
  get isEven(): boolean {
    return this.#isEven;
  }

  read(wallMs: number, monotonicMs: number): void {
    const last = this.#last;
    this.#last = { wallMs, monotonicMs };
    const hasStepped =
      last === undefined || Math.abs(wallMs - last.wallMs - (monotonicMs - last.monotonicMs)) > STEP_MS;
    if (hasStepped) this.#evenSince = monotonicMs;
    this.#isEven = monotonicMs - this.#evenSince >= this.#evenForMs;
  }
}
