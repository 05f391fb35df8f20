import type { HandlerLimits } from "../views/limits.ts";
import type { LimitSettings } from "./limit-settings.ts";
import { reachedLimit, WINDOW_MS } from "./rate-limits.ts";

/** Where a message comes from. */
export interface MessageOrigin {
  /** The id of the connection's row. */
  readonly id: string;
  /** null for an anonymous user, who has no limit of a user. */
  readonly userId: string | null;
}

interface Window {
  /** On the monotonic clock, in milliseconds: a window must not last longer when the clock of the machine is set back. */
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

/** The windows that a message or a call of a handler is counted in. */
interface Scope {
  readonly perConnection: MemoryWindows | undefined;
  readonly perUser: MemoryWindows | undefined;
}

/** A handler with limits of its own. */
interface LimitedHandler {
  readonly name: string;
  readonly limits: HandlerLimits;
}

/**
 * The limits of messages, counted in the memory of this process: messages are too many to be written.
 *
 * A message that a limit of the app or the view denies is not counted. One that a limit of its handler denies has been counted for the
 * app or the view, which limit all messages.
 */
export class MessageLimits {
  readonly #settings: LimitSettings;
  /** Shared by the views that use the app's value. */
  readonly #perUser: MemoryWindows | undefined;
  readonly #views = new Map<string, Scope>();
  readonly #handlers = new Map<LimitedHandler, Scope>();

  constructor(settings: LimitSettings) {
    this.#settings = settings;
    this.#perUser = windowsOf("User", "messagesPerUser", settings.app.messagesPerUser);
  }

  /**
   * Counts a message at a view for its connection and its user.
   *
   * @param now on the monotonic clock, in milliseconds
   * @throws RefusedError with 429 if one of the limits is reached
   */
  take(view: string, origin: MessageOrigin, now = performance.now()): void {
    take(this.#scopeOfView(view), origin, now);
  }

  /**
   * Counts a call of a handler for its connection and its user, where the handler has limits of its own.
   *
   * @param view path of the view that has the handler
   * @param now on the monotonic clock, in milliseconds
   * @throws RefusedError with 429 if one of the limits is reached
   */
  takeCall(view: string, handler: LimitedHandler, origin: MessageOrigin, now = performance.now()): void {
    take(this.#scopeOfHandler(view, handler), origin, now);
  }

  #scopeOfView(view: string): Scope {
    let scope = this.#views.get(view);
    if (!scope) {
      const connection = this.#settings.at(view, "messagesPerConnection");
      const user = this.#settings.at(view, "messagesPerUser");
      const ofView = ` of view ${view}`;
      scope = {
        perConnection: windowsOf(
          "Connection",
          `messagesPerConnection${connection.view === null ? "" : ofView}`,
          connection.value,
        ),
        perUser:
          user.view === null ? this.#perUser : windowsOf("User", `messagesPerUser${ofView}`, user.value),
      };
      this.#views.set(view, scope);
    }
    return scope;
  }

  #scopeOfHandler(view: string, handler: LimitedHandler): Scope {
    let scope = this.#handlers.get(handler);
    if (!scope) {
      const { messagesPerConnection = false, messagesPerUser = false } = handler.limits;
      const ofHandler = ` of handler ${handler.name} of view ${view}`;
      scope = {
        perConnection: windowsOf("Connection", `messagesPerConnection${ofHandler}`, messagesPerConnection),
        perUser: windowsOf("User", `messagesPerUser${ofHandler}`, messagesPerUser),
      };
      this.#handlers.set(handler, scope);
    }
    return scope;
  }
}

function take({ perConnection, perUser }: Scope, { id, userId }: MessageOrigin, now: number): void {
  perConnection?.check(id, now);
  if (userId !== null) perUser?.check(userId, now);
  perConnection?.count(id, now);
  if (userId !== null) perUser?.count(userId, now);
}

function windowsOf(
  who: "Connection" | "User",
  name: string,
  limit: number | false,
): MemoryWindows | undefined {
  return limit === false ? undefined : new MemoryWindows(limit, (key) => `${who} ${key} has reached ${name}`);
}
