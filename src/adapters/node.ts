import type { IncomingMessage, ServerResponse } from "node:http";

/** The slice of an app that answers requests: a Sallyport, or a router that asks one. */
export interface FetchApp {
  /** Called once, when the listener is made: from then on changes made elsewhere and grants that end are enforced. */
  start?(): void;
  fetch(request: Request): Response | undefined | Promise<Response | undefined>;
}

export interface NodeListenerOptions {
  /** Answers what the app leaves unanswered. Default: 404. */
  readonly next?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Told of what the app threw; the peer gets an empty 500. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
}

/**
 * A listener for `http.createServer()` that answers with an app's `fetch`. A response is sent when all of it is
 * there: ours are small, and nothing here streams.
 */
export function nodeListener(
  app: FetchApp,
  options: NodeListenerOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const { next = notFound, onError = (error) => console.error(error) } = options;
  app.start?.();
  return (incoming, outgoing) => {
    answer(app, incoming, outgoing, next).catch((error) => {
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
  next: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<void> {
  const request = toRequest(incoming);
  if (!request) {
    outgoing.writeHead(400).end();
    return;
  }
  const response = await app.fetch(request);
  if (!response) return next(incoming, outgoing);
  await send(response, outgoing);
  // A body that nobody read to its end must not hold up the connection's next request.
  if (!incoming.complete) incoming.resume();
}

/** Undefined for a request line that makes no URL, which only a hostile client sends. */
function toRequest(incoming: IncomingMessage): Request | undefined {
  const { method = "GET", url = "/" } = incoming;
  const host = incoming.headers.host ?? "localhost";
  // Pasted before the path, a host with a / or ? in it would choose the path.
  if (!/^[A-Za-z0-9.:[\]_-]+$/.test(host)) return undefined;
  const headers = new Headers();
  try {
    for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
      headers.append(incoming.rawHeaders[index] ?? "", incoming.rawHeaders[index + 1] ?? "");
    }
    const target = new URL(url.startsWith("/") ? `http://${host}${url}` : url);
    const hasBody = method !== "GET" && method !== "HEAD";
    return new Request(target, {
      method,
      headers,
      ...(hasBody ? { body: bodyOf(incoming), duplex: "half" } : {}),
    } as RequestInit);
  } catch {
    return undefined;
  }
}

/** Read when asked for and not before; left alone, and not torn down, by an app that has read enough. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let chunks: AsyncIterableIterator<Uint8Array> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        chunks ??= incoming.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Uint8Array>;
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await chunks?.return?.();
      },
    },
    { highWaterMark: 0 },
  );
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
