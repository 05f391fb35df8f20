import type { Services } from "../services.ts";
import type { RevocationWorker } from "./worker.ts";

/** How often a process looks whether another one has changed something, in milliseconds. */
const LOOK_MS = 250;
/** How often it looks even so: for grants that end, and records whose claimant died. */
const LOOK_ANYWAY_MS = 750;
/** How long it waits when the database has woken it, in milliseconds: many changes at once are one. */
const WOKEN_MS = 10;
/** Shortest time between two looks, in milliseconds, however often it is woken. */
const SPACE_MS = 100;

/** Enforces what time and other processes changed, for as long as this one serves events. Keeps no process alive. */
export class RevocationPoller {
  readonly #services: Services;
  readonly #worker: RevocationWorker;
  #timer: NodeJS.Timeout | undefined;
  #unlisten: (() => Promise<void>) | undefined;
  #isLooking = false;
  #isWoken = false;
  #isPaused = false;
  /** Whether it has been started since it was paused last. */
  #isWanted = false;
  /** When the last look began. */
  #beganAt = Number.NEGATIVE_INFINITY;
  /** When it last looked at what there is to enforce. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** Number of the last change that was read. */
  #lastChange: number | undefined;
  /** The first reading of that number. */
  #begun: Promise<void> | undefined;
  #stopped = false;
  #looking: Promise<void> = Promise.resolve();
  readonly #enforcing = new Set<Promise<void>>();

  constructor(services: Services, worker: RevocationWorker) {
    this.#services = services;
    this.#worker = worker;
  }

  /**
   * Starting twice is starting once.
   *
   * @returns resolves when the number of the last change is known: a send that reads its recipients afterwards reads none of them again
   *   because the process has just started
   */
  start(): Promise<void> {
    this.#begun ??= this.#markElsewhere().catch((error) => {
      this.#begun = undefined;
      this.#services.onError(error, "enforcement loop");
    });
    this.#schedule();
    return this.#begun;
  }

  #schedule(): void {
    this.#isWanted = true;
    if (this.#timer || this.#stopped || this.#isPaused) return;
    this.#lookAfter(LOOK_MS);
  }

  /** Ends it until it is started again. Resolves when it looks no more; what it has begun may be under way. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    this.#isWanted = false;
    clearTimeout(this.#timer);
    await Promise.all([this.#looking, this.#unlisten?.()]);
    this.#unlisten = undefined;
    this.#timer = undefined;
    this.#isPaused = false;
    if (this.#isWanted) this.#schedule();
  }

  /** Resolves when what it has begun by now is done. */
  async idle(): Promise<void> {
    await Promise.all(this.#enforcing);
  }

  /** Resolves when it looks no more. What it has begun may be under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#unlisten?.();
    await this.#looking;
  }

  #wake(): void {
    // Paused, it is not to begin by itself.
    if (this.#stopped || this.#isPaused || this.#isWoken || !this.#timer) return;
    this.#isWoken = true;
    if (this.#isLooking) return;
    clearTimeout(this.#timer);
    this.#lookSoon();
  }

  #lookSoon(): void {
    this.#lookAfter(Math.max(WOKEN_MS, this.#beganAt + SPACE_MS - performance.now()));
  }

  #lookAfter(ms: number): void {
    this.#timer = setTimeout(() => {
      const isWoken = this.#isWoken;
      this.#isWoken = false;
      this.#isLooking = true;
      this.#beganAt = performance.now();
      this.#looking = this.#look(isWoken).finally(() => {
        this.#isLooking = false;
        if (this.#stopped || this.#isPaused) return;
        if (this.#isWoken) this.#lookSoon();
        else this.#lookAfter(LOOK_MS);
      });
    }, ms).unref();
  }

  /** Marks what other processes changed, so that what is still to be sent here is checked again. */
  async #markElsewhere(): Promise<void> {
    const { changeLog, changedSubjects } = this.#services;
    const { number, subjects } = await changeLog.since(this.#lastChange);
    changedSubjects.mark(subjects);
    this.#lastChange = Math.max(number, this.#lastChange ?? 0);
  }

  async #look(isWoken: boolean): Promise<void> {
    // Not before the first look: a function that is frozen after each event would open a connection for each.
    this.#unlisten ??= this.#services.database.listen(() => this.#wake());
    try {
      await this.#services.decisionLog.settleWhenDue();
      await this.#services.decisionLog.sweep();
      await this.#services.endedSessions.sweep();
      await this.#services.activity.writeWhenDue();
      const changed = await this.#services.database.pollExternalChanges();
      if (!changed && !isWoken && performance.now() - this.#lookedAt < LOOK_ANYWAY_MS) return;
      this.#lookedAt = performance.now();
      await this.#markElsewhere();
      this.#begin();
    } catch (error) {
      this.#services.onError(error, "enforcement loop");
    }
  }

  /** Not waited for: while hooks are being asked about somebody, the next look finds what others have lost. */
  #begin(): void {
    // Whoever finds no room for another record would only wait for one.
    if (this.#worker.isFull) return;
    const enforcing: Promise<void> = this.#worker
      .enforce()
      .catch((error) => this.#services.onError(error, "enforcement loop"))
      .then(() => void this.#enforcing.delete(enforcing));
    this.#enforcing.add(enforcing);
  }
}
