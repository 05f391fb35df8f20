import { poolTimeout } from "./postgres-failures.ts";

interface Waiting {
  readonly admit: () => void;
  readonly reject: (error: Error) => void;
  /** `performance.now()` */
  readonly until: number;
}

/**
 * Lets a number of reads use the pool at the same time, in the order in which they came.
 *
 * The first read of an event comes through here. What an event that has begun still has to do goes to the pool directly, so it does not
 * wait behind all the events that have arrived meanwhile. Without it, an event of three statements would wait three times as long as
 * one of them, while a database that was away catches up.
 */
export class Admission {
  readonly #atOnce: number;
  readonly #waitMs: number;
  #admitted = 0;
  /** In the order in which they came. Those before `#first` are done. */
  #waiting: Waiting[] = [];
  #first = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param waitMs how long one waits, in milliseconds */
  constructor(atOnce: number, waitMs: number) {
    this.#atOnce = atOnce;
    this.#waitMs = waitMs;
  }

  /**
   * Waits for the turn of a read. Call {@link leave} when it has ended.
   *
   * @returns undefined if it need not wait
   * @throws the error of a pool whose connections are all in use, after the time
   */
  enter(): Promise<void> | undefined {
    if (this.#admitted < this.#atOnce) {
      this.#admitted++;
      return undefined;
    }
    return new Promise((admit, reject) => {
      this.#waiting.push({ admit, reject, until: performance.now() + this.#waitMs });
      this.#timer ??= setTimeout(this.#rejectLate, this.#waitMs);
    });
  }

  leave(): void {
    const next = this.#shift();
    if (next) next.admit();
    else this.#admitted--;
  }

  readonly #rejectLate = (): void => {
    this.#timer = undefined;
    // A timer may come a millisecond early.
    const now = performance.now() + 1;
    for (;;) {
      const head = this.#waiting[this.#first];
      if (!head) return;
      if (head.until > now) {
        this.#timer = setTimeout(this.#rejectLate, head.until - now);
        return;
      }
      this.#shift();
      head.reject(poolTimeout());
    }
  };

  #shift(): Waiting | undefined {
    const head = this.#waiting[this.#first];
    if (head) this.#first++;
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    return head;
  }
}
