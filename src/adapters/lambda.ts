import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { optionsOf, parseOptions, recordOption } from "../options.ts";
import { API_ID_HEADER, CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import { type HttpAnswer, type HttpCall, tooLarge } from "../protocol/http-call.ts";
import { frameworkRequest, linkFrameworkRequest } from "./node-call.ts";

/** A Sallyport, which tells its views and can come to rest. */
export interface LambdaApp {
  readonly viewPaths: readonly string[];
  answer(http: HttpCall): Promise<HttpAnswer | undefined>;
  flush(options: { readonly withinMs: number; readonly onlyDue: boolean }): Promise<void>;
}

export interface LambdaOptions {
  /** Path of the view that `$connect`, `$disconnect` and `$default` are for. Default: the only one there is. */
  readonly view?: string | undefined;
  /** Route keys whose messages are for another view: `{ moderate: "/ws/moderation" }`. Default: none. */
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

/** Names with one value each, or with several. */
type Values = Readonly<Record<string, string | readonly string[] | null | undefined>>;

/**
 * An event of a WebSocket API with Lambda proxy integration. Whatever may be missing is missing or null.
 *
 * Source: AWS developer guide, "Set up a WebSocket API integration request"; events up to 2022 had null-valued keys.
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
 * An event that no gateway sends: of a schedule of EventBridge, or of `serverless-plugin-warmup`.
 *
 * Source: Amazon EventBridge user guide, "Scheduled event"; EventBridge Scheduler user guide, "Lambda targets".
 */
export interface BackgroundEvent {
  readonly source: string;
  readonly "detail-type"?: string;
}

/** As much of Lambda's context as is needed. */
export interface LambdaContext {
  getRemainingTimeInMillis?(): number;
}

/** What goes back. With an unknown key AWS takes it for malformed. */
export interface LambdaResult {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

/** Longest time that an answer waits for what is left to do, in milliseconds. */
const SETTLE_MS = 5000;
/** What is left of a function's time for the answer itself, in milliseconds. */
const RESERVE_MS = 500;

/**
 * The same app as a Lambda function behind a WebSocket API: `export const handler = lambdaHandler(sallyport)`.
 *
 * Who may invoke the function says its resource policy, so API id and stage of the event are proof: the gateway is registered with its
 * `apiId`, and needs no secret. When the answer is given, nothing is under way any more. What can wait for a few seconds is done by one
 * event in so many seconds, so that a message costs one statement.
 *
 * The function can be the target of a schedule too: it then enforces grants that have ended, and calls no view.
 *
 * @throws ConfigurationError for a view that is not mounted. The function throws it for an event of another kind
 */
export function lambdaHandler(
  app: LambdaApp,
  given: LambdaOptions = {},
): (event: WebSocketEvent | BackgroundEvent, context?: LambdaContext) => Promise<LambdaResult> {
  const options = parseOptions("lambdaHandler()", LAMBDA_OPTIONS, given);
  const view = mounted(app, options.view ?? onlyView(app));
  const routes = new Map(Object.entries(options.routes).map(([key, path]) => [key, mounted(app, path)]));
  return async (event, context) => {
    const leftMs = () => {
      const remainingMs = context?.getRemainingTimeInMillis?.();
      return remainingMs === undefined ? undefined : Math.max(0, remainingMs - RESERVE_MS);
    };
    if (isBackgroundEvent(event)) {
      await app.flush({ withinMs: leftMs() ?? SETTLE_MS, onlyDue: false });
      return { statusCode: 200, headers: {} };
    }
    const call = new LambdaCall(event, pathOf(event, view, routes));
    try {
      const { status, headers, body } = (await app.answer(call)) ?? NOT_FOUND;
      return { statusCode: status, headers: { ...headers }, ...(body === null ? {} : { body }) };
    } finally {
      await app.flush({ withinMs: Math.min(SETTLE_MS, leftMs() ?? SETTLE_MS), onlyDue: true });
    }
  };
}

/** Returns true only for what has no part of a gateway's event: what a client sends is in the body of one. */
function isBackgroundEvent(event: WebSocketEvent | BackgroundEvent): event is BackgroundEvent {
  if (typeof event !== "object" || event === null) return false;
  if (["requestContext", "body", "headers"].some((name) => name in event)) return false;
  const { source, "detail-type": type } = event as BackgroundEvent;
  if (source === "aws.events" || source === "aws.scheduler") return type === "Scheduled Event";
  return source === "serverless-plugin-warmup";
}

/**
 * The event that a request was made from, with what an authorizer has put there: for `authenticate`, and for the author's `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function lambdaEvent<Event extends WebSocketEvent = WebSocketEvent>(
  request: Request,
): Event | undefined {
  return frameworkRequest("lambda", request) as Event | undefined;
}

const NOT_FOUND: HttpAnswer = { status: 404, headers: {}, body: null };

function onlyView({ viewPaths }: LambdaApp): string {
  const [path, ...others] = viewPaths;
  if (path !== undefined && others.length === 0) return path;
  throw new ConfigurationError(
    `lambdaHandler(sallyport, { view }): name the view that $connect and $default are for. There are: ${viewPaths.join(", ")}.`,
  );
}

function mounted({ viewPaths }: LambdaApp, path: string): string {
  if (viewPaths.includes(path)) return path;
  throw new ConfigurationError(
    `lambdaHandler(): no view is mounted at ${JSON.stringify(path)}. There are: ${viewPaths.join(", ")}.`,
  );
}

/** What an HTTP integration's URL would say. A message's own route key decides which view it is for, and never what it is. */
function pathOf(event: WebSocketEvent, view: string, routes: ReadonlyMap<string, string>): string {
  const { eventType, routeKey } = event?.requestContext ?? {};
  if (eventType === "CONNECT") return `${view}/connect`;
  if (eventType === "DISCONNECT") return `${view}/disconnect`;
  if (eventType === "MESSAGE") return `${routes.get(routeKey ?? "") ?? view}/default`;
  throw new ConfigurationError(
    `lambdaHandler() received no event of a WebSocket API, but ${formatValue(event)}. Its requestContext.eventType must be "CONNECT", ` +
      `"DISCONNECT" or "MESSAGE", and is ${formatValue(eventType)}, so no view can be called. Integrate the function with the routes ` +
      "of the API by AWS_PROXY. Other sources than a schedule of EventBridge need another function.",
  );
}

/** Headers that only a gateway may set: here the event's context says what they would. */
const OURS = new Set(
  [...Object.keys(CONTEXT_HEADERS), SECRET_HEADER, API_ID_HEADER].map((name) => name.toLowerCase()),
);

class LambdaCall implements HttpCall {
  readonly method = "POST";
  readonly url: URL;
  readonly invokedBy: { readonly apiId: string; readonly stage: string };
  readonly #event: WebSocketEvent;
  /** Of the client, which only a connect has. */
  readonly #headers: Headers;
  readonly #context: ReadonlyMap<string, string>;
  #request: Request | undefined;

  constructor(event: WebSocketEvent, path: string) {
    this.#event = event;
    const { apiId, stage, domainName } = event.requestContext;
    this.invokedBy = { apiId: apiId ?? "", stage: stage ?? "" };
    const host = /^[A-Za-z0-9.-]+$/.test(domainName ?? "") ? domainName : "localhost";
    this.url = new URL(`https://${host}${path}`);
    for (const [name, values] of listed(event.multiValueQueryStringParameters, event.queryStringParameters)) {
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
  for (const [name, values] of listed(multiValueHeaders, headers)) {
    if (OURS.has(name.toLowerCase()) || !/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) continue;
    for (const value of values) if (isHeaderValue(value)) all.append(name, value);
  }
  return all;
}

/** What the context says, by the names that an HTTP integration maps it to. */
function contextHeaders({ requestContext }: WebSocketEvent): ReadonlyMap<string, string> {
  const { connectionId, connectedAt, identity, requestId, disconnectStatusCode, disconnectReason } =
    requestContext;
  const said = {
    connectionId,
    "x-sallyport-source-ip": identity?.sourceIp,
    "x-sallyport-request-id": requestId,
    "x-sallyport-connected-at": connectedAt,
    "x-sallyport-disconnect-code": disconnectStatusCode,
    "x-sallyport-disconnect-reason": disconnectReason,
  } satisfies Partial<Record<keyof typeof CONTEXT_HEADERS, unknown>>;
  const present = Object.entries(said).filter(([, value]) => value !== null && value !== undefined);
  return new Map(present.map(([name, value]) => [name.toLowerCase(), String(value)]));
}

/** What a `Headers` takes. Source: WHATWG Fetch, "header value". */
function isHeaderValue(text: string): boolean {
  return !/[\0\r\n\u0100-\uffff]/.test(text);
}

/** Names with all their values: of the form with several, or where that has none of a name, the one value. */
function listed(
  several: Values | null | undefined,
  one: Values | null | undefined,
): readonly (readonly [string, readonly string[]])[] {
  return Object.entries({ ...one, ...several }).map(([name, value]) => [
    name,
    (Array.isArray(value) ? value : [value]).filter((text): text is string => typeof text === "string"),
  ]);
}
