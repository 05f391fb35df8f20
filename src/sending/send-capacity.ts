import { setMaxListeners } from "node:events";
import { FairQueue } from "../delivery/queue.ts";
import { DeliveryError } from "../errors.ts";

/** Maximum number of pages of recipients in memory, for all sends of a process. */
const MAX_PAGES = 128;
/** Maximum number of pages in memory for the sends of one flow. */
const MAX_PAGES_PER_FLOW = 4;
/**
 * The time in milliseconds after which a send releases its page, if other sends wait for one. It
 * reads the rest again later.
 */
const PAGE_MS = 1000;
/** Maximum time that a send waits for space in the queue, in milliseconds. */
const SPACE_MS = 10_000;
/** Memory of a send in addition to its message, in bytes. */
const SEND_BYTES = 2048;

/** The permission of a send to hold a page of recipients. */
export class PageTurn {
  /** Resolves when the page may be read. `undefined` if it may be read immediately. */
  readonly granted: Promise<void> | undefined;
  /** `true` if other sends wait and the page was held for too long. */
  mustYield = false;
  /** Called when {@link mustYield} is set. */
  onYield: () => void = () => undefined;
  readonly flow: string;
  readonly #capacity: SendCapacity;
  /** `performance.now()` when the posts of the page began. */
  handedOverSince = Number.POSITIVE_INFINITY;
  #isLeft = false;
  #grant: () => void = () => undefined;

  constructor(capacity: SendCapacity, flow: string, isFree: boolean) {
    this.#capacity = capacity;
    this.flow = flow;
    if (isFree) return;
    this.granted = new Promise((resolve) => {
      this.#grant = resolve;
    });
  }

  grant(): void {
    this.#grant();
  }

  /**
   * Starts the time of the page, after it was read and checked.
   *
   * @param onYield called when the send must release the page
   */
  beginHandover(onYield: () => void): void {
    this.handedOverSince = performance.now();
    this.onYield = onYield;
  }

  /** Releases the page, or stops waiting for it. */
  leave(): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#capacity.leave(this);
  }
}

/**
 * Limits the memory of sends: pages of recipients, and bytes of messages.
 *
 * Pages are assigned to flows in turn. A flow is a user or an audience. A user who sends a lot does
 * not delay other sends.
 */
export class SendCapacity {
  readonly #maxBytes: number;
  readonly #held = new Set<PageTurn>();
  readonly #pagesOf = new Map<string, number>();
  readonly #waiting = new FairQueue<PageTurn>();
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  readonly #waitingForSpace = new FairQueue<{ readonly bytes: number; readonly resume: () => void }>();
  #isUnlimited = false;

  /** @param maxBytes maximum size of all messages in the queue, in bytes */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Requests a page. Release it with {@link PageTurn.leave}. */
  enter(flow: string): PageTurn {
    const isFree =
      this.#isUnlimited ||
      (this.#held.size < MAX_PAGES && this.#waiting.length === 0 && this.#hasPage(flow)) ||
      // Flows that hold their maximum of pages must not delay other flows.
      (this.#held.size < MAX_PAGES && !this.#pagesOf.has(flow));
    const turn = new PageTurn(this, flow, isFree);
    if (isFree) this.#hold(turn);
    else {
      this.#waiting.push(flow, turn);
      this.#timer ??= setInterval(() => this.#requestYields(), PAGE_MS / 2).unref();
    }
    return turn;
  }

  /** Called by {@link PageTurn.leave}. */
  leave(turn: PageTurn): void {
    if (this.#held.delete(turn)) {
      const left = (this.#pagesOf.get(turn.flow) ?? 1) - 1;
      if (left > 0) this.#pagesOf.set(turn.flow, left);
      else this.#pagesOf.delete(turn.flow);
      this.#grantWaiting();
    } else this.#waiting.remove(turn.flow, turn);
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * Reserves space for a message in the queue. Waits until there is space, in turn with other
   * flows.
   *
   * @param signal ends the wait. Then no space is reserved, because the send releases its message
   *   soon
   * @returns a function that releases the space
   * @throws DeliveryError if the queue has no space within ten seconds
   */
  async reserve(messageBytes: number, flow: string, signal?: AbortSignal): Promise<() => void> {
    const bytes = messageBytes + SEND_BYTES;
    if (this.#waitingForSpace.length === 0 && this.#fits(bytes)) this.#bytes += bytes;
    else if (!(await this.#waitForSpace(bytes, flow, signal))) return () => undefined;
    let isReserved = true;
    return () => {
      if (!isReserved) return;
      isReserved = false;
      this.#bytes -= bytes;
      this.#resumeWaiting();
    };
  }

  /** Removes the limits, because the process shuts down. */
  removeLimits(): void {
    this.#isUnlimited = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (let turn = this.#waiting.shift(); turn; turn = this.#waiting.shift()) this.#grant(turn);
    this.#resumeWaiting();
  }

  #hasPage(flow: string): boolean {
    return (this.#pagesOf.get(flow) ?? 0) < MAX_PAGES_PER_FLOW;
  }

  #hold(turn: PageTurn): void {
    this.#held.add(turn);
    this.#pagesOf.set(turn.flow, (this.#pagesOf.get(turn.flow) ?? 0) + 1);
  }

  #grant(turn: PageTurn): void {
    this.#hold(turn);
    turn.grant();
  }

  #grantWaiting(): void {
    while (this.#held.size < MAX_PAGES) {
      const turn = this.#waiting.shift((flow) => this.#hasPage(flow));
      if (!turn) return;
      this.#grant(turn);
    }
  }

  #requestYields(): void {
    const startedBefore = performance.now() - PAGE_MS;
    for (const turn of this.#held) {
      if (turn.mustYield || turn.handedOverSince > startedBefore) continue;
      turn.mustYield = true;
      turn.onYield();
    }
  }

  #fits(bytes: number): boolean {
    // A message that is larger than the limit is sent alone.
    return this.#isUnlimited || this.#bytes === 0 || this.#bytes + bytes <= this.#maxBytes;
  }

  /** Waits for space. @returns `false` if the signal ended the wait */
  async #waitForSpace(bytes: number, flow: string, signal: AbortSignal | undefined): Promise<boolean> {
    if (signal?.aborted) return false;
    let timer: NodeJS.Timeout | undefined;
    let end: () => void = () => undefined;
    const hasSpace = await new Promise<boolean>((resolve) => {
      const waiting = { bytes, resume: () => resolve(true) };
      this.#waitingForSpace.push(flow, waiting);
      end = () => {
        this.#waitingForSpace.remove(flow, waiting);
        resolve(false);
      };
      timer = setTimeout(end, SPACE_MS);
      if (signal) setMaxListeners(0, signal);
      signal?.addEventListener("abort", end);
    });
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    if (hasSpace) return true;
    // The large message that waited can have delayed smaller ones.
    this.#resumeWaiting();
    if (signal?.aborted) return false;
    throw new DeliveryError(
      `The messages in the send queue of this process have ${this.#bytes} bytes, and the limit is ${this.#maxBytes}. ` +
        `The message did not fit within ${SPACE_MS / 1000} s, so it was not sent. Send fewer messages, or raise ` +
        "apiGateway.maxQueuedBytes.",
      { code: "SALLYPORT_QUEUE_FULL", status: 503, clientMessage: "Temporarily unavailable." },
    );
  }

  #resumeWaiting(): void {
    for (
      let next = this.#waitingForSpace.peek();
      next && this.#fits(next.bytes);
      next = this.#waitingForSpace.peek()
    ) {
      this.#waitingForSpace.shift();
      this.#bytes += next.bytes;
      next.resume();
    }
  }
}
