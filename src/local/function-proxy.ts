import { contextVariable, type GatewayEvent, requestTime } from "./events.ts";
import { forwardedHeaders } from "./http-headers.ts";
import { newTraceId } from "./ids.ts";

/** A function as Lambda calls it. What it gives back is looked at as AWS looks at it. */
export type LambdaFunction = (event: LambdaEvent, context: LambdaContext) => unknown;

/** The event of a WebSocket API with Lambda proxy integration, with the fields that AWS sends today. */
// biome-ignore lint/suspicious/noExplicitAny: whatever type a handler has for its event, it takes this one
export type LambdaEvent = any;

export interface LambdaContext {
  readonly functionName: string;
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

/** What a function gave back, as far as AWS takes it. */
export interface LambdaAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly subprotocol: string | undefined;
}

/** The keys that a result may have; with another one AWS takes all of it for malformed. */
const RESULT_KEYS = new Set(["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"]);

/**
 * What AWS invokes a function with: on a message no headers and no query, on `$connect` both, on `$disconnect` the stub of headers
 * that it sends.
 *
 * Source: AWS developer guide, "Set up a WebSocket API integration request", and captured events.
 */
export function lambdaEvent(event: GatewayEvent): Readonly<Record<string, unknown>> {
  const { connection, place, requestId } = event;
  const variables =
    Object.keys(place.stageVariables).length > 0 ? { stageVariables: place.stageVariables } : {};
  const requestContext = {
    routeKey: event.routeKey,
    ...(event.kind === "message" ? { messageId: event.messageId } : {}),
    ...(event.kind === "disconnect"
      ? { disconnectStatusCode: event.ending.code, disconnectReason: event.ending.reason }
      : {}),
    eventType: contextVariable(event, "eventType"),
    extendedRequestId: requestId,
    requestTime: requestTime(new Date(event.at)),
    messageDirection: "IN",
    stage: place.stage,
    connectedAt: connection.connectedAt,
    requestTimeEpoch: event.at,
    identity: {
      ...(connection.userAgent === undefined ? {} : { userAgent: connection.userAgent }),
      sourceIp: connection.sourceIp,
    },
    requestId,
    domainName: place.domainName,
    connectionId: connection.id,
    apiId: place.apiId,
  };
  if (event.kind === "message")
    return { ...variables, requestContext, body: event.body.toString("utf8"), isBase64Encoded: false };
  if (event.kind === "disconnect") {
    const stub = { Host: place.domainName, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" };
    return { ...headersOf(Object.entries(stub)), ...variables, requestContext, isBase64Encoded: false };
  }
  const query = [...new URLSearchParams(event.client.query)];
  return {
    ...headersOf(clientEntries(event)),
    ...(query.length === 0
      ? {}
      : {
          queryStringParameters: Object.fromEntries(query),
          multiValueQueryStringParameters: grouped(query),
        }),
    ...variables,
    requestContext,
    isBase64Encoded: false,
  };
}

/** Reads a function's result. @returns undefined for one that AWS takes for malformed */
export function lambdaAnswer(result: unknown): LambdaAnswer | undefined {
  if (typeof result !== "object" || result === null || Array.isArray(result)) return undefined;
  if (Object.keys(result).some((key) => !RESULT_KEYS.has(key))) return undefined;
  const { statusCode, headers, body, isBase64Encoded } = result as Readonly<Record<string, unknown>>;
  const status = Number(statusCode);
  if (!Number.isInteger(status) || status < 100 || status > 599) return undefined;
  if (body !== undefined && body !== null && typeof body !== "string") return undefined;
  const text = body ?? "";
  return {
    status,
    body: Buffer.from(text, isBase64Encoded === true ? "base64" : "utf8"),
    subprotocol: subprotocolOf(headers),
  };
}

function subprotocolOf(headers: unknown): string | undefined {
  const entries = Object.entries((headers ?? {}) as Readonly<Record<string, unknown>>);
  const value = entries.find(([name]) => name.toLowerCase() === "sec-websocket-protocol")?.[1];
  return typeof value === "string" ? value : undefined;
}

type Entry = readonly [name: string, value: string];

/** Client headers as AWS shows them to a function: without those of the connection itself, with its own trace and whom it forwards. */
function clientEntries(event: Extract<GatewayEvent, { kind: "connect" }>): readonly Entry[] {
  const { rawHeaders } = event.client;
  const entries: Entry[] = [["Host", event.place.domainName]];
  const claimed: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = rawHeaders.slice(index, index + 2);
    if (/^x-forwarded-for$/i.test(name)) claimed.push(value);
    else if (!NEVER_A_CLIENTS.test(name)) entries.push([name, value]);
  }
  return [
    ...entries,
    ["X-Amzn-Trace-Id", newTraceId()],
    ...forwardedHeaders(event, claimed.join(",") || undefined),
  ];
}

const NEVER_A_CLIENTS = /^(host|connection|upgrade|x-amzn-trace-id|x-forwarded-port|x-forwarded-proto)$/i;

function headersOf(entries: readonly Entry[]) {
  return { headers: Object.fromEntries(entries), multiValueHeaders: grouped(entries) };
}

function grouped(entries: readonly Entry[]): Readonly<Record<string, readonly string[]>> {
  const groups = new Map<string, string[]>();
  for (const [name, value] of entries) groups.set(name, [...(groups.get(name) ?? []), value]);
  return Object.fromEntries(groups);
}
