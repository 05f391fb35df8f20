import { type Decision, formatDenial } from "../../index.ts";
import type { HandledEvent } from "../../local/emulator.ts";
import type { Sallyport } from "../../sallyport.ts";
import { namesOf } from "../find-user.ts";

/** Maximum number of connections for which the user is kept. */
const MAX_KNOWN = 10_000;
/** Characters of a name from a client that are printed. */
const MAX_NAME = 100;

/** What is printed of an event. */
export interface DevEvent {
  /** Path of the view. On a custom route, the route key, because the function selects the view. */
  readonly view: string;
  readonly connectionId: string;
  /** `connected`, `disconnected`, or the handler of a message. */
  readonly action: string;
  /** The status for the client. */
  readonly status: number;
  readonly tookMs: number;
  /** The reference of a denial or error, or undefined. */
  readonly reference: string | undefined;
}

/**
 * Returns what is printed of an event, or undefined for an event without an answer, which is
 * reported as an error.
 *
 * @param view path of the view that the event was sent to
 */
export function devEvent(event: HandledEvent, view: string): DevEvent | undefined {
  const { status, connectionId, tookMs } = event;
  if (status === undefined) return undefined;
  const answer = parsed(event.response);
  const reference = typeof answer?.reference === "string" ? answer.reference : undefined;
  return {
    ...{ connectionId, reference, tookMs: Math.round(tookMs), action: actionOf(event) },
    view: event.routeKey.startsWith("$") ? view : quotedName(event.routeKey),
    status: answer && reference !== undefined ? statusOf(status, answer) : status,
  };
}

/**
 * Returns the status for the client. The answer to a message that was denied or failed has status
 * 200 for API Gateway, and the status for the client in its body.
 */
function statusOf(status: number, answer: Readonly<Record<string, unknown>>): number {
  if (status !== 200 || answer.ok !== false) return status;
  if (typeof answer.status === "number") return answer.status;
  // A message without an id is answered without a status.
  return answer.error === "Internal error." ? 500 : 400;
}

/** Returns what a client did: the handler of a message, or the kind of the event. */
function actionOf({ kind, query, body }: HandledEvent): string {
  if (kind === "disconnect") return "disconnected";
  if (kind === "connect") {
    const channel = new URLSearchParams(query).get("channel");
    return channel === null ? "connected" : `connected to ${quotedName(channel)}`;
  }
  const message = parsed(body);
  const name = message?.handler ?? message?.action;
  return typeof name === "string" ? quotedName(name) : "message";
}

/** Returns a name, quoted if it could be read as another part of the line. */
function quotedName(name: string): string {
  const shown = name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}…` : name;
  return /^[^\s"()]+$/u.test(shown) ? shown : JSON.stringify(shown);
}

/** Returns the fields of a JSON object, or undefined for anything else. */
function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Names the users of connections and decisions in lines. */
export class EventLines {
  readonly #sallyport: Sallyport;
  /** Names of users by the connection id of API Gateway. */
  readonly #users = new Map<string, string>();

  constructor(sallyport: Sallyport) {
    this.#sallyport = sallyport;
  }

  /** Returns a line such as `200 ann@example.com /ws/chat send_message 12 ms`. */
  async ofEvent({ status, connectionId, view, action, tookMs, reference }: DevEvent): Promise<string> {
    const why = reference === undefined ? "" : ` (why: ${reference})`;
    return `${status} ${await this.#userOf(connectionId)} ${view} ${action} ${tookMs} ms${why}`;
  }

  /** Returns the line of a denial or revocation. */
  async ofDenial(decision: Decision): Promise<string> {
    const { userId, event, connectionId } = decision;
    if (userId === undefined) {
      // A message is denied before its connection is read if it has no valid form.
      if (event !== "message" || connectionId === undefined) return formatDenial(decision);
      const user = await this.#userOf(connectionId).catch(() => "-");
      return formatDenial(user === "-" || user === "anonymous" ? decision : { ...decision, userId: user });
    }
    const names = await namesOf(this.#sallyport, [userId]).catch(() => undefined);
    return formatDenial({ ...decision, userId: names?.label(userId) ?? userId });
  }

  async #userOf(connectionId: string): Promise<string> {
    const known = this.#users.get(connectionId);
    if (known !== undefined) return known;
    if (this.#users.size > MAX_KNOWN) this.#users.clear();
    this.#users.set(connectionId, "-");
    const open = await this.#sallyport.listConnections({ limit: 1000 });
    const unknown = open.filter((one) => (this.#users.get(one.connectionId) ?? "-") === "-");
    const names = await namesOf(
      this.#sallyport,
      unknown.map(({ user }) => user),
    );
    for (const { connectionId: id, user } of unknown)
      this.#users.set(id, user === null ? "anonymous" : quotedName(names.label(user) ?? user));
    return this.#users.get(connectionId) ?? "-";
  }
}
