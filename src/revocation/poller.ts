import type { RevocationServices } from "../services.ts";
import type { Storage } from "../storage/store.ts";
import type { RevocationWorker } from "./worker.ts";

/** Interval of the check for changes by other processes, in milliseconds. */
const POLL_MS = 250;
/** Interval of the check for expired grants and for records of dead processes, in milliseconds. */
const WORK_POLL_MS = 750;
/**
 * Delay after a notification of the database, in milliseconds. It combines simultaneous changes.
 */
const WAKE_DELAY_MS = 10;
/** Minimum time between two checks, in milliseconds. */
const MIN_PAUSE_MS = 100;

/**
 * Applies expired grants and changes by other processes to open connections, while this process
 * serves events. Its timers do not keep the process alive.
 */
export class RevocationPoller {
  readonly #services: RevocationServices;
  readonly #storage: Storage;
  readonly #periodicWork: () => Promise<void>;
  readonly #worker: RevocationWorker;
  #timer: NodeJS.Timeout | undefined;
  #unlisten: (() => Promise<void>) | undefined;
  #isChecking = false;
  #isWoken = false;
  #isPaused = false;
  /** Whether `start()` was called since the last pause began. */
  #isRestartRequested = false;
  /** `performance.now()` when the last check began. */
  #checkStartedAt = Number.NEGATIVE_INFINITY;
  /** `performance.now()` when records and expired grants were last checked. */
  #workedAt = Number.NEGATIVE_INFINITY;
  /** Number of the last change that was read. */
  #lastChange: number | undefined;
  /** The first read of that number. */
  #firstRead: Promise<void> | undefined;
  #isStopped = false;
  #checking: Promise<void> = Promise.resolve();
  readonly #working = new Set<Promise<void>>();

  /** @param periodicWork writes collected decisions and activity, and removes old rows, if that is due */
  constructor(
    services: RevocationServices,
    worker: RevocationWorker,
    { storage, periodicWork }: { readonly storage: Storage; readonly periodicWork: () => Promise<void> },
  ) {
    this.#services = services;
    this.#worker = worker;
    this.#storage = storage;
    this.#periodicWork = periodicWork;
  }

  /**
   * Starts the poller. Another call has no effect.
   *
   * @returns a promise that resolves when the number of the last change was read. A send waits for
   *   it, so that its recipients are not read again because the process has just started
   */
  start(): Promise<void> {
    this.#firstRead ??= this.#markExternalChanges().catch((error) => {
      this.#firstRead = undefined;
      this.#services.reports.onError(error, "revocation poller");
    });
    this.#schedule();
    return this.#firstRead;
  }

  #schedule(): void {
    this.#isRestartRequested = true;
    if (this.#timer || this.#isStopped || this.#isPaused) return;
    this.#checkAfter(POLL_MS);
  }

  /**
   * Stops the poller until it is started again. Resolves when no check is in flight. Revocations
   * that it has started can still be in progress.
   */
  async pause(): Promise<void> {
    this.#isPaused = true;
    this.#isRestartRequested = false;
    clearTimeout(this.#timer);
    await Promise.all([this.#checking, this.#unlisten?.()]);
    this.#unlisten = undefined;
    this.#timer = undefined;
    this.#isPaused = false;
    if (this.#isRestartRequested) this.#schedule();
  }

  /** Resolves when the revocations that it has started so far are finished. */
  async idle(): Promise<void> {
    await Promise.all(this.#working);
  }

  /**
   * Stops the poller permanently. Resolves when no check is in flight. Revocations that it has
   * started can still be in progress.
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#unlisten?.();
    await this.#checking;
  }

  #wake(): void {
    // A notification must not start a paused poller.
    if (this.#isStopped || this.#isPaused || this.#isWoken || !this.#timer) return;
    this.#isWoken = true;
    if (this.#isChecking) return;
    clearTimeout(this.#timer);
    this.#checkSoon();
  }

  #checkSoon(): void {
    this.#checkAfter(Math.max(WAKE_DELAY_MS, this.#checkStartedAt + MIN_PAUSE_MS - performance.now()));
  }

  #checkAfter(ms: number): void {
    this.#timer = setTimeout(() => {
      const isWoken = this.#isWoken;
      this.#isWoken = false;
      this.#isChecking = true;
      this.#checkStartedAt = performance.now();
      this.#checking = this.#check(isWoken).finally(() => {
        this.#isChecking = false;
        if (this.#isStopped || this.#isPaused) return;
        if (this.#isWoken) this.#checkSoon();
        else this.#checkAfter(POLL_MS);
      });
    }, ms).unref();
  }

  /**
   * Marks the changes of other processes, so that pending sends of this process are checked again.
   */
  async #markExternalChanges(): Promise<void> {
    const { store, changedSubjects } = this.#services;
    const { number, subjects } = await store.changes.since(this.#lastChange);
    changedSubjects.mark(subjects);
    this.#lastChange = Math.max(number, this.#lastChange ?? 0);
  }

  async #check(isWoken: boolean): Promise<void> {
    // Not before the first check: a function that is frozen after each event would connect each
    // time.
    this.#unlisten ??= this.#storage.listen(() => this.#wake());
    try {
      await this.#periodicWork();
      const changed = await this.#storage.pollExternalChanges();
      if (!changed && !isWoken && performance.now() - this.#workedAt < WORK_POLL_MS) return;
      this.#workedAt = performance.now();
      await this.#markExternalChanges();
      this.#startWork();
    } catch (error) {
      this.#services.reports.onError(error, "revocation poller");
    }
  }

  /** Starts the worker without waiting, so that slow hooks do not delay the next check. */
  #startWork(): void {
    if (this.#worker.isFull) {
      // A full worker would only wait. Its removals do not delay the check of lost channels.
      this.#worker.restore();
      return;
    }
    const working: Promise<void> = this.#worker
      .enforce()
      .catch((error) => this.#services.reports.onError(error, "revocation poller"))
      .then(() => void this.#working.delete(working));
    this.#working.add(working);
  }
}
