import type { Limits } from "./rate-limits.ts";
import { reachedLimit, WINDOW_MS } from "./rate-limits.ts";

/** Whose message it is. */
export interface MessageOrigin {
  /** The id of the connection's row. */
  readonly id: string;
  /** null for an anonymous user, who has no limit of a user. */
  readonly userId: string | null;
}

interface Window {
  startedAt: number;
  count: number;
}

/** The windows of one limit in the memory of this process, by connection or by user. */
class MemoryWindows {
  readonly #limit: number;
  /** Returns a clause such as `User ann has reached messagesPerUser`. */
  readonly #describe: (key: string) => string;
  readonly #windows = new Map<string, Window>();
  #sweptAt = 0;

  constructor(limit: number, describe: (key: string) => string) {
    this.#limit = limit;
    this.#describe = describe;
  }

  /** @throws RefusedError with 429 if the limit is reached */
  check(key: string, now: number): void {
    const window = this.#windows.get(key);
    const isOpen = window !== undefined && now - window.startedAt < WINDOW_MS;
    if ((isOpen ? window.count : 0) < this.#limit) return;
    const leftMs = isOpen ? window.startedAt + WINDOW_MS - now : WINDOW_MS;
    throw reachedLimit(this.#describe(key), this.#limit, leftMs);
  }

  count(key: string, now: number): void {
    if (now - this.#sweptAt > WINDOW_MS) this.#sweep(now);
    const window = this.#windows.get(key);
    if (window && now - window.startedAt < WINDOW_MS) window.count++;
    else this.#windows.set(key, { startedAt: now, count: 1 });
  }

  /** Removes windows that have ended, so that only keys of the last two minutes are kept. */
  #sweep(now: number): void {
    this.#sweptAt = now;
    for (const [key, { startedAt }] of this.#windows)
      if (now - startedAt >= WINDOW_MS) this.#windows.delete(key);
  }
}

/**
 * The limits of messages, counted in the memory of this process: messages are too many to be written.
 *
 * A message that one of the limits denies is counted for none of them.
 */
export class MessageLimits {
  readonly #perConnection: MemoryWindows | undefined;
  readonly #perUser: MemoryWindows | undefined;

  constructor({
    messagesPerConnection,
    messagesPerUser,
  }: Pick<Limits, "messagesPerConnection" | "messagesPerUser">) {
    if (messagesPerConnection !== false) {
      this.#perConnection = new MemoryWindows(
        messagesPerConnection,
        (key) => `Connection ${key} has reached messagesPerConnection`,
      );
    }
    if (messagesPerUser !== false) {
      this.#perUser = new MemoryWindows(messagesPerUser, (key) => `User ${key} has reached messagesPerUser`);
    }
  }

  /**
   * Counts a message for its connection and its user.
   *
   * @throws RefusedError with 429 if one of the limits is reached
   */
  take({ id, userId }: MessageOrigin, now = Date.now()): void {
    this.#perConnection?.check(id, now);
    if (userId !== null) this.#perUser?.check(userId, now);
    this.#perConnection?.count(id, now);
    if (userId !== null) this.#perUser?.count(userId, now);
  }
}
