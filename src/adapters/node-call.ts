import type { IncomingMessage, ServerResponse } from "node:http";
import { malformed } from "../errors.ts";
import {
  alreadyRead,
  cutShort,
  type HttpAnswer,
  type HttpCall,
  joined,
  refuseAnnounced,
  tooLarge,
  webBody,
} from "../protocol/http-call.ts";
import { ownPath } from "../protocol/path.ts";

/**
 * The target of a request to one of Sallyport's paths, without the prefix. The URL is created when it is read for the first time, as
 * it costs more than the checks of a message.
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
   * @param target the request target, as it was received
   * @returns undefined if the path is not in the form of Sallyport's paths, or no URL can be created
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

/** Hosts that were found to be valid or not. API Gateway sends the same one with each event. */
const knownHosts = new Map<string, boolean>();
const MAX_KNOWN_HOSTS = 100;

/** Returns true for a host that a URL can be created of. */
function isHost(host: string): boolean {
  let isValid = knownHosts.get(host);
  if (isValid === undefined) {
    // Before the path, a host with a / or ? in it would choose the path.
    isValid = /^[A-Za-z0-9.:[\]_-]+$/.test(host) && URL.canParse(`http://${host}/`);
    if (knownHosts.size >= MAX_KNOWN_HOSTS) knownHosts.clear();
    if (host.length <= MAX_HOST) knownHosts.set(host, isValid);
  }
  return isValid;
}

/** Longest host that is remembered. Source: RFC 1035 §2.3.4, 255 octets of a name. */
const MAX_HOST = 300;

/** Undefined for a request that makes no URL or no web `Request`, which only a hostile client sends. @param url path and query */
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

/** Methods that a web `Request` refuses. Source: WHATWG Fetch, "forbidden method". */
const FORBIDDEN_METHODS = new Set(["CONNECT", "TRACE", "TRACK"]);

/** What a framework has made of a request before us. */
export interface FrameworkRequest {
  /** The adapter that made it. */
  readonly by: Adapter;
  /** The request as the framework's own code knows it, for {@link frameworkRequest}. */
  readonly source: unknown;
  /** What a body parser has made of the body, if one has read it. */
  parsedBody(): unknown;
}

export type Adapter = "node" | "express" | "fastify" | "hono" | "lambda";

const origins = new WeakMap<Request, { readonly by: Adapter; readonly source: unknown }>();

/** What a web `Request` was made from, where this adapter made it. */
export function frameworkRequest(by: Adapter, request: Request): unknown {
  const origin = origins.get(request);
  return origin?.by === by ? origin.source : undefined;
}

/** Notes what a web `Request` was made from. */
export function linkFrameworkRequest(by: Adapter, request: Request, source: unknown): Request {
  origins.set(request, { by, source });
  return request;
}

/**
 * Node's own request, for what middleware has put there, such as a session: for `authenticate`, and for the author's `connect()`.
 *
 * @returns undefined for a request that came another way
 */
export function nodeRequest<Incoming extends IncomingMessage = IncomingMessage>(
  request: Request,
): Incoming | undefined {
  return frameworkRequest("node", request) as Incoming | undefined;
}

/** A Node request as the core reads it. */
export class NodeCall implements HttpCall {
  readonly path: string | undefined;
  readonly #incoming: IncomingMessage;
  readonly #target: OwnTarget | { readonly path?: string; readonly url: URL };
  readonly #origin: FrameworkRequest | undefined;
  #request: Request | undefined;

  /** @param origin Default: the request is Node's own, and no body parser has read it */
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
    // Once it was built, the app's code may have read from it.
    if (this.#request) return webBody(this.#request, maxBytes);
    refuseAnnounced(this.#incoming.headers["content-length"], maxBytes);
    if (!hasBody(this.#incoming)) return new Uint8Array();
    const parsed = this.#parsed();
    if (!parsed) return readAtMost(this.#incoming, maxBytes);
    if (parsed.length > maxBytes) throw tooLarge(maxBytes);
    return parsed;
  }

  /** The bytes that a body parser has made something of, or undefined where nobody has read them. */
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
      // HTTP/2 tells method and path so.
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
 * What a parser has left of a body, as bytes. JSON is written anew: what it says is the same.
 *
 * @returns undefined for what cannot be turned back
 * @throws RefusedError for what is nested too deeply to be written
 */
function bytesOf(parsed: unknown, contentType = ""): Uint8Array | undefined {
  if (parsed instanceof Uint8Array) return parsed;
  if (typeof parsed === "string") return Buffer.from(parsed);
  const isForm = /^(application\/x-www-form-urlencoded|multipart\/)/i.test(contentType);
  if (typeof parsed !== "object" || parsed === null || isForm) return undefined;
  try {
    return Buffer.from(JSON.stringify(parsed));
  } catch {
    throw malformed("The message is nested too deeply.");
  }
}

/** Source: RFC 9112 §6.3, a request without a length and a transfer coding has no body. */
function hasBody({ method, headers, httpVersionMajor }: IncomingMessage): boolean {
  if (method === "GET" || method === "HEAD") return false;
  // There a body may come without either.
  if (httpVersionMajor >= 2) return headers["content-length"] !== "0";
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** What is too large is left to be read and dropped later, so that the connection stays in step. */
function readAtMost(incoming: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  refuseRead(incoming);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let isSettled = false;
    // The listeners stay: they are collected with the request, and removing them would cost as much as adding them.
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
      resolve(joined(chunks));
    };
    const onCut = (error?: Error) => {
      // An Error costs more than the rest of this function, and `close` follows every `end`.
      if (isSettled) return;
      isSettled = true;
      reject(cutShort(error));
    };
    incoming.on("data", onData).on("end", onEnd).on("error", onCut).on("close", onCut);
    if (incoming.destroyed) onCut();
  });
}

function isRead({ readableDidRead, readableEnded }: IncomingMessage): boolean {
  return readableDidRead || readableEnded;
}

/** @throws ConfigurationError for a body that is gone: waiting for it would last for good */
function refuseRead(incoming: IncomingMessage): void {
  if (!isRead(incoming)) return;
  throw alreadyRead();
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

/** Sends an answer through Node's response. */
export function writeAnswer({ status, headers, body }: HttpAnswer, outgoing: ServerResponse): void {
  // Somebody else has answered meanwhile, such as a middleware that watches the time.
  if (outgoing.headersSent || outgoing.writableEnded) return;
  const all: Record<string, string | number> = {};
  for (const name in headers) all[name] = headers[name] as string;
  if (body !== null) all["content-length"] = Buffer.byteLength(body);
  // Two statements, because restify's writeHead() returns nothing.
  outgoing.writeHead(status, all);
  outgoing.end(body ?? undefined);
}
