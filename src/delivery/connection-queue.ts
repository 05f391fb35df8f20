import { noRejections, type Rejections } from "./rate-limiter.ts";

/** Maximum number of messages that can wait for one connection. */
export const MAX_QUEUED_MESSAGES = 256;
/** Maximum number of characters that can wait for one connection. A message has at most 131 072. */
export const MAX_QUEUED_CHARACTERS = 1024 * 1024;
/** Maximum number of senders that can wait for a place. With more, the connection is too slow. */
const MAX_WAITING_SENDERS = 16;
/** Number of consecutive rejected calls after which no sender waits for a place. */
const STUCK_REJECTIONS = 3;

/** A sender that waits for the capacity to post a message. */
export interface Waiting {
  /** Resolves when the sender should try again. */
  readonly ready: Promise<void>;
  /** Stops waiting. Call it also when {@link ready} has resolved. */
  leave(): void;
}

/**
 * The posts to one connection. Only one call is in flight at a time. The number of waiting posts is
 * limited.
 */
export class ConnectionQueue<Post> {
  slot = 0;
  /** The last normal post. `urgent` is the last urgent post. */
  last: Post | undefined;
  urgent: Post | undefined;
  /** The call in flight. */
  calling: Promise<unknown> | undefined;
  #rejections: Rejections | undefined;
  #posts = 0;
  #urgentPosts = 0;
  #characters = 0;
  #isTooSlow = false;
  /** One callback per sender that waits for a place, in their order. */
  #waiting: Set<() => void> | undefined;

  /** Rejections of the connection. `undefined` for most connections, which have none. */
  get rejections(): Rejections | undefined {
    return this.#rejections;
  }

  get hasUrgent(): boolean {
    return this.#urgentPosts > 0;
  }

  /** Whether no more messages are sent, because the client does not read. */
  get isTooSlow(): boolean {
    return this.#isTooSlow;
  }

  get isFull(): boolean {
    return (
      this.#posts - this.#urgentPosts >= MAX_QUEUED_MESSAGES || this.#characters >= MAX_QUEUED_CHARACTERS
    );
  }

  /** Whether senders must not wait for a place: calls are rejected, or too many senders wait. */
  get isStuck(): boolean {
    return this.isRejected || (this.#waiting?.size ?? 0) >= MAX_WAITING_SENDERS;
  }

  get isRejected(): boolean {
    return (this.#rejections?.consecutiveFailures ?? 0) >= STUCK_REJECTIONS;
  }

  /**
   * Counts a rejected call.
   *
   * @param count adds the call to the rejections of the connection
   */
  rejected<Result>(count: (rejections: Rejections) => Result): Result {
    this.#rejections ??= noRejections();
    const result = count(this.#rejections);
    if (this.isRejected) this.#wakeAll();
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

  /** Removes a post. @returns whether the queue is empty now */
  remove(isUrgent: boolean, characters: number): boolean {
    this.#posts--;
    if (isUrgent) this.#urgentPosts--;
    else this.#characters -= characters;
    // Wake all senders: the first one may not use the place, and no later post may wake the others.
    if (!this.isFull) this.#wakeAll();
    return this.#posts === 0;
  }

  /**
   * Waits for a place if the queue is full. Call it again afterwards.
   *
   * @returns `undefined` if the sender does not have to wait
   */
  waitForPlace(): Waiting | undefined {
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

  /** Marks the connection as too slow, so that no sender waits for it. */
  endTooSlow(): void {
    this.#isTooSlow = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#waiting ?? []) wake();
    this.#waiting?.clear();
  }
}
