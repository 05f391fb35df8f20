import { type ConnectEvent, contextVariable, type GatewayEvent, requestTime } from "./events.ts";
import { forwardedHeaders } from "./http-headers.ts";

/**
 * Returns the event with which AWS invokes a function. A connect has headers and a query, a message
 * has neither, and a disconnect has a fixed set of headers.
 *
 * Source: AWS developer guide, "Set up a WebSocket API integration request", and captured events.
 */
export function lambdaEvent(event: GatewayEvent): Readonly<Record<string, unknown>> {
  const { place } = event;
  const requestContext = requestContextOf(event);
  const variables =
    Object.keys(place.stageVariables).length > 0 ? { stageVariables: place.stageVariables } : {};
  if (event.kind === "message")
    return { ...variables, requestContext, body: event.body.toString("utf8"), isBase64Encoded: false };
  if (event.kind === "disconnect") {
    const stub = { Host: place.domainName, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" };
    return { ...headersOf(Object.entries(stub)), ...variables, requestContext, isBase64Encoded: false };
  }
  return {
    ...headersOf(clientEntries(event)),
    ...(event.client.query === "" ? {} : queryOf(event)),
    ...variables,
    requestContext,
    isBase64Encoded: false,
  };
}

/**
 * Returns the event with which AWS invokes an authorizer. It contains the headers of the client and
 * of the upgrade, the query, and the context of a CONNECT.
 *
 * Source: AWS developer guide, "Control access to WebSocket APIs with AWS Lambda REQUEST
 * authorizers".
 */
export function authorizerEvent(event: ConnectEvent, methodArn: string): Readonly<Record<string, unknown>> {
  const upgrade: readonly Entry[] = [
    ["Connection", "upgrade"],
    ["content-length", "0"],
    ["Upgrade", "websocket"],
  ];
  return {
    type: "REQUEST",
    methodArn,
    ...headersOf([...upgrade, ...clientEntries(event).filter(([name]) => !/^content-length$/i.test(name))]),
    ...queryOf(event),
    stageVariables: event.place.stageVariables,
    requestContext: requestContextOf(event),
  };
}

function requestContextOf(event: GatewayEvent): Readonly<Record<string, unknown>> {
  const { connection, place, requestId } = event;
  return {
    routeKey: event.routeKey,
    ...(event.kind === "message" ? { messageId: event.messageId } : {}),
    ...(event.kind === "disconnect"
      ? { disconnectStatusCode: event.ending.code, disconnectReason: event.ending.reason }
      : {}),
    ...authorizerOf(event),
    eventType: contextVariable(event, "eventType"),
    extendedRequestId: requestId,
    requestTime: requestTime(new Date(event.at)),
    messageDirection: "IN",
    stage: place.stage,
    connectedAt: connection.connectedAt,
    requestTimeEpoch: event.at,
    identity: {
      ...(event.kind === "connect" ? { ...event.signer, ...event.key } : {}),
      ...(connection.userAgent === undefined ? {} : { userAgent: connection.userAgent }),
      sourceIp: connection.sourceIp,
    },
    requestId,
    domainName: place.domainName,
    connectionId: connection.id,
    apiId: place.apiId,
  };
}

function authorizerOf(event: GatewayEvent) {
  const { authorizer } = event.connection;
  if (!authorizer) return {};
  const { principalId, latencyMs, context } = authorizer;
  const latency = event.kind === "connect" ? { integrationLatency: latencyMs } : {};
  return { authorizer: { ...context, principalId, ...latency } };
}

function queryOf({ client }: ConnectEvent) {
  const query = [...new URLSearchParams(client.query)];
  return {
    queryStringParameters: Object.fromEntries(query),
    multiValueQueryStringParameters: grouped(query),
  };
}

type Entry = readonly [name: string, value: string];

/**
 * Returns the client headers as AWS passes them to a function. The headers of the HTTP connection
 * are missing, and those with the trace id and the address of the client are added.
 */
function clientEntries(event: ConnectEvent): readonly Entry[] {
  const { rawHeaders } = event.client;
  const entries: Entry[] = [["Host", event.place.domainName]];
  const claimed: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = rawHeaders.slice(index, index + 2);
    if (/^x-forwarded-for$/i.test(name)) claimed.push(value);
    else if (!REPLACED_HEADERS.test(name)) entries.push([name, value]);
  }
  return [
    ...entries,
    ["X-Amzn-Trace-Id", event.traceId],
    ...forwardedHeaders(event, claimed.join(",") || undefined),
  ];
}

const REPLACED_HEADERS = /^(host|connection|upgrade|x-amzn-trace-id|x-forwarded-port|x-forwarded-proto)$/i;

function headersOf(entries: readonly Entry[]) {
  return { headers: Object.fromEntries(entries), multiValueHeaders: grouped(entries) };
}

function grouped(entries: readonly Entry[]): Readonly<Record<string, readonly string[]>> {
  const groups = new Map<string, string[]>();
  for (const [name, value] of entries) groups.set(name, [...(groups.get(name) ?? []), value]);
  return Object.fromEntries(groups);
}
