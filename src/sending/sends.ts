import { SendCapacity } from "./send-capacity.ts";
import { SendOrder } from "./send-order.ts";

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
