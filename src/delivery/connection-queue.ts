import { noRefusals, type Refusals } from "./throttling.ts";

/** Messages that can wait for one connection. */
export const MAX_QUEUED_MESSAGES = 256;
/** Characters of the messages that can wait for one connection. A message has at most 131 072. */
export const MAX_QUEUED_CHARACTERS = 1024 * 1024;
/** Senders that can wait for a place in the queue of one connection. With more of them, the connection is too slow. */
const MAX_WAITING_SENDERS = 16;
/** The calls in a row that were not accepted after which no sender waits for a place. */
const STUCK_REFUSALS = 3;

/** A sender that waits for the capacity to post a message. */
export interface Waiting {
  /** Resolves when the sender should try again. */
  readonly ready: Promise<void>;
  /** Stops waiting. Call it also when {@link ready} has resolved. */
  leave(): void;
}

/** The posts to one connection. One call is in flight at a time, and the number of posts that wait is limited. */
export class ConnectionQueue<Post> {
  slot = 0;
  /** The last ordinary post, and the last urgent one. */
  last: Post | undefined;
  urgent: Post | undefined;
  /** The call in flight. */
  calling: Promise<unknown> | undefined;
  #refusals: Refusals | undefined;
  #posts = 0;
  #urgentPosts = 0;
  #characters = 0;
  #isTooSlow = false;
  /** Called for each sender that waits for a place, in their order. */
  #waiting: Set<() => void> | undefined;

  /** undefined for most connections, which are never refused. */
  get refusals(): Refusals | undefined {
    return this.#refusals;
  }

  get hasUrgent(): boolean {
    return this.#urgentPosts > 0;
  }

  /** Whether it is given up because its client does not read. */
  get isTooSlow(): boolean {
    return this.#isTooSlow;
  }

  get isFull(): boolean {
    return (
      this.#posts - this.#urgentPosts >= MAX_QUEUED_MESSAGES || this.#characters >= MAX_QUEUED_CHARACTERS
    );
  }

  /** Whether senders do not wait for a place: calls are not accepted, or too many senders wait already. */
  get isStuck(): boolean {
    return this.isRefused || (this.#waiting?.size ?? 0) >= MAX_WAITING_SENDERS;
  }

  get isRefused(): boolean {
    return (this.#refusals?.inRow ?? 0) >= STUCK_REFUSALS;
  }

  /** Counts a call that was not accepted. @param count adds it to the refusals of the connection */
  refused<Result>(count: (refusals: Refusals) => Result): Result {
    this.#refusals ??= noRefusals();
    const result = count(this.#refusals);
    if (this.isRefused) this.#wakeAll();
    return result;
  }

  add(post: Post, isUrgent: boolean, characters: number): void {
    this.#posts++;
    if (isUrgent) {
      this.#urgentPosts++;
      this.urgent = post;
    } else {
      this.#characters += characters;
      this.last = post;
    }
  }

  /** @returns whether the queue is empty now */
  remove(isUrgent: boolean, characters: number): boolean {
    this.#posts--;
    if (isUrgent) this.#urgentPosts--;
    else this.#characters -= characters;
    // Each of them, because the first one may not use the place, and no other post may follow that wakes the rest.
    if (!this.isFull) this.#wakeAll();
    return this.#posts === 0;
  }

  /** Waits for a place in a queue that is full. Call it again afterwards. @returns undefined if no sender has to wait */
  place(): Waiting | undefined {
    if (!this.isFull || this.isStuck || this.#isTooSlow) return undefined;
    this.#waiting ??= new Set();
    const waiting = this.#waiting;
    let wake: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => {
      wake = () => resolve();
    });
    waiting.add(wake);
    return { ready, leave: () => void waiting.delete(wake) };
  }

  /** Marks the connection as too slow: no sender waits for it any more. */
  endTooSlow(): void {
    this.#isTooSlow = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#waiting ?? []) wake();
    this.#waiting?.clear();
  }
}
