import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { LambdaFunction } from "../../local/emulator.ts";

/** Largest body of a request, in bytes. Source: AWS Lambda quotas, "Invocation payload". */
const MAX_BODY_BYTES = 6 * 1024 * 1024;

/** Content types whose body is passed as text. All others are encoded with Base64. */
const TEXT = /^(?:text\/[\w.+-]+|application\/(?:[\w.-]+\+)?(?:json|xml)|application\/javascript)\s*(?:;|$)/i;

/** The result of a function, in the payload format 2.0. */
interface FunctionResult {
  readonly statusCode?: number;
  readonly headers?: Readonly<Record<string, string | number | boolean>>;
  readonly cookies?: readonly string[];
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
}

/**
 * Serves a function as a Lambda function URL does: each HTTP request is an invocation.
 *
 * @throws Error if the port is in use
 */
export async function serveFunctionUrl(
  invoke: LambdaFunction,
  port: number,
  onError: (error: unknown) => void,
): Promise<Server> {
  const server = createServer((request, response) => {
    answer(invoke, request, response).catch((error) => {
      onError(error);
      if (response.headersSent) response.destroy();
      else response.writeHead(502, { "content-type": "text/plain" }).end("Internal Server Error");
    });
  });
  server.listen(port, "localhost");
  await once(server, "listening");
  return server;
}

async function answer(
  invoke: LambdaFunction,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await bodyOf(request);
  if (body === undefined) {
    response.writeHead(413, { connection: "close" }).end("Request Entity Too Large");
    return;
  }
  const event = functionUrlEvent(request, body);
  const context = invocationContext(event.requestContext.requestId);
  writeResult(response, await invoke(event, context, () => undefined));
}

/** Returns the body of a request, or undefined if it is too large. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Returns the context of an invocation, as the caller of the function has it. */
export function invocationContext(requestId: string): Parameters<LambdaFunction>[1] {
  return { functionName: "local", awsRequestId: requestId, getRemainingTimeInMillis: () => 29_000 };
}

/**
 * Returns the event of a request in the payload format 2.0.
 *
 * Source: AWS Lambda developer guide, "Invoking Lambda function URLs", Request payload format.
 */
export function functionUrlEvent(request: IncomingMessage, body: Buffer, now = Date.now()) {
  const { method = "GET", url = "/", httpVersion } = request;
  const [rawPath = "/", ...query] = url.split("?");
  const rawQueryString = query.join("?");
  const { cookie, ...headers } = request.headers;
  const domainName = request.headers.host ?? "localhost";
  const isText = TEXT.test(headers["content-type"] ?? "");
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath,
    rawQueryString,
    ...(cookie === undefined ? {} : { cookies: cookie.split(/; */) }),
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    ...(rawQueryString === "" ? {} : { queryStringParameters: joined(new URLSearchParams(rawQueryString)) }),
    requestContext: {
      accountId: "anonymous",
      apiId: "local",
      domainName,
      domainPrefix: domainName.split(".")[0],
      http: {
        method,
        path: rawPath,
        protocol: `HTTP/${httpVersion}`,
        sourceIp: request.socket.remoteAddress ?? "127.0.0.1",
        userAgent: headers["user-agent"] ?? "",
      },
      requestId: randomUUID(),
      routeKey: "$default",
      stage: "$default",
      time: new Date(now).toISOString(),
      timeEpoch: now,
    },
    ...(body.length === 0 ? {} : { body: body.toString(isText ? "utf8" : "base64") }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/** Joins the values of a repeated parameter with commas, as AWS does. */
function joined(parameters: URLSearchParams): Readonly<Record<string, string>> {
  const names = [...new Set(parameters.keys())];
  return Object.fromEntries(names.map((name) => [name, parameters.getAll(name).join(",")]));
}

/** Writes the result of a function. A result without `statusCode` is a JSON document with 200. */
function writeResult(response: ServerResponse, result: unknown): void {
  if (typeof result !== "object" || result === null || !("statusCode" in result)) {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(typeof result === "string" ? result : JSON.stringify(result ?? null));
    return;
  }
  const {
    statusCode = 200,
    headers = {},
    cookies = [],
    body = "",
    isBase64Encoded,
  } = result as FunctionResult;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, String(value));
  if (cookies.length > 0) response.setHeader("set-cookie", [...cookies]);
  response.writeHead(statusCode).end(Buffer.from(body, isBase64Encoded ? "base64" : "utf8"));
}
