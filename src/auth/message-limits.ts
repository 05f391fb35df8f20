import { WINDOW_MS } from "../storage/stores/limits.ts";
import type { HandlerLimits } from "../views/limits.ts";
import { reachedLimit } from "./limit-errors.ts";
import type { LimitSettings } from "./limit-settings.ts";

/** The connection and the user that a message comes from. */
export interface MessageOrigin {
  /** The id of the connection's row. */
  readonly id: string;
  /** null for an anonymous user. Limits per user do not apply to anonymous users. */
  readonly userId: string | null;
}

interface Window {
  /**
   * Monotonic time in milliseconds. A window must not last longer if the system clock is set back.
   */
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

  /**
   * Checks the limit without counting a message.
   *
   * @throws RequestError with 429 if the limit is reached
   */
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

/** A handler that sets limits. */
interface LimitedHandler {
  readonly name: string;
  readonly limits: HandlerLimits;
}

/**
 * The limits of messages. They are counted in memory, because a write per message would be too
 * slow.
 *
 * A message that exceeds a limit of the app or the view is not counted. A message that only exceeds
 * a limit of its handler is counted for the app or the view.
 */
export class MessageLimits {
  readonly #settings: LimitSettings;
  /** Shared by the views that use the value of the app. */
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
   * @param now monotonic time in milliseconds
   * @throws RequestError with 429 if one of the limits is reached
   */
  take(view: string, origin: MessageOrigin, now = performance.now()): void {
    take(this.#scopeOfView(view), origin, now);
  }

  /**
   * Counts a call of a handler with limits, for its connection and its user.
   *
   * @param view path of the view of the handler
   * @param now monotonic time in milliseconds
   * @throws RequestError with 429 if one of the limits is reached
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
  subject: "Connection" | "User",
  name: string,
  limit: number | false,
): MemoryWindows | undefined {
  return limit === false
    ? undefined
    : new MemoryWindows(limit, (key) => `${subject} ${key} has reached ${name}`);
}
