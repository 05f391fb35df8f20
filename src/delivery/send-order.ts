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
  #isOver = false;
  #waitsForNobody = false;
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
    if (!before || this.#waitsForNobody || before.#cursor >= id) return undefined;
    return new Promise((goOn) => {
      before.#awaited = { id, goOn };
    });
  }

  /** Waits for nobody any more: the one before has not moved for too long. */
  goAhead(): void {
    this.#waitsForNobody = true;
  }

  /** Notes that a recipient was dealt with. */
  passed(id: string): void {
    this.#cursor = id;
    if (this.#awaited && this.#awaited.id <= id) this.#callOn();
  }

  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
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
