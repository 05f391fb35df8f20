import type { GatewayEvent } from "./events.ts";
import type { Outcome } from "./integration.ts";

/** An event that an integration was called for, as `onEvent` receives it. */
export interface HandledEvent {
  readonly kind: "connect" | "message" | "disconnect";
  readonly routeKey: string;
  readonly apiId: string;
  readonly stage: string;
  readonly connectionId: string;
  /** What became of the call. Only an answer has a status. */
  readonly outcome: Outcome["kind"];
  /** The HTTP status of the answer, or undefined without an answer. */
  readonly status: number | undefined;
  /** Duration of the call, in milliseconds. */
  readonly tookMs: number;
  /** The query of the WebSocket URL for `connect`, otherwise an empty text. */
  readonly query: string;
  /** The message of the client as UTF-8, otherwise an empty text. */
  readonly body: string;
  /** The body of the answer as UTF-8, or an empty text without one. */
  readonly response: string;
}

/** Returns the description of an event after its call. */
export function handledEvent(event: GatewayEvent, outcome: Outcome, tookMs: number): HandledEvent {
  const { kind, routeKey, place, connection } = event;
  return {
    kind,
    routeKey,
    apiId: place.apiId,
    stage: place.stage,
    connectionId: connection.id,
    outcome: outcome.kind,
    status: outcome.kind === "answered" ? outcome.status : undefined,
    tookMs,
    query: event.kind === "connect" ? event.client.query : "",
    body: event.kind === "message" ? event.body.toString() : "",
    response: outcome.kind === "answered" ? (outcome.body?.toString() ?? "") : "",
  };
}
