import { poolTimeout } from "./postgres-failures.ts";

interface Waiting {
  readonly admit: () => void;
  readonly reject: (error: Error) => void;
  /** `performance.now()` */
  readonly until: number;
}

/** The number of served entries at the front of the queue that are removed together. */
const MAX_SERVED = 1024;

/**
 * The queue for the first read of each event. A limited number of these reads use the pool at the
 * same time, in the order of arrival.
 *
 * The later statements of an event use the pool directly, so they do not wait behind newer events.
 * With a single queue, an event with three statements would wait three times after an outage of the
 * database.
 */
export class Admission {
  readonly #atOnce: number;
  readonly #waitMs: number;
  #admitted = 0;
  /** In the order of arrival. The entries before `#first` were served. */
  #waiting: Waiting[] = [];
  #first = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param atOnce the maximum number of reads that use the pool at the same time
   * @param waitMs the maximum wait of a read, in milliseconds
   */
  constructor(atOnce: number, waitMs: number) {
    this.#atOnce = atOnce;
    this.#waitMs = waitMs;
  }

  /**
   * Waits for the turn of a read. Call {@link leave} when the read has ended.
   *
   * @returns undefined if the read does not have to wait
   * @throws the error of a pool without a free connection, if the wait is too long or the queue was
   *   closed
   */
  enter(): Promise<void> | undefined {
    if (this.#isClosed) return Promise.reject(poolTimeout());
    if (this.#admitted < this.#atOnce) {
      this.#admitted++;
      return undefined;
    }
    return new Promise((admit, reject) => {
      this.#waiting.push({ admit, reject, until: performance.now() + this.#waitMs });
      this.#timer ??= setTimeout(this.#rejectLate, this.#waitMs);
    });
  }

  /** Ends a read, and admits the next one. */
  leave(): void {
    const next = this.#shift();
    if (next) next.admit();
    else this.#admitted--;
  }

  /** Rejects all waiting reads. */
  close(): void {
    this.#isClosed = true;
    for (let head = this.#shift(); head; head = this.#shift()) head.reject(poolTimeout());
  }

  readonly #rejectLate = (): void => {
    this.#timer = undefined;
    // A timer can fire one millisecond early.
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
    if (this.#first >= MAX_SERVED) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    return head;
  }
}
