/** The limit at the start, before anything was measured. */
const START = 128;
/** The lowest limit. */
export const LOWEST_CONCURRENCY = 32;
/** What the limit is multiplied by for a step down, and divided by for a step up. */
const STEP = 0.7;
/** The fewest answers whose mean latency is compared. */
const FEWEST_ANSWERS = 64;
/** Comparisons that are skipped after the limit was found to be right. */
const HOLD = 10;

/**
 * Finds the number of calls in flight beyond which an endpoint accepts no more calls per second.
 *
 * Beyond that number, calls wait at the endpoint, and a message to a small audience waits there behind the calls of a large send. The
 * latency tells: while the endpoint has capacity, it does not depend on the number of calls in flight. Otherwise it is proportional. So the
 * limit is changed by a step, and the mean latencies before and after are compared.
 */
export class ConcurrencyLimit {
  readonly #most: number;
  #limit: number;
  #sumMs = 0;
  #answers = 0;
  #holds = 0;
  #isDown = true;
  /** The limit and the latency before the step that is being judged. */
  #before: { readonly limit: number; readonly meanMs: number } | undefined;

  /** @param most the highest limit */
  constructor(most: number) {
    this.#most = most;
    this.#limit = Math.min(START, most);
  }

  get limit(): number {
    return this.#limit;
  }

  /** Counts an answer to a call that was made while as many calls as allowed were in flight. @param ms from the call to its answer */
  answered(ms: number): void {
    this.#sumMs += ms;
    if (++this.#answers < Math.max(FEWEST_ANSWERS, this.#limit)) return;
    const meanMs = this.#sumMs / this.#answers;
    this.#sumMs = 0;
    this.#answers = 0;
    if (this.#holds > 0) this.#holds--;
    else if (!this.#before) this.#step(meanMs);
    else this.#judge(this.#before, meanMs);
  }

  #judge(before: { readonly limit: number; readonly meanMs: number }, meanMs: number): void {
    const change = this.#limit / before.limit - 1;
    const slower = meanMs / before.meanMs - 1;
    const isProportional = this.#isDown ? slower < change / 2 : slower > change / 2;
    // Down goes on while calls waited at the endpoint, and up while they do not.
    if (isProportional === this.#isDown) this.#step(meanMs);
    else {
      this.#limit = before.limit;
      this.#turn();
    }
  }

  #step(meanMs: number): void {
    const limit = this.#isDown
      ? Math.max(Math.min(LOWEST_CONCURRENCY, this.#most), Math.floor(this.#limit * STEP))
      : Math.min(this.#most, Math.ceil(this.#limit / STEP));
    if (limit === this.#limit) this.#turn();
    else {
      this.#before = { limit: this.#limit, meanMs };
      this.#limit = limit;
    }
  }

  /** Tries the other direction, after a while if both were tried. */
  #turn(): void {
    this.#before = undefined;
    if (!this.#isDown) this.#holds = HOLD;
    this.#isDown = !this.#isDown;
  }
}
