/**
 * Keeps sends to one audience in their order at each of its sockets, though they are under way together: a later one does not
 * pass the place in the order of ids that the one before it has come to.
 */
export class SendOrder {
  readonly #last = new Map<string, SendPlace>();

  /** @param audience whatever names it */
  enter(audience: string): SendPlace {
    const place = new SendPlace(this.#last.get(audience), () => {
      if (this.#last.get(audience) === place) this.#last.delete(audience);
    });
    this.#last.set(audience, place);
    return place;
  }
}

/** How far a send has come. */
export class SendPlace {
  #before: SendPlace | undefined;
  readonly #left: () => void;
  #cursor = "";
  #isOver = false;
  /** The send after this one, where it has to wait. */
  #follower: { readonly id: string; readonly goOn: () => void } | undefined;

  constructor(before: SendPlace | undefined, left: () => void) {
    this.#before = before;
    this.#left = left;
  }

  /** Waits until the send before has passed a recipient, or is over: undefined when it has. */
  mayPass(id: string): Promise<void> | undefined {
    const before = this.#before;
    if (!before) return undefined;
    if (before.#isOver) {
      // What was before it is before us, if it is still there.
      this.#before = before.#before;
      return this.mayPass(id);
    }
    if (before.#cursor >= id) return undefined;
    return new Promise((goOn) => {
      before.#follower = { id, goOn };
    });
  }

  /** Notes that a recipient was dealt with. */
  passed(id: string): void {
    this.#cursor = id;
    if (this.#follower && this.#follower.id <= id) this.#callFollower();
  }

  leave(): void {
    this.#isOver = true;
    this.#left();
    this.#callFollower();
  }

  #callFollower(): void {
    const follower = this.#follower;
    this.#follower = undefined;
    follower?.goOn();
  }
}
