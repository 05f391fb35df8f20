import { ConcurrencyLimit } from "./concurrency-limit.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Rate } from "./rate-limiter.ts";

/** Calls that urgent ones may have under way beyond the others' bound: a slow gateway does not hold up an eviction. */
export const URGENT_RESERVE = 32;
/** Fewest calls under way, however often a gateway says that there are too many. */
const FEWEST = 8;
/** Calls that may wait to be made again before whoever sends has to wait. */
const MOST_ASIDE = 1024;
/** The share of the calls in flight that have to be free before a sender that waits is called in. */
const CALLED_IN_FOR = 1 / 32;
/** Calls in flight to connections that are set aside because their clients do not read. */
export const SET_ASIDE_CALLS = 8;
/** Ordinary calls after which a call to a connection that is set aside is made, while both wait for the pace. */
export const ORDINARY_PER_SET_ASIDE = 8;

/**
 * The calls to one endpoint: a bounded queue with priorities. The number of calls in flight is limited, and the limit is lower while the
 * endpoint throttles. Urgent calls go first. Senders that wait for capacity are served in turn. Calls to connections that are set aside
 * use slots of their own.
 */
export class RequestQueue {
  readonly #rate: Rate;
  readonly #most: number;
  readonly #limit: ConcurrencyLimit;
  readonly #urgent: (() => void)[] = [];
  readonly #ordinary: (() => void)[] = [];
  /** Called when it is the turn of the call. */
  readonly #setAside = new Set<() => void>();
  #ordinarySinceSetAside = 0;
  readonly #outside = new FairQueue<() => void>();
  #underWay = 0;
  #setAsideUnderWay = 0;
  #aside = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #isOpenToAll = false;
  #isLooking = false;
  /** Whether senders that wait are called in, until there is no more capacity. */
  #isCallingIn = false;

  /** @param most ordinary calls under way at once */
  constructor(rate: Rate, most: number) {
    this.#rate = rate;
    this.#most = most;
    this.#limit = new ConcurrencyLimit(most);
  }

  /** Waits for a turn: undefined when it is there at once. Whoever has one gives it back by {@link leave}. */
  enter(isUrgent: boolean): Promise<void> | undefined {
    if (this.#isOpenToAll && !isUrgent) {
      this.#underWay++;
      return undefined;
    }
    const waiting = isUrgent ? this.#urgent : this.#ordinary;
    // Nobody slips in between those who wait.
    const isFree = waiting.length === 0 && (isUrgent || !this.#isSetAsideDue);
    if (isFree && this.#hasRoom(isUrgent) && this.#rate.take(isUrgent) === 0) {
      this.#underWay++;
      if (!isUrgent) this.#ordinarySinceSetAside++;
      return undefined;
    }
    const turn = new Promise<void>((resolve) => waiting.push(resolve));
    this.#admit();
    return turn;
  }

  /**
   * @param isThrottled what the gateway said to the call; undefined where it says nothing about the pace, or where none was made
   * @param ms how long an ordinary call took that was accepted
   */
  leave(isThrottled?: boolean, ms?: number): void {
    if (ms !== undefined) this.#limit.answered(ms, this.#underWay);
    this.#underWay--;
    if (isThrottled !== undefined) this.#rate.answered(isThrottled);
    this.#admit();
  }

  /**
   * Waits for a turn of a connection that is set aside. Give it back by {@link leaveAside}.
   *
   * @param ms how long to wait at most, in milliseconds
   * @returns undefined if there is a turn at once; otherwise whether there was one in time. If not, there is nothing to give back
   */
  enterAside(ms: number): Promise<boolean> | undefined {
    if (this.#isOpenToAll) {
      this.#setAsideUnderWay++;
      return undefined;
    }
    const turn = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.#setAside.delete(goOn);
        resolve(false);
      }, ms);
      const goOn = () => {
        clearTimeout(timer);
        resolve(true);
      };
      this.#setAside.add(goOn);
    });
    this.#admit();
    return turn;
  }

  leaveAside(isThrottled?: boolean): void {
    this.#setAsideUnderWay--;
    if (isThrottled !== undefined) this.#rate.answered(isThrottled);
    this.#admit();
  }

  /** Notes that a call waits to be made again, until the function that comes back is called. */
  trackRetry(): () => void {
    this.#aside++;
    return () => {
      this.#aside--;
      this.#callIn();
    };
  }

  /**
   * Waits until an ordinary call would be in flight soon. Call it again afterwards.
   *
   * @param flow what waits in turn with others, such as a user or an audience
   * @returns undefined if the call would be in flight at once
   */
  room(flow = ""): Promise<void> | undefined {
    if (this.#isOpenToAll) return undefined;
    if (!this.#isOpen) this.#isCallingIn = false;
    // Nobody overtakes those who wait.
    else if (this.#outside.length === 0 || this.#isCallingIn) return undefined;
    return new Promise((resolve) => this.#outside.push(flow, resolve));
  }

  /** Nobody ordinary waits here any more: they are to find that there is nothing left to do. */
  releaseNormal(): void {
    this.#isOpenToAll = true;
    for (const goOn of this.#ordinary.splice(0)) {
      this.#underWay++;
      goOn();
    }
    for (const goOn of this.#setAside) {
      this.#setAsideUnderWay++;
      goOn();
    }
    this.#setAside.clear();
    for (let goOn = this.#outside.shift(); goOn; goOn = this.#outside.shift()) goOn();
  }

  get #isOpen(): boolean {
    return this.#ordinary.length === 0 && this.#hasRoom(false) && this.#aside < MOST_ASIDE;
  }

  /** Whether a sender that waits is called in: for several calls, because that costs as much as for one. */
  get #isWorthCalling(): boolean {
    const bound = this.#bound;
    return this.#isOpen && bound - this.#underWay >= Math.ceil(bound * CALLED_IN_FOR);
  }

  #hasRoom(isUrgent: boolean): boolean {
    const bound = this.#bound;
    return this.#underWay < (isUrgent ? bound + URGENT_RESERVE : bound);
  }

  /** Ordinary calls that can be in flight now. */
  get #bound(): number {
    const slowed = Math.max(Math.min(FEWEST, this.#most), Math.floor(this.#most * this.#rate.share));
    return Math.min(slowed, this.#limit.limit);
  }

  #admit(): void {
    while (this.#urgent.length > 0 && this.#hasRoom(true)) {
      const wait = this.#rate.take(true);
      if (wait > 0) {
        this.#admitAfter(wait);
        return;
      }
      this.#underWay++;
      this.#urgent.shift()?.();
    }
    for (;;) {
      const isSetAside = this.#isSetAsideNext;
      if (!isSetAside && (this.#ordinary.length === 0 || !this.#hasRoom(false))) break;
      const wait = this.#rate.take(false);
      if (wait > 0) {
        this.#admitAfter(wait);
        break;
      }
      if (isSetAside) this.#admitSetAside();
      else {
        this.#underWay++;
        this.#ordinarySinceSetAside++;
        this.#ordinary.shift()?.();
      }
    }
    this.#callIn();
  }

  /** Whether the next token is for a connection that is set aside. */
  get #isSetAsideNext(): boolean {
    return this.#isSetAsideDue || (this.#ordinary.length === 0 && this.#canSetAsideEnter);
  }

  /** Whether so many ordinary calls were made that one to a connection that is set aside goes first. */
  get #isSetAsideDue(): boolean {
    return this.#canSetAsideEnter && this.#ordinarySinceSetAside >= ORDINARY_PER_SET_ASIDE;
  }

  get #canSetAsideEnter(): boolean {
    return this.#setAside.size > 0 && this.#setAsideUnderWay < SET_ASIDE_CALLS;
  }

  #admitSetAside(): void {
    this.#setAsideUnderWay++;
    this.#ordinarySinceSetAside = 0;
    for (const goOn of this.#setAside) {
      this.#setAside.delete(goOn);
      goOn();
      return;
    }
  }

  #admitAfter(ms: number): void {
    const dueAt = performance.now() + ms;
    // An urgent one may be due before an ordinary one that waits already.
    if (dueAt >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#admit();
    }, Math.ceil(ms));
  }

  /** One of those outside, who takes what room there is; if that was nobody, the next one soon. */
  #callIn(): void {
    if (!this.#isOpen) this.#isCallingIn = false;
    if (this.#outside.length === 0 || !(this.#isCallingIn || this.#isWorthCalling)) return;
    this.#isCallingIn = true;
    this.#outside.shift()?.();
    if (this.#outside.length === 0 || this.#isLooking) return;
    this.#isLooking = true;
    setImmediate(() => {
      this.#isLooking = false;
      this.#callIn();
    });
  }
}
