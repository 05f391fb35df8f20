import { API_ID_HEADER, CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import type { Connection, Ending } from "./connections.ts";
import { newTraceId } from "./ids.ts";

/** What the client sent with its upgrade request, as Node read it: names and values in turn. */
export interface ClientRequest {
  readonly rawHeaders: readonly string[];
  /** Without the question mark; "" for none. */
  readonly query: string;
}

/** One event to run an integration for. */
export type GatewayEvent = {
  readonly connection: Connection;
  readonly requestId: string;
} & (
  | { readonly kind: "connect"; readonly routeKey: "$connect"; readonly client: ClientRequest }
  | { readonly kind: "message"; readonly routeKey: string; readonly body: Buffer }
  | { readonly kind: "disconnect"; readonly routeKey: "$disconnect"; readonly ending: Ending }
);

/** What the gateway says of itself in every call. */
export interface GatewayIdentity {
  readonly apiId: string;
  readonly stage: string;
  /** Host and port that clients use. */
  readonly domainName: string;
  readonly port: number;
  readonly secret: string | undefined;
}

/** Headers of a client that never reach an integration. Source: AWS developer guide, HTTP API and REST notes. */
const NEVER_FORWARDED = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-md5",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "max-forwards",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "server",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "via",
  "www-authenticate",
]);

/**
 * The headers of an integration's request, names and values in turn, cased as mapped.
 *
 * Client headers pass on `$connect` only. A mapped name is ours alone: it overwrites the client's, and where its
 * variable has no value the client's is dropped as well.
 */
export function integrationHeaders(event: GatewayEvent, gateway: GatewayIdentity): string[] {
  const headers = event.kind === "connect" ? clientHeaders(event.client.rawHeaders) : new HeaderFields();
  const agent = `AmazonAPIGateway_${gateway.apiId}`;
  if (event.kind === "connect") {
    const forwarded = headers.get("x-forwarded-for");
    const { sourceIp } = event.connection;
    headers.set("X-Forwarded-For", forwarded ? `${forwarded}, ${sourceIp}` : sourceIp);
    headers.set("X-Forwarded-Port", String(gateway.port));
    headers.set("X-Forwarded-Proto", "http");
    if (!headers.get("user-agent")) headers.set("User-Agent", agent);
  } else {
    headers.set("User-Agent", agent);
  }
  if (event.kind === "message") headers.set("Content-Type", "application/json");
  headers.set("X-Amzn-Trace-Id", newTraceId());
  headers.set(API_ID_HEADER, gateway.apiId);
  const context = contextOf(event, gateway);
  for (const [name, variable] of Object.entries(CONTEXT_HEADERS)) headers.set(name, context[variable]);
  if (gateway.secret !== undefined) headers.set(SECRET_HEADER, gateway.secret);
  return headers.flat();
}

function contextOf(
  event: GatewayEvent,
  gateway: GatewayIdentity,
): Record<(typeof CONTEXT_HEADERS)[keyof typeof CONTEXT_HEADERS], string | undefined> {
  const { connection } = event;
  const ending = event.kind === "disconnect" ? event.ending : undefined;
  return {
    "context.connectionId": connection.id,
    "context.identity.sourceIp": connection.sourceIp,
    "context.routeKey": event.routeKey,
    "context.eventType": event.kind.toUpperCase(),
    "context.requestId": event.requestId,
    "context.connectedAt": String(connection.connectedAt),
    "context.domainName": gateway.domainName,
    "context.stage": gateway.stage,
    "context.disconnectStatusCode": ending && String(ending.code),
    "context.disconnectReason": (ending && headerText(ending.reason)) || undefined,
  };
}

function clientHeaders(rawHeaders: readonly string[]): HeaderFields {
  const headers = new HeaderFields();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? "";
    const value = rawHeaders[index + 1] ?? "";
    if (NEVER_FORWARDED.has(name.toLowerCase())) continue;
    const earlier = headers.get(name);
    headers.set(name, earlier === undefined ? value : `${earlier},${value}`);
  }
  return headers;
}

/** A client chose this text: as UTF-8 bytes, with nothing in it that could end the header. */
function headerText(text: string): string {
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must go
  return bytes.replace(/[\x00-\x1f\x7f]/g, " ").trim();
}

/** Headers by name whatever its case, the last casing kept: `fetch`'s own would lower-case what was mapped. */
class HeaderFields {
  readonly #fields = new Map<string, readonly [name: string, value: string]>();

  get(name: string): string | undefined {
    return this.#fields.get(name.toLowerCase())?.[1];
  }

  /** Without a value the name is left out altogether. */
  set(name: string, value: string | undefined): void {
    if (value !== undefined) this.#fields.set(name.toLowerCase(), [name, value]);
    else this.#fields.delete(name.toLowerCase());
  }

  flat(): string[] {
    return [...this.#fields.values()].flat();
  }
}
