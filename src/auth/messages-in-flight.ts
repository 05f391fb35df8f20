import { TooManyRequestsError } from "../errors.ts";
import type { Limits } from "./limit-options.ts";

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
