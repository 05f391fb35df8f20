/**
 * Keeps sends to one audience in their order at each of its connections, though they are in progress together: a later one does not
 * pass the place in the order of ids that the one before it has reached.
 */
export class SendOrder {
  readonly #audiences = new Map<string, Audience>();

  /** @param key names the audience */
  enter(key: string): SendTurn {
    const audience = this.#audiences.get(key) ?? { last: undefined, moves: 0 };
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

interface Audience {
  last: SendTurn | undefined;
  /** How often one of its sends has come further. */
  moves: number;
}

/** How far a send has come. Those in progress refer to their neighbours only. */
export class SendTurn {
  readonly #audience: Audience;
  readonly #left: (before: SendTurn | undefined) => void;
  #before: SendTurn | undefined;
  #after: SendTurn | undefined;
  #cursor = "";
  /** The last recipient of the last page that was handed over completely. */
  #pageEnd = "";
  #isOut = false;
  /** What the send after this one waits for. */
  #awaited: { readonly isOver: () => boolean; readonly goOn: () => void } | undefined;

  /** @param left is called with the send that is the last one now, if this one was */
  constructor(audience: Audience, left: (before: SendTurn | undefined) => void) {
    this.#audience = audience;
    this.#before = audience.last;
    this.#left = left;
    if (this.#before) this.#before.#after = this;
  }

  /** How often a send to the audience has come further. A send that waits for a send that waits is not stuck while this grows. */
  get moves(): number {
    return this.#audience.moves;
  }

  /** Waits until the send before has passed a recipient, or has finished. Call it again afterwards. @returns undefined if it has */
  mayPass(id: string): Promise<void> | undefined {
    const before = this.#before;
    return !before || before.#cursor >= id ? undefined : before.#until(() => before.#cursor >= id);
  }

  /**
   * Waits until the send before has handed over the page after a recipient, or has finished. Call it again afterwards.
   *
   * @param after the last recipient before the page that is to be read
   * @returns undefined if it has
   */
  mayRead(after: string): Promise<void> | undefined {
    const before = this.#before;
    return !before || before.#pageEnd > after ? undefined : before.#until(() => before.#pageEnd > after);
  }

  /** The one before has not moved for too long: no send waits for it any more. */
  goAhead(): void {
    const before = this.#before;
    if (before) before.#stepOut();
  }

  /** Notes that a recipient was dealt with. */
  passed(id: string): void {
    this.#cursor = id;
    this.#moved();
  }

  /** Notes that a page was handed over completely, up to the recipient that was passed last. */
  pageDone(): void {
    this.#pageEnd = this.#cursor;
    this.#moved();
  }

  leave(): void {
    this.#stepOut();
  }

  #until(isOver: () => boolean): Promise<void> {
    return new Promise((goOn) => {
      this.#awaited = { isOver, goOn };
    });
  }

  #moved(): void {
    this.#audience.moves++;
    if (this.#awaited?.isOver()) this.#callOn();
  }

  #stepOut(): void {
    if (this.#isOut) return;
    this.#isOut = true;
    this.#audience.moves++;
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
