import type { IncomingMessage, ServerResponse } from "node:http";
import * as v from "valibot";
import { printError } from "../error-output.ts";
import { ErrorReporter } from "../error-reporter.ts";
import { INTERNAL } from "../internal.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import { isUnambiguous } from "../protocol/path.ts";
import { type AppHandler, prefixOption } from "./app-handler.ts";
import { NodeRequest, nodeRequest, OwnTarget, urlOf, writeResponse } from "./node-request.ts";

export { nodeRequest };

/** An app that handles requests: a Sallyport object, or a router that calls one. */
export interface FetchApp {
  /** Handles a request. @returns `undefined` if the path is not one of the app */
  fetch(request: Request): Response | undefined | Promise<Response | undefined>;
  /** The members of a Sallyport object that are used instead of `fetch`, which is slower. */
  readonly [INTERNAL]?: AppHandler[typeof INTERNAL];
}

type Next = (request: IncomingMessage, response: ServerResponse) => void;

/** Options of {@link nodeListener}. */
export interface NodeListenerOptions {
  /** Handles the requests that the app does not handle. Default: a response with status 404. */
  readonly next?: Next | undefined;
  /** Path before the paths of the app, such as `/realtime`. Default: none. */
  readonly prefix?: string | undefined;
  /**
   * Called with an error that the app threw. The client receives an empty response with status 500.
   * Default: prints to stderr, equal errors once per second.
   */
  readonly onError?: ((error: unknown) => void) | undefined;
}

const NODE_LISTENER_OPTIONS = optionsOf<NodeListenerOptions>()({
  next: v.optional(functionOption<Next>(), () => notFound),
  prefix: prefixOption,
  onError: v.optional(functionOption<(error: unknown) => void>(), () => {
    const reporter = new ErrorReporter(printError, (error) => error);
    return (error: unknown) => reporter.report(error, "nodeListener()");
  }),
});

/**
 * Returns a listener for `http.createServer()` that calls an app.
 *
 * Responses are not streamed. They are sent when they are complete.
 *
 * @throws ConfigurationError if an option is invalid
 */
export function nodeListener(
  app: FetchApp,
  options: NodeListenerOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const { next, prefix, onError } = parseOptions("nodeListener()", NODE_LISTENER_OPTIONS, options);
  app[INTERNAL]?.start();
  return (incoming, outgoing) => {
    answer(app, incoming, outgoing, { next, prefix }).catch((error) => {
      onError(error);
      if (!outgoing.headersSent) outgoing.writeHead(500, { "content-type": "text/plain" });
      outgoing.end();
    });
  };
}

async function answer(
  app: FetchApp,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { next, prefix }: Required<Pick<NodeListenerOptions, "next" | "prefix">>,
): Promise<void> {
  const { url: target = "/" } = incoming;
  let own: OwnTarget | { readonly url: URL } | undefined =
    app[INTERNAL] && OwnTarget.of(incoming, target, prefix);
  if (!own) {
    const whole = urlOf(incoming, incoming.url);
    if (!whole) {
      outgoing.writeHead(400);
      outgoing.end();
      return;
    }
    // A router with `fetch` only can have paths that are not in the form of Sallyport's paths.
    const url = app[INTERNAL] ? undefined : routerUrl(whole, target, prefix);
    if (!url) return next(incoming, outgoing);
    own = { url };
  }
  const call = new NodeRequest(incoming, own);
  const internals = app[INTERNAL];
  if (internals) {
    const response = await internals.answer(call);
    if (!response) return next(incoming, outgoing);
    writeResponse(response, outgoing);
  } else {
    const response = await app.fetch(call.request);
    if (!response) return next(incoming, outgoing);
    await send(response, outgoing);
  }
  // An unread rest of the body would block the next request on the connection.
  if (!incoming.complete) incoming.resume();
}

/**
 * Returns the URL without the prefix, or `undefined` if the path has another prefix or would change
 * when it is resolved.
 */
function routerUrl(whole: URL, target: string, prefix: string): URL | undefined {
  if (!isUnambiguous(target) || !whole.pathname.startsWith(`${prefix}/`)) return undefined;
  const url = new URL(whole);
  url.pathname = whole.pathname.slice(prefix.length);
  return url;
}

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  outgoing.statusCode = response.status;
  response.headers.forEach((value, name) => {
    if (name !== "set-cookie") outgoing.setHeader(name, value);
  });
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  outgoing.end(response.body ? Buffer.from(await response.arrayBuffer()) : undefined);
}

function notFound(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(404, { "content-type": "application/json" });
  response.end('{"ok":false,"error":"Not found."}');
}
