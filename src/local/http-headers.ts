import { API_ID_HEADER } from "../protocol/gateway-call.ts";
import type { ConnectEvent, GatewayEvent } from "./events.ts";
import type { Parameters } from "./parameters.ts";

/** A word of HTTP's: a method, a header's name, a subprotocol. Source: RFC 9110, section 5.6.2. */
export const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

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
 * The headers of an HTTP integration's request, names and values in turn, cased as mapped.
 *
 * Client headers pass on `$connect` only. A mapped name is ours alone: it overwrites the client's, and where its
 * variable has no value the client's is dropped as well.
 *
 * @param isJoined whether what is ours is put behind the client's of the same name instead
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
  const own = (name: string, value: string | undefined) =>
    headers.set(name, isJoined ? [headers.get(name), value].filter(Boolean).join(", ") || undefined : value);
  own("X-Amzn-Trace-Id", event.traceId);
  own(API_ID_HEADER, place.apiId);
  for (const { name, source } of mapped) own(name, headerText(source(event)));
  return headers.flat();
}

/**
 * What API Gateway adds to a `$connect` to say whom it forwards.
 *
 * @param claimed the client's own `X-Forwarded-For`, to which its address is added
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

/** A client chose this text: as UTF-8 bytes, with nothing in it that could end the header. */
function headerText(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must go
  return bytes.replace(/[\x00-\x1f\x7f]/g, " ").trim() || undefined;
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
