import { RefusedError } from "../errors.ts";
import type { Limits } from "./rate-limits.ts";

/** When a message may be sent again, in seconds. How long handlers take is not known. */
const RETRY_AFTER_SECONDS = 1;

/** The number of messages in flight, by connection or by user. A key without messages takes no memory. */
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

/** A message from its arrival until its answer was sent. */
export class MessageInFlight {
  readonly #counts: MessagesInFlight;
  readonly #connection: string;
  #user: string | undefined;
  #isOver = false;

  /** @param connection the key of its connection */
  constructor(counts: MessagesInFlight, connection: string) {
    this.#counts = counts;
    this.#connection = connection;
  }

  /**
   * Counts the message for its user, once the user is known.
   *
   * @throws RefusedError with 429 if the user has too many messages in flight
   */
  countFor(userId: string | null): void {
    if (userId === null || this.#user !== undefined) return;
    this.#counts.enterUser(userId);
    this.#user = userId;
  }

  /** The message was answered. */
  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#counts.leave(this.#connection, this.#user);
  }
}

/**
 * Limits the messages that a process handles at the same time. A message that is over a limit is rejected at once, so that no queue grows.
 *
 * The messages of the process and of a connection are counted before the connection is read from the database.
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
   * @throws RefusedError with 429 if the process or the connection has too many messages in flight
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

  /** Called by {@link MessageInFlight.countFor}. */
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

/** @throws RefusedError with 429 if the limit is reached */
function requireBelow(count: number, limit: number | false, who: string, name: string): void {
  if (limit === false || count < limit) return;
  throw new RefusedError(
    `${who} has ${count} ${count === 1 ? "message" : "messages"} in flight, and ${name} allows ${limit}. ` +
      "Answer messages sooner, or raise the limit.",
    { reason: "limit", status: 429, reply: "Too many messages.", retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
