import { ConcurrencyLimit } from "./in-flight.ts";
import type { Rate } from "./rate-limiter.ts";

/**
 * Additional calls in flight for urgent calls, so that a slow gateway does not delay a revocation.
 */
export const URGENT_RESERVE = 32;
/** Minimum limit of calls in flight, even if the gateway throttles. */
const MIN_CALLS = 8;
/** Maximum number of calls that wait for a retry. With more, senders have to wait. */
const MAX_RETRYING = 1024;
/** Share of the limit that must be free before a waiting sender is woken. */
const WAKE_SHARE = 1 / 32;
/** Maximum calls in flight to connections that are set aside because their clients do not read. */
export const SET_ASIDE_CALLS = 8;
/** Number of normal calls per call to a connection that is set aside, while both wait. */
export const NORMAL_PER_SET_ASIDE = 8;

/**
 * The calls to one endpoint: a bounded queue with priorities.
 *
 * The number of calls in flight is limited. The limit is lower while the endpoint throttles. Urgent
 * calls are made first. Senders that wait for capacity are served in turn. Calls to connections
 * that are set aside use separate slots.
 */
export class RequestQueue {
  readonly #rate: Rate;
  readonly #max: number;
  readonly #limit: ConcurrencyLimit;
  readonly #urgent: (() => void)[] = [];
  readonly #normal: (() => void)[] = [];
  /** One callback per waiting call to a connection that is set aside. */
  readonly #setAside = new Set<() => void>();
  #normalSinceSetAside = 0;
  readonly #waitingSenders = new FairQueue<() => void>();
  #inFlight = 0;
  #setAsideInFlight = 0;
  #retrying = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #isUnlimited = false;
  #isWakeScheduled = false;
  /** Whether waiting senders are being woken, until the capacity is used. */
  #isWaking = false;

  /** @param max maximum number of normal calls in flight */
  constructor(rate: Rate, max: number) {
    this.#rate = rate;
    this.#max = max;
    this.#limit = new ConcurrencyLimit(max);
  }

  /**
   * Waits for a turn. Release it with {@link leave}.
   *
   * @returns `undefined` if the turn is available immediately
   */
  enter(isUrgent: boolean): Promise<void> | undefined {
    if (this.#isUnlimited && !isUrgent) {
      this.#inFlight++;
      return undefined;
    }
    const waiting = isUrgent ? this.#urgent : this.#normal;
    // A new call does not overtake waiting calls.
    const isFree = waiting.length === 0 && (isUrgent || !this.#isSetAsideDue);
    if (isFree && this.#hasSlot(isUrgent) && this.#rate.take(isUrgent) === 0) {
      this.#inFlight++;
      if (!isUrgent) this.#normalSinceSetAside++;
      return undefined;
    }
    const turn = new Promise<void>((resolve) => waiting.push(resolve));
    this.#startCalls();
    return turn;
  }

  /**
   * Releases a turn.
   *
   * @param isThrottled whether the gateway throttled the call. `undefined` if the result does not
   *   show it, or if no call was made
   * @param ms duration of an accepted normal call, in milliseconds
   */
  leave(isThrottled?: boolean, ms?: number): void {
    if (ms !== undefined) this.#limit.answered(ms, this.#inFlight);
    this.#inFlight--;
    if (isThrottled !== undefined) this.#rate.answered(isThrottled);
    this.#startCalls();
  }

  /**
   * Waits for a turn of a connection that is set aside. Release it with {@link leaveAside}.
   *
   * @param ms maximum wait, in milliseconds
   * @returns `undefined` if the turn is available immediately. Otherwise, whether the turn came in
   *   time. If not, do not release it
   */
  enterAside(ms: number): Promise<boolean> | undefined {
    if (this.#isUnlimited) {
      this.#setAsideInFlight++;
      return undefined;
    }
    const turn = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.#setAside.delete(resume);
        resolve(false);
      }, ms);
      const resume = () => {
        clearTimeout(timer);
        resolve(true);
      };
      this.#setAside.add(resume);
    });
    this.#startCalls();
    return turn;
  }

  /** Releases a turn of {@link enterAside}. The parameter is that of {@link leave}. */
  leaveAside(isThrottled?: boolean): void {
    this.#setAsideInFlight--;
    if (isThrottled !== undefined) this.#rate.answered(isThrottled);
    this.#startCalls();
  }

  /** Counts a call that waits for a retry. @returns a function that ends the wait */
  trackRetry(): () => void {
    this.#retrying++;
    return () => {
      this.#retrying--;
      this.#wakeSender();
    };
  }

  /**
   * Waits until the queue has capacity for a normal call. Call it again afterwards.
   *
   * @param flow the user or audience that waits. Flows take turns
   * @returns `undefined` if the queue has capacity now
   */
  waitForCapacity(flow = ""): Promise<void> | undefined {
    if (this.#isUnlimited) return undefined;
    if (!this.#hasCapacity) this.#isWaking = false;
    // A new sender does not overtake waiting senders.
    else if (this.#waitingSenders.length === 0 || this.#isWaking) return undefined;
    return new Promise((resolve) => this.#waitingSenders.push(flow, resolve));
  }

  /** Lets all normal calls and senders continue, because the process shuts down. */
  releaseNormal(): void {
    this.#isUnlimited = true;
    for (const resume of this.#normal.splice(0)) {
      this.#inFlight++;
      resume();
    }
    for (const resume of this.#setAside) {
      this.#setAsideInFlight++;
      resume();
    }
    this.#setAside.clear();
    for (let resume = this.#waitingSenders.shift(); resume; resume = this.#waitingSenders.shift()) resume();
  }

  get #hasCapacity(): boolean {
    return this.#normal.length === 0 && this.#hasSlot(false) && this.#retrying < MAX_RETRYING;
  }

  /**
   * Whether a waiting sender is woken. It waits for several slots, because each wake-up has a cost.
   */
  get #isWorthWaking(): boolean {
    const maxInFlight = this.#maxInFlight;
    return this.#hasCapacity && maxInFlight - this.#inFlight >= Math.ceil(maxInFlight * WAKE_SHARE);
  }

  #hasSlot(isUrgent: boolean): boolean {
    const maxInFlight = this.#maxInFlight;
    return this.#inFlight < (isUrgent ? maxInFlight + URGENT_RESERVE : maxInFlight);
  }

  /** Current limit of normal calls in flight. */
  get #maxInFlight(): number {
    const slowed = Math.max(Math.min(MIN_CALLS, this.#max), Math.floor(this.#max * this.#rate.share));
    return Math.min(slowed, this.#limit.limit);
  }

  #startCalls(): void {
    while (this.#urgent.length > 0 && this.#hasSlot(true)) {
      const waitMs = this.#rate.take(true);
      if (waitMs > 0) {
        this.#startCallsAfter(waitMs);
        return;
      }
      this.#inFlight++;
      this.#urgent.shift()?.();
    }
    for (;;) {
      const isSetAside = this.#isSetAsideNext;
      if (!isSetAside && (this.#normal.length === 0 || !this.#hasSlot(false))) break;
      const waitMs = this.#rate.take(false);
      if (waitMs > 0) {
        this.#startCallsAfter(waitMs);
        break;
      }
      if (isSetAside) this.#startSetAside();
      else {
        this.#inFlight++;
        this.#normalSinceSetAside++;
        this.#normal.shift()?.();
      }
    }
    this.#wakeSender();
  }

  /** Whether the next call is to a connection that is set aside. */
  get #isSetAsideNext(): boolean {
    return this.#isSetAsideDue || (this.#normal.length === 0 && this.#canStartSetAside);
  }

  /**
   * Whether enough normal calls were made since the last call to a connection that is set aside.
   */
  get #isSetAsideDue(): boolean {
    return this.#canStartSetAside && this.#normalSinceSetAside >= NORMAL_PER_SET_ASIDE;
  }

  get #canStartSetAside(): boolean {
    return this.#setAside.size > 0 && this.#setAsideInFlight < SET_ASIDE_CALLS;
  }

  #startSetAside(): void {
    this.#setAsideInFlight++;
    this.#normalSinceSetAside = 0;
    for (const resume of this.#setAside) {
      this.#setAside.delete(resume);
      resume();
      return;
    }
  }

  #startCallsAfter(ms: number): void {
    const dueAt = performance.now() + ms;
    // An urgent call can be due before a normal call that already waits.
    if (dueAt >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#startCalls();
    }, Math.ceil(ms));
  }

  /** Wakes one waiting sender. If capacity is left after its turn, the next one is woken. */
  #wakeSender(): void {
    if (!this.#hasCapacity) this.#isWaking = false;
    if (this.#waitingSenders.length === 0 || !(this.#isWaking || this.#isWorthWaking)) return;
    this.#isWaking = true;
    this.#waitingSenders.shift()?.();
    if (this.#waitingSenders.length === 0 || this.#isWakeScheduled) return;
    this.#isWakeScheduled = true;
    setImmediate(() => {
      this.#isWakeScheduled = false;
      this.#wakeSender();
    });
  }
}

/**
 * A queue that serves its flows in turn (round-robin). A flow with many items does not delay a flow
 * with few items. The items of one flow are served in their order.
 */
export class FairQueue<Item> {
  /** Flows in the order of their turns. The flow that was served last is at the end. */
  readonly #flows = new Map<string, Item[]>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(flow: string, item: Item): void {
    const items = this.#flows.get(flow);
    if (items) items.push(item);
    else this.#flows.set(flow, [item]);
    this.#length++;
  }

  /**
   * Removes and returns the first item of the next flow.
   *
   * @param isReady a flow that is not ready keeps its turn. Default: every flow is ready
   * @returns `undefined` if no ready flow has an item
   */
  shift(isReady: (flow: string) => boolean = () => true): Item | undefined {
    for (const [flow, items] of this.#flows) {
      if (!isReady(flow)) continue;
      const item = items.shift();
      // Move the flow behind the other flows.
      if (items.length === 0 || this.#flows.size > 1) this.#flows.delete(flow);
      if (items.length > 0) this.#flows.set(flow, items);
      this.#length--;
      return item;
    }
    return undefined;
  }

  /** Returns the item that {@link shift} would remove. */
  peek(): Item | undefined {
    for (const items of this.#flows.values()) return items[0];
    return undefined;
  }

  /** Removes an item from the queue. */
  remove(flow: string, item: Item): void {
    const items = this.#flows.get(flow);
    const index = items?.indexOf(item) ?? -1;
    if (!items || index < 0) return;
    items.splice(index, 1);
    this.#length--;
    if (items.length === 0) this.#flows.delete(flow);
  }
}
