import { SendCapacity } from "./send-capacity.ts";

/** The sends of a process: their order, their memory, and those that are in flight. */
export class Sends {
  readonly order = new SendOrder();
  readonly capacity: SendCapacity;
  readonly #inFlight = new Set<Promise<unknown>>();

  /** @param maxQueuedBytes maximum size of all messages in memory */
  constructor(maxQueuedBytes: number) {
    this.capacity = new SendCapacity(maxQueuedBytes);
  }

  /** Records a send while it is in flight. `flush()` and `close()` wait for it. */
  track<Result>(sending: Promise<Result>): Promise<Result> {
    this.#inFlight.add(sending);
    const remove = () => this.#inFlight.delete(sending);
    sending.then(remove, remove);
    return sending;
  }

  /** Resolves when the sends that are in flight now have finished. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#inFlight);
  }

  /** Resolves when no send is in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await this.settled();
  }
}

/**
 * Keeps the order of concurrent sends to one audience at each of its connections.
 *
 * Sends visit connections in the order of their ids. A later send does not pass the id that the
 * send before it has reached.
 */
export class SendOrder {
  readonly #audiences = new Map<string, AudienceOrder>();

  /**
   * Adds a send to the end of the order.
   *
   * @param key identifies the audience
   */
  enter(key: string): SendTurn {
    const audience = this.#audiences.get(key) ?? { last: undefined, progressCount: 0 };
    const turn: SendTurn = new SendTurn(audience, (before) => {
      if (audience.last !== turn) return;
      audience.last = before;
      if (!before) this.#audiences.delete(key);
    });
    audience.last = turn;
    this.#audiences.set(key, audience);
    return turn;
  }
}

interface AudienceOrder {
  last: SendTurn | undefined;
  /** Number of times that one of its sends made progress. */
  progressCount: number;
}

/** The progress of one send. Each refers to the sends directly before and after it only. */
export class SendTurn {
  readonly #audience: AudienceOrder;
  readonly #onLeave: (before: SendTurn | undefined) => void;
  #before: SendTurn | undefined;
  #after: SendTurn | undefined;
  #cursor = "";
  /** The last recipient of the last page that was completed. */
  #pageEnd = "";
  #isRemoved = false;
  /** The condition that the send after this one waits for. */
  #waiter: { readonly isMet: () => boolean; readonly resume: () => void } | undefined;

  /** @param onLeave called when this send finishes, with the send before it */
  constructor(audience: AudienceOrder, onLeave: (before: SendTurn | undefined) => void) {
    this.#audience = audience;
    this.#before = audience.last;
    this.#onLeave = onLeave;
    if (this.#before) this.#before.#after = this;
  }

  /**
   * Number of times that a send to the audience made progress. While it grows, no send to the
   * audience is stuck, even if the send directly before waits too.
   */
  get progressCount(): number {
    return this.#audience.progressCount;
  }

  /**
   * Resolves when the send before has passed a recipient or has finished. Call it again afterwards.
   *
   * @returns `undefined` if there is nothing to wait for
   */
  waitFor(id: string): Promise<void> | undefined {
    const before = this.#before;
    return !before || before.#cursor >= id ? undefined : before.#until(() => before.#cursor >= id);
  }

  /**
   * Resolves when the send before has completed the page after a recipient, or has finished. Call
   * it again afterwards.
   *
   * @param after the last recipient before the page to read
   * @returns `undefined` if there is nothing to wait for
   */
  waitForPage(after: string): Promise<void> | undefined {
    const before = this.#before;
    return !before || before.#pageEnd > after ? undefined : before.#until(() => before.#pageEnd > after);
  }

  /** Removes the send before from the order, because it made no progress for too long. */
  removeSendBefore(): void {
    const before = this.#before;
    if (before) before.#remove();
  }

  /** Records that a recipient was processed. */
  advance(id: string): void {
    this.#cursor = id;
    this.#advanced();
  }

  /** Records that a page was completed, up to the recipient that was passed last. */
  completePage(): void {
    this.#pageEnd = this.#cursor;
    this.#advanced();
  }

  /** Removes this send from the order. */
  leave(): void {
    this.#remove();
  }

  #until(isMet: () => boolean): Promise<void> {
    return new Promise((resume) => {
      this.#waiter = { isMet, resume };
    });
  }

  #advanced(): void {
    this.#audience.progressCount++;
    if (this.#waiter?.isMet()) this.#resumeNext();
  }

  #remove(): void {
    if (this.#isRemoved) return;
    this.#isRemoved = true;
    this.#audience.progressCount++;
    if (this.#before) this.#before.#after = this.#after;
    if (this.#after) this.#after.#before = this.#before;
    this.#onLeave(this.#before);
    this.#resumeNext();
  }

  #resumeNext(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resume();
  }
}
