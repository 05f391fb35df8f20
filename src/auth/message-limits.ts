import { TooManyRequestsError } from "../errors.ts";
import { WINDOW_MS } from "../storage/stores/limits.ts";
import type { HandlerLimits } from "../views/limits.ts";
import { type LimitSettings, type Limits, reachedLimit } from "./limits.ts";

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

/** The value of Retry-After, in seconds. The duration of handlers is not known. */
const RETRY_AFTER_SECONDS = 1;

/** Counts messages in flight, by connection or by user. A key without messages uses no memory. */
class Counter {
  readonly #counts = new Map<string, number>();

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  add(key: string): void {
    this.#counts.set(key, this.of(key) + 1);
  }

  remove(key: string): void {
    const left = this.of(key) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }
}

/** A message in flight: from its arrival until its response was sent. */
export class MessageInFlight {
  readonly #counts: MessagesInFlight;
  readonly #connection: string;
  #user: string | undefined;
  #hasLeft = false;

  /** @param connection the key of the connection */
  constructor(counts: MessagesInFlight, connection: string) {
    this.#counts = counts;
    this.#connection = connection;
  }

  /**
   * Counts the message for its user. Call it when the user is known.
   *
   * @throws RequestError with 429 if the user has too many messages in flight
   */
  countUser(userId: string | null): void {
    if (userId === null || this.#user !== undefined) return;
    this.#counts.enterUser(userId);
    this.#user = userId;
  }

  /**
   * Ends the count of the message. Call it when the response was sent. Further calls do nothing.
   */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#counts.leave(this.#connection, this.#user);
  }
}

/**
 * Limits the number of messages that a process handles at the same time.
 *
 * A message that exceeds a limit is rejected immediately, so no queue grows. The limits of the
 * process and of the connection are checked before the connection is read from the database.
 */
export class MessagesInFlight {
  readonly #limits: Limits;
  readonly #connections = new Counter();
  readonly #users = new Counter();
  #count = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * Counts a message that has arrived.
   *
   * @throws RequestError with 429 if the process or the connection has too many messages in flight
   */
  enter(gatewayId: string, connectionId: string): MessageInFlight {
    const { messagesInFlightPerProcess, messagesInFlightPerConnection } = this.#limits;
    const connection = `${gatewayId} ${connectionId}`;
    requireBelow(this.#count, messagesInFlightPerProcess, "This process", "messagesInFlightPerProcess");
    requireBelow(
      this.#connections.of(connection),
      messagesInFlightPerConnection,
      `Connection ${connectionId}`,
      "messagesInFlightPerConnection",
    );
    this.#count++;
    this.#connections.add(connection);
    return new MessageInFlight(this, connection);
  }

  /** Called by {@link MessageInFlight.countUser}. */
  enterUser(userId: string): void {
    const { messagesInFlightPerUser } = this.#limits;
    requireBelow(
      this.#users.of(userId),
      messagesInFlightPerUser,
      `User ${userId}`,
      "messagesInFlightPerUser",
    );
    this.#users.add(userId);
  }

  /** Called by {@link MessageInFlight.leave}. */
  leave(connection: string, userId: string | undefined): void {
    this.#count--;
    this.#connections.remove(connection);
    if (userId !== undefined) this.#users.remove(userId);
  }
}

/**
 * Checks that a count is below a limit.
 *
 * @param subject the first words of the message, such as `User ann`
 * @param name the name of the limit
 * @throws RequestError with 429 if the limit is reached
 */
function requireBelow(count: number, limit: number | false, subject: string, name: string): void {
  if (limit === false || count < limit) return;
  throw new TooManyRequestsError(
    `${subject} has ${count} ${count === 1 ? "message" : "messages"} in flight, and ${name} allows ${limit}. ` +
      "Make the handlers faster, or raise the limit.",
    { reason: "limit", clientMessage: "Too many messages.", retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
