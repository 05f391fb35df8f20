import type { IncomingMessage, ServerResponse } from "node:http";
import { malformedRequest } from "../errors.ts";
import {
  alreadyRead,
  bodyInterrupted,
  checkContentLength,
  concatChunks,
  type HttpRequest,
  type HttpResponse,
  tooLarge,
  webBody,
} from "../protocol/http.ts";
import { ownPath } from "../protocol/path.ts";

/**
 * The target of a request to a path of Sallyport, without the prefix.
 *
 * The URL is created on first read, because it costs more than the checks of a message.
 */
export class OwnTarget {
  readonly path: string;
  readonly #incoming: IncomingMessage;
  readonly #target: string;
  #url: URL | undefined;

  private constructor(incoming: IncomingMessage, target: string, path: string) {
    this.#incoming = incoming;
    this.#target = target;
    this.path = path;
  }

  /**
   * Creates a target.
   *
   * @param target the received request target, unchanged
   * @returns `undefined` if the path does not have the form of Sallyport's paths, or the URL is
   *   invalid
   */
  static of(incoming: IncomingMessage, target: string, prefix = ""): OwnTarget | undefined {
    const path = ownPath(target, prefix);
    if (path === undefined || !target.startsWith("/")) return undefined;
    const { headers, method = "GET" } = incoming;
    if (FORBIDDEN_METHODS.has(method) || !isHost(headers.host ?? "localhost")) return undefined;
    return new OwnTarget(incoming, target, path);
  }

  get url(): URL {
    if (!this.#url) {
      this.#url = new URL(`http://${this.#incoming.headers.host ?? "localhost"}${this.#target}`);
      this.#url.pathname = this.path;
    }
    return this.#url;
  }
}

/** Cache of checked hosts. API Gateway sends the same host with each event. */
const checkedHosts = new Map<string, boolean>();
const MAX_CHECKED_HOSTS = 100;

/** Returns whether a host can be part of a URL. */
function isHost(host: string): boolean {
  let isValid = checkedHosts.get(host);
  if (isValid === undefined) {
    // A host with a / or ? would change the path of the URL.
    isValid = /^[A-Za-z0-9.:[\]_-]+$/.test(host) && URL.canParse(`http://${host}/`);
    if (checkedHosts.size >= MAX_CHECKED_HOSTS) checkedHosts.clear();
    if (host.length <= MAX_HOST_LENGTH) checkedHosts.set(host, isValid);
  }
  return isValid;
}

/** Maximum length of a cached host. Source: RFC 1035 §2.3.4, 255 octets for a name. */
const MAX_HOST_LENGTH = 300;

/**
 * Returns the URL of a request.
 *
 * @param url path and query
 * @returns `undefined` if no URL or web `Request` can be created, which only a hostile client
 *   causes
 */
export function urlOf({ headers, method = "GET" }: IncomingMessage, url = "/"): URL | undefined {
  const host = headers.host ?? "localhost";
  if (!isHost(host) || FORBIDDEN_METHODS.has(method)) return undefined;
  try {
    const target = new URL(url.startsWith("/") ? `http://${host}${url}` : url);
    return target.username === "" && target.password === "" ? target : undefined;
  } catch {
    return undefined;
  }
}

/** Methods that a web `Request` does not allow. Source: WHATWG Fetch, "forbidden method". */
const FORBIDDEN_METHODS = new Set(["CONNECT", "TRACE", "TRACK"]);

/** The request of a framework that has processed it before. */
export interface FrameworkRequest {
  /** The adapter that created it. */
  readonly by: Adapter;
  /** The request object of the framework, for {@link frameworkRequest}. */
  readonly source: unknown;
  /** Returns the body as a body parser has parsed it, or `undefined`. */
  parsedBody(): unknown;
}

/** The name of an adapter. */
export type Adapter = "node" | "express" | "fastify" | "hono" | "lambda";

const frameworkRequests = new WeakMap<Request, { readonly by: Adapter; readonly source: unknown }>();

/** Returns the framework request of a web `Request`, if the given adapter created it. */
export function frameworkRequest(by: Adapter, request: Request): unknown {
  const origin = frameworkRequests.get(request);
  return origin?.by === by ? origin.source : undefined;
}

/** Links a web `Request` to its framework request. Returns the web `Request`. */
export function linkFrameworkRequest(by: Adapter, request: Request, source: unknown): Request {
  frameworkRequests.set(request, { by, source });
  return request;
}

/**
 * Returns the Node request of a web `Request`, with properties of middleware such as a session.
 * Call it in `authenticate` and in `connect()` of a view.
 *
 * @returns `undefined` for a request that this adapter did not create
 */
export function nodeRequest<Incoming extends IncomingMessage = IncomingMessage>(
  request: Request,
): Incoming | undefined {
  return frameworkRequest("node", request) as Incoming | undefined;
}

/** A Node request as an {@link HttpRequest}. */
export class NodeRequest implements HttpRequest {
  readonly path: string | undefined;
  readonly #incoming: IncomingMessage;
  readonly #target: OwnTarget | { readonly path?: string; readonly url: URL };
  readonly #origin: FrameworkRequest | undefined;
  #request: Request | undefined;

  /**
   * @param origin the request of a framework. Default: the Node request itself, with an unread body
   */
  constructor(
    incoming: IncomingMessage,
    target: OwnTarget | { readonly url: URL },
    origin?: FrameworkRequest,
  ) {
    this.#incoming = incoming;
    this.#target = target;
    this.path = "path" in target ? target.path : undefined;
    this.#origin = origin;
  }

  get url(): URL {
    return this.#target.url;
  }

  get method(): string {
    return this.#incoming.method ?? "GET";
  }

  header(name: string): string | undefined {
    const value = this.#incoming.headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  async body(maxBytes: number): Promise<Uint8Array> {
    // After the web Request was created, the code of the app can have read from it.
    if (this.#request) return webBody(this.#request, maxBytes);
    checkContentLength(this.#incoming.headers["content-length"], maxBytes);
    if (!hasBody(this.#incoming)) return new Uint8Array();
    const parsed = this.#parsed();
    if (!parsed) return readAtMost(this.#incoming, maxBytes);
    if (parsed.length > maxBytes) throw tooLarge(maxBytes);
    return parsed;
  }

  /** Returns the bytes of a body that a body parser has read, or `undefined` if it is unread. */
  #parsed(): Uint8Array | undefined {
    if (!isRead(this.#incoming)) return undefined;
    return bytesOf(this.#origin?.parsedBody(), this.#incoming.headers["content-type"]);
  }

  get request(): Request {
    this.#request ??= this.#toRequest();
    return this.#request;
  }

  #toRequest(): Request {
    const { rawHeaders } = this.#incoming;
    const headers = new Headers();
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const name = rawHeaders[index] ?? "";
      // HTTP/2 sends method and path in such pseudo-headers.
      if (!name.startsWith(":")) headers.append(name, rawHeaders[index + 1] ?? "");
    }
    const init = { method: this.method, headers };
    const body = hasBody(this.#incoming) ? (this.#parsed() ?? streamOf(this.#incoming)) : null;
    const request = new Request(this.url, { ...init, body, duplex: "half" } as RequestInit);
    const { by, source } = this.#origin ?? { by: "node", source: this.#incoming };
    return linkFrameworkRequest(by, request, source);
  }
}

/**
 * Returns a parsed body as bytes. JSON is serialized again.
 *
 * @returns `undefined` if the body cannot be restored, such as a form
 * @throws RequestError if the body is nested too deeply to serialize it
 */
function bytesOf(parsed: unknown, contentType = ""): Uint8Array | undefined {
  if (parsed instanceof Uint8Array) return parsed;
  if (typeof parsed === "string") return Buffer.from(parsed);
  const isForm = /^(application\/x-www-form-urlencoded|multipart\/)/i.test(contentType);
  if (typeof parsed !== "object" || parsed === null || isForm) return undefined;
  try {
    return Buffer.from(JSON.stringify(parsed));
  } catch {
    throw malformedRequest("The message is nested too deeply. Send a flatter object.");
  }
}

/** Returns whether a request has a body: a length or a transfer coding. Source: RFC 9112 §6.3. */
function hasBody({ method, headers, httpVersionMajor }: IncomingMessage): boolean {
  if (method === "GET" || method === "HEAD") return false;
  // In HTTP/2, a body needs neither header.
  if (httpVersionMajor >= 2) return headers["content-length"] !== "0";
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Reads a body of at most `maxBytes`. The rest of a larger body is read and discarded later, so
 * that the connection stays usable.
 */
function readAtMost(incoming: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  requireUnread(incoming);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let isSettled = false;
    // The listeners are not removed, because that would cost as much as adding them.
    const onData = (chunk: Buffer) => {
      if (isSettled) return;
      length += chunk.length;
      chunks.push(chunk);
      if (length <= maxBytes) return;
      isSettled = true;
      chunks.length = 0;
      reject(tooLarge(maxBytes));
    };
    const onEnd = () => {
      isSettled = true;
      resolve(concatChunks(chunks));
    };
    const onInterrupted = (error?: Error) => {
      // `close` follows every `end`, and creating an Error costs more than the rest of this
      // function.
      if (isSettled) return;
      isSettled = true;
      reject(bodyInterrupted(error));
    };
    incoming.on("data", onData).on("end", onEnd).on("error", onInterrupted).on("close", onInterrupted);
    if (incoming.destroyed) onInterrupted();
  });
}

function isRead({ readableDidRead, readableEnded }: IncomingMessage): boolean {
  return readableDidRead || readableEnded;
}

/**
 * Checks that the body is unread.
 *
 * @throws ConfigurationError if it was read, as a wait would not end
 */
function requireUnread(incoming: IncomingMessage): void {
  if (!isRead(incoming)) return;
  throw alreadyRead();
}

/**
 * Returns the body as a stream that is read on demand. An app that stops reading does not destroy
 * the request.
 */
function streamOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let chunks: AsyncIterableIterator<Uint8Array> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!chunks) requireUnread(incoming);
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

/** Sends an answer with a Node response. */
export function writeResponse({ status, headers, body }: HttpResponse, outgoing: ServerResponse): void {
  // Other code has responded in between, such as a timeout middleware.
  if (outgoing.headersSent || outgoing.writableEnded) return;
  const all: Record<string, string | number> = {};
  for (const name in headers) all[name] = headers[name] as string;
  if (body !== null) all["content-length"] = Buffer.byteLength(body);
  // Not chained, because writeHead() of restify returns nothing.
  outgoing.writeHead(status, all);
  outgoing.end(body ?? undefined);
}
