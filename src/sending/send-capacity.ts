import { setMaxListeners } from "node:events";
import { FairQueue } from "../delivery/fair-queue.ts";
import { DeliveryError } from "../errors.ts";

/** Pages of recipients that the sends of a process hold in memory at the same time. */
const MAX_PAGES = 128;
/** Pages that the sends of one flow hold at the same time. */
const MAX_PAGES_PER_FLOW = 4;
/** The time after which a send gives up its page, if other sends wait for one, in milliseconds. It reads the rest again later. */
const PAGE_MS = 1000;
/** How long a send waits until the queue has space for its message, in milliseconds. */
const SPACE_MS = 10_000;
/** What a send counts for in addition to its message, in bytes. */
const SEND_BYTES = 2048;

/** The permission of a send to hold a page of recipients. */
export class PageTurn {
  /** Resolves when the page may be read; undefined if it may be read at once. */
  readonly granted: Promise<void> | undefined;
  /** Other sends wait, and the page was held long enough. */
  mustYield = false;
  /** Called when {@link mustYield} is set. */
  onYield: () => void = () => undefined;
  readonly flow: string;
  readonly #capacity: SendCapacity;
  /** When the hand-over of the page began, by `performance.now()`. */
  handedOverSince = Number.POSITIVE_INFINITY;
  #isOver = false;
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

  /** The page was read and checked. From now on, its time counts. @param onYield is called when the page is to be given up */
  beginHandover(onYield: () => void): void {
    this.handedOverSince = performance.now();
    this.onYield = onYield;
  }

  /** Gives the page back, or stops waiting for it. */
  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#capacity.leave(this);
  }
}

/**
 * Limits the memory of sends: the pages of recipients that they hold, and the bytes of their messages.
 *
 * Pages are given out in turn among flows, which are users and audiences. So a user who sends a lot does not delay other sends.
 */
export class SendCapacity {
  readonly #maxBytes: number;
  readonly #held = new Set<PageTurn>();
  readonly #pagesOf = new Map<string, number>();
  readonly #waiting = new FairQueue<PageTurn>();
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  readonly #spaceWaiting = new FairQueue<{ readonly bytes: number; readonly goOn: () => void }>();
  #isOpenToAll = false;

  /** @param maxBytes of the messages in the queue */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Asks for a page. Give it back by {@link PageTurn.leave}. */
  enter(flow: string): PageTurn {
    const isFree =
      this.#isOpenToAll ||
      (this.#held.size < MAX_PAGES && this.#waiting.length === 0 && this.#hasPage(flow)) ||
      // Flows that have all their pages keep no other flow waiting.
      (this.#held.size < MAX_PAGES && !this.#pagesOf.has(flow));
    const turn = new PageTurn(this, flow, isFree);
    if (isFree) this.#hold(turn);
    else {
      this.#waiting.push(flow, turn);
      this.#timer ??= setInterval(() => this.#askToYield(), PAGE_MS / 2).unref();
    }
    return turn;
  }

  /** Called by {@link PageTurn.leave}. */
  leave(turn: PageTurn): void {
    if (this.#held.delete(turn)) {
      const left = (this.#pagesOf.get(turn.flow) ?? 1) - 1;
      if (left > 0) this.#pagesOf.set(turn.flow, left);
      else this.#pagesOf.delete(turn.flow);
      this.#admit();
    } else this.#waiting.remove(turn.flow, turn);
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * Reserves space for a message in the queue. Waits while there is none, in turn with other flows.
   *
   * @param signal ends the waiting, and nothing is reserved: the send does not hold its message for long
   * @returns gives the space back
   * @throws DeliveryError if there is no space within ten seconds
   */
  async reserve(messageBytes: number, flow: string, signal?: AbortSignal): Promise<() => void> {
    const bytes = messageBytes + SEND_BYTES;
    if (this.#spaceWaiting.length === 0 && this.#fits(bytes)) this.#bytes += bytes;
    else if (!(await this.#space(bytes, flow, signal))) return () => undefined;
    let isReserved = true;
    return () => {
      if (!isReserved) return;
      isReserved = false;
      this.#bytes -= bytes;
      this.#callIn();
    };
  }

  /** No send waits any more: the process is shutting down. */
  letAllIn(): void {
    this.#isOpenToAll = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (let turn = this.#waiting.shift(); turn; turn = this.#waiting.shift()) this.#grant(turn);
    this.#callIn();
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

  #admit(): void {
    while (this.#held.size < MAX_PAGES) {
      const turn = this.#waiting.shift((flow) => this.#hasPage(flow));
      if (!turn) return;
      this.#grant(turn);
    }
  }

  #askToYield(): void {
    const begunBefore = performance.now() - PAGE_MS;
    for (const turn of this.#held) {
      if (turn.mustYield || turn.handedOverSince > begunBefore) continue;
      turn.mustYield = true;
      turn.onYield();
    }
  }

  #fits(bytes: number): boolean {
    // A message that is larger than the limit goes alone.
    return this.#isOpenToAll || this.#bytes === 0 || this.#bytes + bytes <= this.#maxBytes;
  }

  /** @returns false if the signal ended the waiting */
  async #space(bytes: number, flow: string, signal: AbortSignal | undefined): Promise<boolean> {
    if (signal?.aborted) return false;
    let timer: NodeJS.Timeout | undefined;
    let end: () => void = () => undefined;
    const hasSpace = await new Promise<boolean>((resolve) => {
      const waiting = { bytes, goOn: () => resolve(true) };
      this.#spaceWaiting.push(flow, waiting);
      end = () => {
        this.#spaceWaiting.remove(flow, waiting);
        resolve(false);
      };
      timer = setTimeout(end, SPACE_MS);
      if (signal) setMaxListeners(0, signal);
      signal?.addEventListener("abort", end);
    });
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    if (hasSpace) return true;
    // A large message that waited may have kept a small one waiting.
    this.#callIn();
    if (signal?.aborted) return false;
    throw new DeliveryError(
      `The messages in the send queue of this process have ${this.#bytes} bytes, and the limit is ${this.#maxBytes}. The message did not ` +
        `fit within ${SPACE_MS / 1000} s, so it was not sent. Send less, or raise apiGateway.maxQueuedBytes.`,
      { code: "SALLYPORT_QUEUE_FULL", status: 503, reply: "Temporarily unavailable." },
    );
  }

  #callIn(): void {
    for (
      let next = this.#spaceWaiting.peek();
      next && this.#fits(next.bytes);
      next = this.#spaceWaiting.peek()
    ) {
      this.#spaceWaiting.shift();
      this.#bytes += next.bytes;
      next.goOn();
    }
  }
}
