import { type Decision, formatDenial } from "../../index.ts";
import type { HandledEvent } from "../../local/emulator.ts";
import type { Sallyport } from "../../sallyport.ts";
import { namesOf } from "../find-user.ts";

/** Number of ended connections whose users are kept, for events that arrive after the end. */
const MAX_KNOWN = 10_000;

/** Names the users of connections and decisions in lines. */
export class EventLines {
  readonly #sallyport: Sallyport;
  /** Names of users by the connection id of API Gateway. */
  readonly #users = new Map<string, string>();

  constructor(sallyport: Sallyport) {
    this.#sallyport = sallyport;
  }

  /**
   * Returns the line of an event that was accepted, such as
   * `200 ann@example.com /ws/chat send_message 12 ms`, or undefined for a denied event, whose
   * decision is printed instead.
   *
   * @param view path of the view that the event was sent to
   */
  async ofEvent(event: HandledEvent, view: string): Promise<string | undefined> {
    const ms = `${Math.round(event.tookMs)} ms`;
    const status = statusOf(event);
    if (status === undefined) return `--- ${view} ${actionOf(event)} ${OUTCOMES[event.outcome]} ${ms}`;
    if (DENIED_STATUSES.has(status)) return undefined;
    return `${status} ${await this.#userOf(event.connectionId)} ${view} ${actionOf(event)} ${ms}`;
  }

  /** Returns the line of a denial or revocation. */
  async ofDenial(decision: Decision): Promise<string> {
    const { userId } = decision;
    return formatDenial(userId === undefined ? decision : { ...decision, userId: await this.#name(userId) });
  }

  async #userOf(connectionId: string): Promise<string> {
    const known = this.#users.get(connectionId);
    if (known !== undefined) return known;
    const open = await this.#sallyport.listConnections({ limit: 1000 });
    if (this.#users.size > MAX_KNOWN) this.#users.clear();
    for (const { connectionId: id, user } of open) {
      if (!this.#users.has(id)) this.#users.set(id, user === null ? "anonymous" : await this.#name(user));
    }
    return this.#users.get(connectionId) ?? "-";
  }

  async #name(userId: string): Promise<string> {
    return (await namesOf(this.#sallyport, [userId])).label(userId) ?? userId;
  }
}

/** Statuses of events that have a stored denial, which is printed instead. */
const DENIED_STATUSES: ReadonlySet<number> = new Set([400, 401, 403, 413, 429]);

const OUTCOMES: Readonly<Record<string, string>> = {
  unreachable: "did not reach the server",
  "timed out": "was not answered in time",
  failed: "failed",
};

/**
 * Returns the status of an event, or undefined without an answer. The answer to a message that was
 * denied or failed has status 200 for API Gateway, and the status for the client in its body.
 */
function statusOf({ kind, status, response }: HandledEvent): number | undefined {
  const answer = kind === "message" ? parsed(response) : undefined;
  if (status !== 200 || answer?.ok !== false || typeof answer.reference !== "string") return status;
  if (typeof answer.status === "number") return answer.status;
  // A message without an id is answered without a status.
  return answer.error === "Internal error." ? 500 : 400;
}

/** Returns what a client did: the handler of a message, or the kind of the event. */
function actionOf({ kind, query, body }: HandledEvent): string {
  if (kind === "disconnect") return "disconnected";
  if (kind === "connect") {
    const channel = new URLSearchParams(query).get("channel");
    return channel === null ? "connected" : `connected to ${channel}`;
  }
  return handlerOf(body) ?? "message";
}

/** Returns the name of the handler that a message names. */
function handlerOf(body: string): string | undefined {
  const message = parsed(body);
  const name = message?.handler ?? message?.action;
  return typeof name === "string" ? name.slice(0, 100) : undefined;
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
