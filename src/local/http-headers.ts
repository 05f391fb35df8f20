import { API_ID_HEADER } from "../protocol/gateway-call.ts";
import type { ConnectEvent, GatewayEvent } from "./events.ts";
import type { Parameters } from "./parameters.ts";

/**
 * Matches a token of HTTP, such as a method, a header name or a subprotocol. Source: RFC 9110,
 * section 5.6.2.
 */
export const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Client headers that are not forwarded. Source: AWS developer guide, HTTP API and REST notes. */
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
 * Returns the headers of an HTTP integration, as names and values in turn, with the case of the
 * mapping.
 *
 * Client headers are forwarded on `$connect` only. A mapped header replaces the client's header of
 * the same name. If its variable has no value, the client's header is removed too.
 *
 * @param isJoined whether a mapped value is appended to the client's value instead
 */
export function httpHeaders(
  event: GatewayEvent,
  { headers: mapped }: Parameters,
  isJoined: boolean,
): string[] {
  const { place } = event;
  const headers = event.kind === "connect" ? clientHeaders(event.client.rawHeaders) : new HeaderFields();
  const agent = `AmazonAPIGateway_${place.apiId}`;
  if (event.kind === "connect") {
    for (const [name, value] of forwardedHeaders(event, headers.get("x-forwarded-for")))
      headers.set(name, value);
    if (!headers.get("user-agent")) headers.set("User-Agent", agent);
  } else {
    headers.set("User-Agent", agent);
  }
  if (event.kind === "message") headers.set("Content-Type", "application/json");
  const setMapped = (name: string, value: string | undefined) =>
    headers.set(name, isJoined ? [headers.get(name), value].filter(Boolean).join(", ") || undefined : value);
  setMapped("X-Amzn-Trace-Id", event.traceId);
  setMapped(API_ID_HEADER, place.apiId);
  for (const { name, source } of mapped) setMapped(name, headerText(source(event)));
  return headers.flat();
}

/**
 * Returns the headers that API Gateway adds to a `$connect` to identify the client.
 *
 * @param claimed the `X-Forwarded-For` that the client sent, to which its address is appended
 */
export function forwardedHeaders(
  { connection, place }: ConnectEvent,
  claimed: string | undefined,
): readonly (readonly [name: string, value: string])[] {
  const { sourceIp } = connection;
  return [
    ["X-Forwarded-For", claimed ? `${claimed}, ${sourceIp}` : sourceIp],
    ["X-Forwarded-Port", String(place.port)],
    ["X-Forwarded-Proto", place.isSecure ? "https" : "http"],
  ];
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

/** Encodes a text that a client can choose as UTF-8 bytes, without characters that end a header. */
function headerText(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must go
  return bytes.replace(/[\x00-\x1f\x7f]/g, " ").trim() || undefined;
}

/**
 * Headers with case-insensitive names that keep their last case. `Headers` of fetch would
 * lower-case them.
 */
class HeaderFields {
  readonly #fields = new Map<string, readonly [name: string, value: string]>();

  get(name: string): string | undefined {
    return this.#fields.get(name.toLowerCase())?.[1];
  }

  /** Sets a header, or removes it if the value is undefined. */
  set(name: string, value: string | undefined): void {
    if (value !== undefined) this.#fields.set(name.toLowerCase(), [name, value]);
    else this.#fields.delete(name.toLowerCase());
  }

  flat(): string[] {
    return [...this.#fields.values()].flat();
  }
}
