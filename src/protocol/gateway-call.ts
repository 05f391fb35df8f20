/**
 * One API Gateway event as it reaches an HTTP integration, and the headers that carry what AWS does not send
 * by itself.
 *
 * Source: AWS developer guide, "Set up data mapping for WebSocket APIs"; without a mapping an HTTP integration
 * learns neither the connection id nor the event.
 */

import type { HttpCall } from "./http-call.ts";

/** Header that proves the caller. Provisioning maps it as a literal on every integration. */
export const SECRET_HEADER = "x-sallyport-secret";

/** Headers mapped on every integration, each from a context variable. A mapped header overwrites the client's. */
export const CONTEXT_HEADERS = {
  connectionId: "context.connectionId",
  "x-sallyport-source-ip": "context.identity.sourceIp",
  "x-sallyport-route-key": "context.routeKey",
  "x-sallyport-event-type": "context.eventType",
  "x-sallyport-request-id": "context.requestId",
  "x-sallyport-connected-at": "context.connectedAt",
  "x-sallyport-domain-name": "context.domainName",
  "x-sallyport-stage": "context.stage",
  "x-sallyport-disconnect-code": "context.disconnectStatusCode",
  "x-sallyport-disconnect-reason": "context.disconnectReason",
} as const satisfies Record<string, `context.${string}`>;

/** Header in which API Gateway names the API that called. Anyone can send it: a consistency check, no proof. */
export const API_ID_HEADER = "x-amzn-apigateway-api-id";

/** A connection id as AWS makes them: base64url, padded, 16 characters today; 7 to 127 and the padding here. */
export function isConnectionId(text: string): boolean {
  // Asked of every event: bounds in the expression would cost more than all the rest of it.
  const most = text.endsWith("=") ? 128 : 127;
  return text.length <= most && /^[A-Za-z0-9_-]{7}[A-Za-z0-9_-]*=?$/.test(text);
}

/** Query parameter of the socket's URL that carries the single-use token. */
export const TOKEN_PARAMETER = "ws_token";

/** Query parameter of the socket's URL that names the channel to join. */
export const CHANNEL_PARAMETER = "channel";

/** What every event says of itself, whatever it is. */
interface GatewayEvent {
  /** Unproven until the caller has been checked. */
  readonly connectionId: string;
  /** Whether the way it came proves its API and stage, so that no secret is needed. */
  readonly isInvocation: boolean;
  /** The presented secret, or undefined where none came. */
  readonly secret: string | undefined;
  readonly apiId: string | undefined;
  readonly stage: string | undefined;
  /** The socket's peer as API Gateway saw it. */
  readonly sourceIp: string | undefined;
  readonly requestId: string | undefined;
}

/** `$connect`: the socket is not open yet; the answer decides whether it will be. */
export interface ConnectCall extends GatewayEvent {
  readonly kind: "connect";
  readonly origin: string | undefined;
  readonly token: string | undefined;
  readonly channel: string | undefined;
}

/** A text message from an open socket. */
export interface MessageCall extends GatewayEvent {
  readonly kind: "message";
}

/** `$disconnect`: the socket has closed. Best effort: it may come late, twice or never. */
export interface DisconnectCall extends GatewayEvent {
  readonly kind: "disconnect";
  readonly code: number | undefined;
  readonly reason: string | undefined;
}

export type GatewayCall = ConnectCall | MessageCall | DisconnectCall;

/** Reads the event out of an integration's HTTP request. Nothing in the result is trusted yet. */
export function decodeGatewayCall(kind: GatewayCall["kind"], http: HttpCall): GatewayCall {
  const header = (name: string) => http.header(name);
  const { invokedBy } = http;
  const message: MessageCall = {
    kind: "message",
    connectionId: header("connectionId") ?? "",
    isInvocation: invokedBy !== undefined,
    secret: header(SECRET_HEADER),
    apiId: invokedBy?.apiId ?? header(API_ID_HEADER),
    stage: invokedBy?.stage ?? header("x-sallyport-stage"),
    sourceIp: header("x-sallyport-source-ip"),
    requestId: header("x-sallyport-request-id"),
  };
  if (kind === "message") return message;
  const event: GatewayEvent = message;
  if (kind === "disconnect") {
    const code = closeCode(header("x-sallyport-disconnect-code"));
    return { ...event, kind, code, reason: header("x-sallyport-disconnect-reason") };
  }
  const query = http.url.searchParams;
  return {
    ...event,
    kind,
    origin: header("origin"),
    token: query.get(TOKEN_PARAMETER) ?? undefined,
    channel: query.get(CHANNEL_PARAMETER) ?? undefined,
  };
}

/** Returns when the connection of an event was opened, in epoch milliseconds of API Gateway's clock. Undefined: it is not mapped. */
export function connectedAt(http: HttpCall): number | undefined {
  const text = http.header("x-sallyport-connected-at") ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Source: RFC 6455 §7.4, an unsigned integer of two bytes. */
function closeCode(text: string | undefined): number | undefined {
  const code = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return code <= 65_535 ? code : undefined;
}
