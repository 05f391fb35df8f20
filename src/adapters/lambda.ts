import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { INTERNAL } from "../internal.ts";
import { optionsOf, parseOptions, recordOption } from "../options.ts";
import { API_ID_HEADER, CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import { type HttpRequest, type HttpResponse, tooLarge } from "../protocol/http.ts";
import { frameworkRequest, linkFrameworkRequest } from "./node-request.ts";

/** The part of a Sallyport object that the adapter uses. */
export interface LambdaApp {
  readonly viewPaths: readonly string[];
  readonly [INTERNAL]: { answer(http: HttpRequest): Promise<HttpResponse | undefined> };
  flush(options: { readonly withinMs: number; readonly onlyDue: boolean }): Promise<void>;
}

/** Options of {@link lambdaHandler}. */
export interface LambdaOptions {
  /**
   * Path of the view for `$connect`, `$disconnect` and `$default`. Default: the only view of the
   * app.
   */
  readonly view?: string | undefined;
  /**
   * Other views for the messages of some routes: `{ moderate: "/ws/moderation" }`. Default: none.
   */
  readonly routes?: Readonly<Record<string, string>> | undefined;
}

const LAMBDA_OPTIONS = optionsOf<LambdaOptions>()({
  view: v.optional(v.string("must be the path of a view")),
  routes: v.optional(
    recordOption(
      v.string(),
      v.string("must be the path of a view"),
      "an object of route keys and paths of views",
    ),
    {},
  ),
});

/** Names with one or several values each. */
type Values = Readonly<Record<string, string | readonly string[] | null | undefined>>;

/**
 * An event of a WebSocket API with Lambda proxy integration.
 *
 * Optional fields can be missing or `null`. Events up to 2022 contained `null`.
 * Source: AWS developer guide, "Set up a WebSocket API integration request".
 */
export interface WebSocketEvent {
  readonly requestContext: {
    readonly connectionId?: string | null;
    readonly eventType?: string | null;
    readonly routeKey?: string | null;
    readonly apiId?: string | null;
    readonly stage?: string | null;
    readonly requestId?: string | null;
    readonly connectedAt?: number | null;
    readonly domainName?: string | null;
    readonly disconnectStatusCode?: number | string | null;
    readonly disconnectReason?: string | null;
    readonly identity?: { readonly sourceIp?: string | null } | null;
  };
  readonly headers?: Values | null;
  readonly multiValueHeaders?: Values | null;
  readonly queryStringParameters?: Values | null;
  readonly multiValueQueryStringParameters?: Values | null;
  readonly body?: string | null;
  readonly isBase64Encoded?: boolean | null;
}

/**
 * An event that is not from a gateway, but from a schedule of EventBridge or
 * `serverless-plugin-warmup`.
 *
 * Sources: Amazon EventBridge user guide, "Scheduled event", and EventBridge Scheduler user guide,
 * "Lambda targets".
 */
export interface BackgroundEvent {
  readonly source: string;
  readonly "detail-type"?: string;
}

/** The method of a Lambda context that the adapter uses. */
export interface LambdaContext {
  getRemainingTimeInMillis?(): number;
}

/** The result of the function. AWS rejects a result with an unknown key. */
export interface LambdaResult {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

/** Maximum time that the function waits for background work, in milliseconds. */
const FLUSH_MS = 5000;
/** Part of the remaining time that is reserved for the response, in milliseconds. */
const RESERVE_MS = 500;

/**
 * Returns an AWS Lambda function for a WebSocket API: `export const handler =
 * lambdaHandler(sallyport)`.
 *
 * The resource policy of the function decides who can invoke it, so the API id and stage of the
 * event are trusted. Register the gateway with its `apiId`. It needs no secret.
 *
 * When the function returns, no background work is in flight. Work that can wait runs once in
 * several seconds, so that a message costs one statement.
 *
 * The function can also be the target of a schedule. It then applies expired grants to open
 * connections, and calls no view.
 *
 * @returns the function. It throws a `ConfigurationError` for an event of another kind
 * @throws ConfigurationError if an option is invalid, or a view is not mounted
 */
export function lambdaHandler(
  app: LambdaApp,
  handlerOptions: LambdaOptions = {},
): (event: WebSocketEvent | BackgroundEvent, context?: LambdaContext) => Promise<LambdaResult> {
  const options = parseOptions("lambdaHandler()", LAMBDA_OPTIONS, handlerOptions);
  const view = requireMounted(app, options.view ?? onlyView(app));
  const routes = new Map(
    Object.entries(options.routes).map(([key, path]) => [key, requireMounted(app, path)]),
  );
  return async (event, context) => {
    const leftMs = () => {
      const remainingMs = context?.getRemainingTimeInMillis?.();
      return remainingMs === undefined ? undefined : Math.max(0, remainingMs - RESERVE_MS);
    };
    if (isBackgroundEvent(event)) {
      await app.flush({ withinMs: leftMs() ?? FLUSH_MS, onlyDue: false });
      return { statusCode: 200, headers: {} };
    }
    const call = new LambdaCall(event, pathOf(event, view, routes));
    try {
      const { status, headers, body } = (await app[INTERNAL].answer(call)) ?? NOT_FOUND;
      return { statusCode: status, headers: { ...headers }, ...(body === null ? {} : { body }) };
    } finally {
      await app.flush({ withinMs: Math.min(FLUSH_MS, leftMs() ?? FLUSH_MS), onlyDue: true });
    }
  };
}

/**
 * Returns whether an event is a {@link BackgroundEvent}. It must not contain a field of a gateway
 * event, because a client controls the body of those.
 */
function isBackgroundEvent(event: WebSocketEvent | BackgroundEvent): event is BackgroundEvent {
  if (typeof event !== "object" || event === null) return false;
  if (["requestContext", "body", "headers"].some((name) => name in event)) return false;
  const { source, "detail-type": type } = event as BackgroundEvent;
  if (source === "aws.events" || source === "aws.scheduler") return type === "Scheduled Event";
  return source === "serverless-plugin-warmup";
}

/**
 * Returns the Lambda event of a web `Request`, for example with the result of an authorizer. Call
 * it in `authenticate` and in `connect()` of a view.
 *
 * @returns `undefined` for a request that this adapter did not create
 */
export function lambdaEvent<Event extends WebSocketEvent = WebSocketEvent>(
  request: Request,
): Event | undefined {
  return frameworkRequest("lambda", request) as Event | undefined;
}

const NOT_FOUND: HttpResponse = { status: 404, headers: {}, body: null };

function onlyView({ viewPaths }: LambdaApp): string {
  const [path, ...others] = viewPaths;
  if (path !== undefined && others.length === 0) return path;
  throw new ConfigurationError(
    `lambdaHandler(): the app has ${viewPaths.length} views, so the view of $connect and $default is not known. ` +
      `Set the option view to one of these, and routes for the others: ${viewPaths.join(", ") || "none"}.`,
  );
}

function requireMounted({ viewPaths }: LambdaApp, path: string): string {
  if (viewPaths.includes(path)) return path;
  throw new ConfigurationError(
    `lambdaHandler(): no view is mounted at ${JSON.stringify(path)}. Use one of: ${viewPaths.join(", ") || "none"}.`,
  );
}

/**
 * Returns the path that the URL of an HTTP integration would have. The route key selects the view
 * only. The event type selects the kind of the event.
 */
function pathOf(event: WebSocketEvent, view: string, routes: ReadonlyMap<string, string>): string {
  const { eventType, routeKey } = event?.requestContext ?? {};
  if (eventType === "CONNECT") return `${view}/connect`;
  if (eventType === "DISCONNECT") return `${view}/disconnect`;
  if (eventType === "MESSAGE") return `${routes.get(routeKey ?? "") ?? view}/default`;
  throw new ConfigurationError(
    `lambdaHandler() received ${formatValue(event)}, which is not an event of a WebSocket API. Its ` +
      'requestContext.eventType must be "CONNECT", "DISCONNECT" or "MESSAGE", ' +
      `but is ${formatValue(eventType)}, so no view can be called. Integrate the function with the routes of the ` +
      "API as AWS_PROXY. Use another function for event sources other than schedules of EventBridge.",
  );
}

/**
 * Headers that only a gateway may set. Here, their values are read from the context of the event.
 */
const GATEWAY_HEADERS = new Set(
  [...Object.keys(CONTEXT_HEADERS), SECRET_HEADER, API_ID_HEADER].map((name) => name.toLowerCase()),
);

class LambdaCall implements HttpRequest {
  readonly method = "POST";
  readonly url: URL;
  readonly invokedBy: { readonly apiId: string; readonly stage: string };
  readonly #event: WebSocketEvent;
  /** Headers of the client. Only `$connect` has them. */
  readonly #headers: Headers;
  readonly #context: ReadonlyMap<string, string>;
  #request: Request | undefined;

  constructor(event: WebSocketEvent, path: string) {
    this.#event = event;
    const { apiId, stage, domainName } = event.requestContext;
    this.invokedBy = { apiId: apiId ?? "", stage: stage ?? "" };
    const host = /^[A-Za-z0-9.-]+$/.test(domainName ?? "") ? domainName : "localhost";
    this.url = new URL(`https://${host}${path}`);
    for (const [name, values] of valuesByName(
      event.multiValueQueryStringParameters,
      event.queryStringParameters,
    )) {
      for (const value of values) this.url.searchParams.append(name, value);
    }
    this.#headers = clientHeaders(event);
    this.#context = contextHeaders(event);
  }

  header(name: string): string | undefined {
    return this.#context.get(name.toLowerCase()) ?? this.#headers.get(name) ?? undefined;
  }

  async body(maxBytes: number): Promise<Uint8Array> {
    const bytes = this.#bytes();
    if (bytes.length > maxBytes) throw tooLarge(maxBytes);
    return bytes;
  }

  get request(): Request {
    this.#request ??= this.#toRequest();
    return this.#request;
  }

  #toRequest(): Request {
    const body = this.#bytes();
    const init = { method: "POST", headers: this.#headers, body: body.length > 0 ? body : null };
    return linkFrameworkRequest("lambda", new Request(this.url, init), this.#event);
  }

  #bytes(): Buffer<ArrayBuffer> {
    const { body, isBase64Encoded } = this.#event;
    return Buffer.from(body ?? "", isBase64Encoded ? "base64" : "utf8");
  }
}

function clientHeaders({ headers, multiValueHeaders }: WebSocketEvent): Headers {
  const all = new Headers();
  for (const [name, values] of valuesByName(multiValueHeaders, headers)) {
    if (GATEWAY_HEADERS.has(name.toLowerCase()) || !/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) continue;
    for (const value of values) if (isHeaderValue(value)) all.append(name, value);
  }
  return all;
}

/** Returns the values of the context, by the header names of an HTTP integration. */
function contextHeaders({ requestContext }: WebSocketEvent): ReadonlyMap<string, string> {
  const { connectionId, connectedAt, identity, requestId, disconnectStatusCode, disconnectReason } =
    requestContext;
  const mapped = {
    connectionId,
    "x-sallyport-source-ip": identity?.sourceIp,
    "x-sallyport-request-id": requestId,
    "x-sallyport-connected-at": connectedAt,
    "x-sallyport-disconnect-code": disconnectStatusCode,
    "x-sallyport-disconnect-reason": disconnectReason,
  } satisfies Partial<Record<keyof typeof CONTEXT_HEADERS, unknown>>;
  const present = Object.entries(mapped).filter(([, value]) => value !== null && value !== undefined);
  return new Map(present.map(([name, value]) => [name.toLowerCase(), String(value)]));
}

/** Returns whether `Headers` accepts a value. Source: WHATWG Fetch, "header value". */
function isHeaderValue(text: string): boolean {
  return !/[\0\r\n\u0100-\uffff]/.test(text);
}

/** Returns all values by name: from the multi-value form, or else from the single-value form. */
function valuesByName(
  multiValues: Values | null | undefined,
  singleValues: Values | null | undefined,
): readonly (readonly [string, readonly string[]])[] {
  return Object.entries({ ...singleValues, ...multiValues }).map(([name, value]) => [
    name,
    (Array.isArray(value) ? value : [value]).filter((text): text is string => typeof text === "string"),
  ]);
}
