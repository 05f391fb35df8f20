import type { IncomingMessage, ServerResponse } from "node:http";
import * as v from "valibot";
import { printError } from "../error-output.ts";
import { ErrorReporter } from "../error-reporter.ts";
import { functionOption, optionsOf, parseOptions } from "../options.ts";
import type { HttpAnswer, HttpCall } from "../protocol/http-call.ts";
import { isUnambiguous } from "../protocol/path.ts";
import { prefixOption } from "./app-handler.ts";
import { NodeCall, nodeRequest, OwnTarget, urlOf, writeAnswer } from "./node-call.ts";

export { nodeRequest };

/** The slice of an app that answers requests: a Sallyport, or a router that asks one. */
export interface FetchApp {
  /** Called once, when the listener is made: from then on changes made elsewhere and grants that end are enforced. */
  start?(): void;
  fetch(request: Request): Response | undefined | Promise<Response | undefined>;
  /**
   * Asked in place of `fetch` where an app has it: no `Request` and no `Response` are built. An app that wraps `fetch` passes
   * an object with `fetch` alone.
   */
  answer?(http: HttpCall): Promise<HttpAnswer | undefined>;
}

type Next = (request: IncomingMessage, response: ServerResponse) => void;

export interface NodeListenerOptions {
  /** Answers what the app leaves unanswered. Default: 404. */
  readonly next?: Next | undefined;
  /** What comes before the app's own paths, such as `/realtime`. Default: nothing. */
  readonly prefix?: string | undefined;
  /** Called with what the app threw; the client gets an empty 500. Default: prints to stderr, equal errors once per second. */
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
 * A listener for `http.createServer()` that answers with an app's `answer`, or its `fetch`. A response is sent when all of
 * it is there: ours are small, and nothing here streams.
 */
export function nodeListener(
  app: FetchApp,
  options: NodeListenerOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const { next, prefix, onError } = parseOptions("nodeListener()", NODE_LISTENER_OPTIONS, options);
  app.start?.();
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
    app.answer && OwnTarget.of(incoming, target, prefix);
  if (!own) {
    const whole = urlOf(incoming, incoming.url);
    if (!whole) {
      outgoing.writeHead(400);
      outgoing.end();
      return;
    }
    // A router that only has `fetch` may have other paths than Sallyport's.
    const url = app.answer ? undefined : routerUrl(whole, target, prefix);
    if (!url) return next(incoming, outgoing);
    own = { url };
  }
  const call = new NodeCall(incoming, own);
  if (app.answer) {
    const answered = await app.answer(call);
    if (!answered) return next(incoming, outgoing);
    writeAnswer(answered, outgoing);
  } else {
    const response = await app.fetch(call.request);
    if (!response) return next(incoming, outgoing);
    await send(response, outgoing);
  }
  // A body that nobody read to its end must not hold up the connection's next request.
  if (!incoming.complete) incoming.resume();
}

/** Returns the URL without its prefix, or undefined if it has another one or its path would change when it is resolved. */
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
