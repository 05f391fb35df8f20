import type { IncomingMessage, ServerResponse } from "node:http";
import { ConfigurationError } from "../errors.ts";
import {
  cutShort,
  type HttpAnswer,
  type HttpCall,
  joined,
  refuseAnnounced,
  tooLarge,
  webBody,
} from "../protocol/http-call.ts";

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

export interface NodeListenerOptions {
  /** Answers what the app leaves unanswered. Default: 404. */
  readonly next?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Told of what the app threw; the peer gets an empty 500. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
}

/**
 * A listener for `http.createServer()` that answers with an app's `answer`, or its `fetch`. A response is sent when all of
 * it is there: ours are small, and nothing here streams.
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
  const url = urlOf(incoming);
  if (!url) {
    outgoing.writeHead(400).end();
    return;
  }
  const call = new NodeCall(incoming, url);
  if (app.answer) {
    const answered = await app.answer(call);
    if (!answered) return next(incoming, outgoing);
    write(answered, outgoing);
  } else {
    const response = await app.fetch(call.request);
    if (!response) return next(incoming, outgoing);
    await send(response, outgoing);
  }
  // A body that nobody read to its end must not hold up the connection's next request.
  if (!incoming.complete) incoming.resume();
}

/** Undefined for a request that makes no URL or no web `Request`, which only a hostile client sends. */
function urlOf({ url = "/", headers, method = "GET" }: IncomingMessage): URL | undefined {
  const host = headers.host ?? "localhost";
  // Pasted before the path, a host with a / or ? in it would choose the path.
  if (!/^[A-Za-z0-9.:[\]_-]+$/.test(host) || FORBIDDEN_METHODS.has(method)) return undefined;
  try {
    const target = new URL(url.startsWith("/") ? `http://${host}${url}` : url);
    return target.username === "" && target.password === "" ? target : undefined;
  } catch {
    return undefined;
  }
}

/** Methods that a web `Request` refuses. Source: WHATWG Fetch, "forbidden method". */
const FORBIDDEN_METHODS = new Set(["CONNECT", "TRACE", "TRACK"]);

/** A Node request as the core reads it. */
class NodeCall implements HttpCall {
  readonly url: URL;
  readonly #incoming: IncomingMessage;
  #request: Request | undefined;

  constructor(incoming: IncomingMessage, url: URL) {
    this.#incoming = incoming;
    this.url = url;
  }

  get method(): string {
    return this.#incoming.method ?? "GET";
  }

  header(name: string): string | undefined {
    const value = this.#incoming.headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  async body(maxBytes: number): Promise<Uint8Array> {
    // Once it was built, the app's code may have read from it.
    if (this.#request) return webBody(this.#request, maxBytes);
    refuseAnnounced(this.#incoming.headers["content-length"], maxBytes);
    return hasBody(this.#incoming) ? readAtMost(this.#incoming, maxBytes) : new Uint8Array();
  }

  get request(): Request {
    this.#request ??= this.#toRequest();
    return this.#request;
  }

  #toRequest(): Request {
    const { rawHeaders } = this.#incoming;
    const headers = new Headers();
    for (let index = 0; index < rawHeaders.length; index += 2) {
      headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
    }
    const init = { method: this.method, headers };
    if (!hasBody(this.#incoming)) return new Request(this.url, init);
    return new Request(this.url, { ...init, body: streamOf(this.#incoming), duplex: "half" } as RequestInit);
  }
}

/** Source: RFC 9112 §6.3, a request without a length and a transfer coding has no body. */
function hasBody({ method, headers }: IncomingMessage): boolean {
  if (method === "GET" || method === "HEAD") return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** What is too large is left to be read and dropped later, so that the connection stays in step. */
function readAtMost(incoming: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  refuseRead(incoming);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (outcome: () => void) => {
      incoming.off("data", onData).off("end", onEnd).off("error", onCut).off("close", onCut);
      outcome();
    };
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > maxBytes) settle(() => reject(tooLarge(maxBytes)));
    };
    const onEnd = () => settle(() => resolve(joined(chunks)));
    const onCut = () => settle(() => reject(cutShort()));
    incoming.on("data", onData).on("end", onEnd).on("error", onCut).on("close", onCut);
    if (incoming.destroyed) onCut();
  });
}

/** @throws ConfigurationError for a body that is gone: waiting for it would last for good */
function refuseRead(incoming: IncomingMessage): void {
  if (!incoming.readableDidRead && !incoming.readableEnded) return;
  throw new ConfigurationError(
    "Something has read this request's body before Sallyport could. Mount Sallyport before any body parser.",
  );
}

/** Read when asked for and not before; left alone, and not torn down, by an app that has read enough. */
function streamOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let chunks: AsyncIterableIterator<Uint8Array> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!chunks) refuseRead(incoming);
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

function write({ status, headers, body }: HttpAnswer, outgoing: ServerResponse): void {
  const all: Record<string, string | number> = {};
  for (const name in headers) all[name] = headers[name] as string;
  if (body !== null) all["content-length"] = Buffer.byteLength(body);
  outgoing.writeHead(status, all).end(body ?? undefined);
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
