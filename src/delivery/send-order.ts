/**
 * Keeps sends to one audience in their order at each of its sockets, though they are under way together: a later one does not
 * pass the place in the order of ids that the one before it has come to.
 */
export class SendOrder {
  readonly #last = new Map<string, SendPlace>();

  /** @param audience whatever names it */
  enter(audience: string): SendPlace {
    const place = new SendPlace(this.#last.get(audience), (before) => {
      if (this.#last.get(audience) !== place) return;
      if (before) this.#last.set(audience, before);
      else this.#last.delete(audience);
    });
    this.#last.set(audience, place);
    return place;
  }
}

/** How far a send has come. Those that are under way know their neighbours, and nobody who has left. */
export class SendPlace {
  #before: SendPlace | undefined;
  #after: SendPlace | undefined;
  readonly #left: (before: SendPlace | undefined) => void;
  #cursor = "";
  #isOut = false;
  /** What the send after this one waits for. */
  #awaited: { readonly id: string; readonly goOn: () => void } | undefined;

  /** @param left told who is the last one now, if this one was */
  constructor(before: SendPlace | undefined, left: (before: SendPlace | undefined) => void) {
    this.#before = before;
    this.#left = left;
    if (before) before.#after = this;
  }

  /** Waits until the send before has passed a recipient, or is over: undefined when it has. Ask again afterwards. */
  mayPass(id: string): Promise<void> | undefined {
    const before = this.#before;
    if (!before || before.#cursor >= id) return undefined;
    return new Promise((goOn) => {
      before.#awaited = { id, goOn };
    });
  }

  /** The one before has not moved for too long: nobody waits for it any more. */
  goAhead(): void {
    const before = this.#before;
    if (before) before.#stepOut();
  }

  /** Notes that a recipient was dealt with. */
  passed(id: string): void {
    this.#cursor = id;
    if (this.#awaited && this.#awaited.id <= id) this.#callOn();
  }

  leave(): void {
    this.#stepOut();
  }

  #stepOut(): void {
    if (this.#isOut) return;
    this.#isOut = true;
    if (this.#before) this.#before.#after = this.#after;
    if (this.#after) this.#after.#before = this.#before;
    this.#left(this.#before);
    this.#callOn();
  }

  #callOn(): void {
    const awaited = this.#awaited;
    this.#awaited = undefined;
    awaited?.goOn();
  }
}
