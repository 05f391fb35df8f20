/**
 * An API Gateway event as an HTTP integration receives it, and the mapped headers of such an event.
 *
 * Without a mapping, an HTTP integration receives neither the connection id nor the event type.
 * Source: AWS developer guide, "Set up data mapping for WebSocket APIs".
 */

import type { HttpRequest } from "./http.ts";

/**
 * Header that authenticates the gateway. Provisioning maps it as a literal on every integration.
 */
export const SECRET_HEADER = "x-sallyport-secret";

/**
 * Headers of every integration, mapped from context variables. They overwrite headers of the
 * client.
 */
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

/** Header with the API id. Any client can send it, so it does not authenticate the gateway. */
export const API_ID_HEADER = "x-amzn-apigateway-api-id";

/**
 * Returns whether a text has the form of a connection id of AWS: base64url with padding.
 *
 * Ids of AWS have 16 characters today. 7 to 127 characters and the padding are accepted.
 */
export function isConnectionId(text: string): boolean {
  // Runs for every event: length bounds in the expression would cost more than the rest of it.
  const maxLength = text.endsWith("=") ? 128 : 127;
  return text.length <= maxLength && /^[A-Za-z0-9_-]{7}[A-Za-z0-9_-]*=?$/.test(text);
}

/** Query parameter of the WebSocket URL with the single-use token. */
export const TOKEN_PARAMETER = "ws_token";

/** Query parameter of the WebSocket URL with the channel to join. */
export const CHANNEL_PARAMETER = "channel";

/** The fields that all events have. */
interface GatewayEvent {
  /** Not trusted until the gateway is authenticated. */
  readonly connectionId: string;
  /** Whether the invocation itself proves API and stage, so that no secret is needed. */
  readonly isInvocation: boolean;
  /** The secret in the header, or `undefined`. */
  readonly secret: string | undefined;
  readonly apiId: string | undefined;
  readonly stage: string | undefined;
  /** Address of the client, as API Gateway received it. */
  readonly sourceIp: string | undefined;
  readonly requestId: string | undefined;
}

/** `$connect`. The connection is not open yet. The response decides whether it opens. */
export interface ConnectCall extends GatewayEvent {
  readonly kind: "connect";
  readonly origin: string | undefined;
  readonly token: string | undefined;
  readonly channel: string | undefined;
}

/** A text message from an open connection. */
export interface MessageCall extends GatewayEvent {
  readonly kind: "message";
}

/** `$disconnect`. The connection has closed. The event can arrive late, twice or never. */
export interface DisconnectCall extends GatewayEvent {
  readonly kind: "disconnect";
  readonly code: number | undefined;
  readonly reason: string | undefined;
}

export type GatewayCall = ConnectCall | MessageCall | DisconnectCall;

/** Reads the event from the HTTP request of an integration. The result is not trusted yet. */
export function decodeGatewayCall(kind: GatewayCall["kind"], http: HttpRequest): GatewayCall {
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

/**
 * Returns when the connection of an event was opened, in epoch milliseconds of API Gateway's clock.
 *
 * @returns `undefined` if the header is not mapped
 */
export function connectedAt(http: HttpRequest): number | undefined {
  const text = http.header("x-sallyport-connected-at") ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Returns a close code, which is an unsigned integer of two bytes. Source: RFC 6455 §7.4. */
function closeCode(text: string | undefined): number | undefined {
  const code = text !== undefined && /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return code <= 65_535 ? code : undefined;
}
