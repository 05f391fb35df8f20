import type { Rate } from "./rate.ts";

/** Calls that urgent ones may have under way beyond the others' bound: a slow gateway does not hold up an eviction. */
export const URGENT_RESERVE = 32;
/** Fewest calls under way, however often a gateway says that there are too many. */
const FEWEST = 8;
/** Calls that may wait to be made again before whoever sends has to wait. */
const MOST_ASIDE = 1024;

/**
 * The way to one endpoint, a bounded queue with priorities: a bound on calls under way, which narrows while the gateway refuses for their number; urgent ones first;
 * in the pace that all endpoints share.
 */
export class Lane {
  readonly #rate: Rate;
  readonly #most: number;
  readonly #urgent: (() => void)[] = [];
  readonly #ordinary: (() => void)[] = [];
  readonly #outside: (() => void)[] = [];
  #underWay = 0;
  #aside = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #isOpenToAll = false;
  #isLooking = false;

  /** @param most ordinary calls under way at once */
  constructor(rate: Rate, most: number) {
    this.#rate = rate;
    this.#most = most;
  }

  /** Waits for a turn: undefined when it is there at once. Whoever has one gives it back by {@link leave}. */
  enter(isUrgent: boolean): Promise<void> | undefined {
    if (this.#isOpenToAll && !isUrgent) {
      this.#underWay++;
      return undefined;
    }
    const waiting = isUrgent ? this.#urgent : this.#ordinary;
    // Nobody slips in between those who wait.
    if (waiting.length === 0 && this.#hasRoom(isUrgent) && this.#rate.take(isUrgent) === 0) {
      this.#underWay++;
      return undefined;
    }
    const turn = new Promise<void>((resolve) => waiting.push(resolve));
    this.#admit();
    return turn;
  }

  /** @param isThrottled what the gateway said to the call; undefined where none was made */
  leave(isThrottled?: boolean): void {
    this.#underWay--;
    if (isThrottled !== undefined) this.#rate.answered(isThrottled);
    this.#admit();
  }

  /** Notes that a call waits to be made again, until the function that comes back is called. */
  stepAside(): () => void {
    this.#aside++;
    return () => {
      this.#aside--;
      this.#callIn();
    };
  }

  /** Waits until an ordinary call would be under way soon: undefined when it would be now. Ask again afterwards. */
  room(): Promise<void> | undefined {
    if (this.#isOpen || this.#isOpenToAll) return undefined;
    return new Promise((resolve) => this.#outside.push(resolve));
  }

  /** Nobody ordinary waits here any more: they are to find that there is nothing left to do. */
  letOrdinaryIn(): void {
    this.#isOpenToAll = true;
    for (const goOn of this.#ordinary.splice(0)) {
      this.#underWay++;
      goOn();
    }
    for (const goOn of this.#outside.splice(0)) goOn();
  }

  get #isOpen(): boolean {
    return this.#ordinary.length === 0 && this.#hasRoom(false) && this.#aside < MOST_ASIDE;
  }

  #hasRoom(isUrgent: boolean): boolean {
    const bound = Math.max(Math.min(FEWEST, this.#most), Math.floor(this.#most * this.#rate.share));
    return this.#underWay < (isUrgent ? bound + URGENT_RESERVE : bound);
  }

  #admit(): void {
    for (const waiting of [this.#urgent, this.#ordinary]) {
      const isUrgent = waiting === this.#urgent;
      while (waiting.length > 0 && this.#hasRoom(isUrgent)) {
        const wait = this.#rate.take(isUrgent);
        if (wait > 0) {
          this.#admitAfter(wait);
          return;
        }
        this.#underWay++;
        waiting.shift()?.();
      }
    }
    this.#callIn();
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
    if (this.#outside.length === 0 || !this.#isOpen) return;
    this.#outside.shift()?.();
    if (this.#outside.length === 0 || this.#isLooking) return;
    this.#isLooking = true;
    setImmediate(() => {
      this.#isLooking = false;
      this.#callIn();
    });
  }
}
