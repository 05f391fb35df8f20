import type { Store } from "../storage/store.ts";
import { KEEP_CONNECTION_HOURS } from "./cleanup.ts";

/** Interval of the cleanup in a process that serves events, in milliseconds. */
const CLEAN_EVERY_MS = 60_000;
/**
 * Number of rows per statement: initially, minimum and maximum. On SQLite, a statement blocks the
 * event loop until its rows are written.
 */
const BATCH_ROWS = { first: 10, least: 5, most: 200 };
/** After a shorter statement, the next one has twice as many rows. In milliseconds. */
const SHORT_MS = 2;
/** After a longer statement, the next one has half as many rows. In milliseconds. */
const LONG_MS = 5;
/** Maximum number of statements per table and run. The next run removes the remaining rows. */
const MAX_BATCHES = 2_000;
/** The pause after a statement is this many times as long as the statement. */
const PAUSE_FACTOR = 4;
/** Minimum pause between two statements, in milliseconds. */
const MIN_PAUSE_MS = 10;
/** Maximum pause between two statements, in milliseconds. */
const MAX_PAUSE_MS = 1_000;
/**
 * How long the database clock must be steady before connections are removed by age, in
 * milliseconds.
 */
const STEADY_FOR_MS = 10 * 60_000;
/** Minimum difference between the two clocks that counts as a step, in milliseconds. */
const STEP_MS = 30_000;
const HOUR_MS = 3_600_000;

/** The dependencies of {@link BackgroundCleanup}. */
export interface CleanedTables {
  readonly store: Pick<Store, "connections" | "tokens" | "limits" | "changes" | "now">;
  readonly onError: (error: unknown, where: string) => void;
}

/**
 * Removes old rows in a process that serves events: expired rate-limit windows and tokens, old
 * entries of the change log, and old connections.
 *
 * Statements are small, with pauses in between. Several processes can run it concurrently.
 */
export class BackgroundCleanup {
  readonly #tables: CleanedTables;
  readonly #clock: SteadyClock;
  #startedAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  #isStopped = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;
  #endPause: (() => void) | undefined;
  /**
   * The last key that was checked. A run that did not reach the end of the table continues after
   * it.
   */
  #after = "";

  /** @param steadyForMs see {@link STEADY_FOR_MS} */
  constructor(
    tables: CleanedTables,
    { steadyForMs = STEADY_FOR_MS }: { readonly steadyForMs?: number } = {},
  ) {
    this.#tables = tables;
    this.#clock = new SteadyClock(steadyForMs);
  }

  /**
   * Starts one run per minute. Another call has no effect. The timer does not keep the process
   * alive.
   */
  start(): void {
    if (this.#isClosed) return;
    this.#timer ??= setInterval(() => this.begin(), CLEAN_EVERY_MS).unref();
  }

  /** Starts a run, at most once per minute. Returns immediately. */
  begin(): void {
    const now = performance.now();
    if (this.#isRunning || now - this.#startedAt < CLEAN_EVERY_MS) return;
    this.#startedAt = now;
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

  /**
   * Pauses the cleanup until it is started again. Resolves when the statement in flight is
   * finished.
   */
  pause(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#isStopped = true;
    this.#endPause?.();
    return this.#running;
  }

  /** Stops the cleanup permanently. Resolves when the statement in flight is finished. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.pause();
  }

  async #run(): Promise<void> {
    const { store } = this.#tables;
    this.#clock.read(await store.now(), performance.now());
    await this.#inBatches(async (limit) => {
      const { last } = await store.limits.removeEndedAfter(this.#after, limit);
      this.#after = last ?? "";
      return last !== undefined;
    });
    await this.#inBatches(async (limit) => (await store.tokens.removeExpired(limit)) > 0);
    await this.#inBatches(async (limit) => (await store.changes.removeOld(limit)) > 0);
    // A clock that stepped forward makes every connection look old, and removed rows cannot be
    // restored.
    if (!this.#clock.isSteady) return;
    const keepMs = KEEP_CONNECTION_HOURS * HOUR_MS;
    await this.#inBatches(async (limit) => (await store.connections.removeOlder(keepMs, limit)) > 0);
  }

  /**
   * Waits between two statements. The wait does not keep the process alive. It ends immediately
   * when the cleanup is paused, because the caller of {@link close} waits for it.
   */
  #pauseFor(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** @param step executes one statement, and returns whether more rows may be left */
  async #inBatches(step: (limit: number) => Promise<boolean>): Promise<void> {
    let limit = BATCH_ROWS.first;
    for (let batch = 0; batch < MAX_BATCHES && !this.#isStopped; batch++) {
      const startedAt = performance.now();
      if (!(await step(limit))) return;
      const tookMs = performance.now() - startedAt;
      if (tookMs < SHORT_MS) limit = Math.min(BATCH_ROWS.most, limit * 2);
      else if (tookMs > LONG_MS) limit = Math.max(BATCH_ROWS.least, Math.floor(limit / 2));
      const pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, PAUSE_FACTOR * tookMs));
      await this.#pauseFor(pauseMs);
    }
  }
}

/** Compares the wall clock of the database, which can step, with the monotonic clock. */
export class SteadyClock {
  readonly #steadyForMs: number;
  #last: { readonly wallMs: number; readonly monotonicMs: number } | undefined;
  /** Monotonic time of the last step. */
  #evenSince = 0;
  #isSteady = false;

  constructor(steadyForMs: number) {
    this.#steadyForMs = steadyForMs;
  }

  /** Whether the clock has not stepped for long enough, as of the last call of {@link read}. */
  get isSteady(): boolean {
    return this.#isSteady;
  }

  /** Compares the two clocks. Both times are in milliseconds. */
  read(wallMs: number, monotonicMs: number): void {
    const last = this.#last;
    this.#last = { wallMs, monotonicMs };
    const hasStepped =
      last === undefined || Math.abs(wallMs - last.wallMs - (monotonicMs - last.monotonicMs)) > STEP_MS;
    if (hasStepped) this.#evenSince = monotonicMs;
    this.#isSteady = monotonicMs - this.#evenSince >= this.#steadyForMs;
  }
}
