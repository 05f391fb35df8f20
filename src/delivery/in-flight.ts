/** The initial limit. */
const INITIAL_LIMIT = 128;
/** The lowest limit. */
export const LOWEST_CONCURRENCY = 32;
/** The factor of a change of the limit: multiplied if calls wait at the endpoint, else divided. */
const STEP = 0.75;
/** With at most this many calls in flight, no call waits for another one. */
const UNLOADED_CALLS = 8;
/** Latency above which calls wait: this factor of the base latency, plus {@link TOLERANCE_MS}. */
const TOLERANCE = 2;
const TOLERANCE_MS = 5;
/** Time after which a base latency that was not measured again is discarded, in milliseconds. */
const BASE_LATENCY_TTL_MS = 60_000;

/**
 * Lowers the number of calls in flight while calls wait at an endpoint.
 *
 * A busy endpoint does not accept more calls per second if more are in flight. The calls wait
 * there, so a message to a small audience waits behind the calls of a large send.
 *
 * At a busy endpoint, even the fastest of many calls takes longer than a single call. At an
 * endpoint with capacity, some calls are slow, but others are fast. Therefore, the fastest call is
 * compared.
 */
export class ConcurrencyLimit {
  readonly #max: number;
  #limit: number;
  /** The latency of a call that does not wait. */
  #baseMs = Number.POSITIVE_INFINITY;
  #baseAt = Number.NEGATIVE_INFINITY;
  /** The fastest call since the last step. */
  #fastestMs = Number.POSITIVE_INFINITY;
  #answers = 0;

  /** @param max the maximum limit */
  constructor(max: number) {
    this.#max = max;
    this.#limit = Math.min(INITIAL_LIMIT, max);
  }

  get limit(): number {
    return this.#limit;
  }

  /**
   * Counts a call that was accepted.
   *
   * @param ms duration of the call, in milliseconds
   * @param inFlight number of calls in flight, including this one
   */
  answered(ms: number, inFlight: number, now = performance.now()): void {
    if (ms < this.#baseMs || now - this.#baseAt > BASE_LATENCY_TTL_MS) {
      this.#baseMs = ms;
      this.#baseAt = now;
    } else if (inFlight <= UNLOADED_CALLS && !this.#isCongested(ms)) this.#baseAt = now;
    // With fewer calls than allowed, the latency does not depend on the limit.
    if (inFlight < this.#limit) return;
    this.#fastestMs = Math.min(this.#fastestMs, ms);
    if (++this.#answers < this.#limit) return;
    this.#limit = this.#isCongested(this.#fastestMs)
      ? Math.max(Math.min(LOWEST_CONCURRENCY, this.#max), Math.floor(this.#limit * STEP))
      : Math.min(this.#max, Math.ceil(this.#limit / STEP));
    this.#answers = 0;
    this.#fastestMs = Number.POSITIVE_INFINITY;
  }

  #isCongested(ms: number): boolean {
    return ms > TOLERANCE * this.#baseMs + TOLERANCE_MS;
  }
}

/**
 * A set of items in flight: many thousand per second, but few at a time.
 *
 * It replaces a Set. A Set keeps outgrown tables with their items until the next major garbage
 * collection, so each post and its references would be copied twice.
 */
export class FreeList<Item> {
  readonly #items: (Item | undefined)[] = [];
  readonly #free: number[] = [];

  /** Adds an item. @returns its slot number, for {@link remove} */
  add(item: Item): number {
    const slot = this.#free.pop() ?? this.#items.length;
    this.#items[slot] = item;
    return slot;
  }

  get(slot: number): Item | undefined {
    return this.#items[slot];
  }

  remove(slot: number): void {
    this.#items[slot] = undefined;
    this.#free.push(slot);
  }

  get isEmpty(): boolean {
    return this.#free.length === this.#items.length;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (const item of this.#items) if (item !== undefined) yield item;
  }
}
