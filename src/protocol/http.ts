import {
  ConfigurationError,
  malformedRequest,
  PayloadTooLargeError,
  type RequestError,
  SallyportError,
} from "../errors.ts";
import { ownPath } from "./path.ts";

/** The methods of the token endpoint, as in the header `Allow` of a 405. */
export const TOKEN_METHODS = "POST, OPTIONS";

/**
 * An HTTP request that is independent of the server. Adapters create it, so that not every event
 * needs a web `Request`.
 */
export interface HttpRequest {
  readonly method: string;
  /**
   * The URL. Its path is the one that the client sent. Adapters check this before they create the
   * URL, because `new URL()` resolves `..`.
   */
  readonly url: URL;
  /**
   * The path of `url`, if it is known before the URL is created. Most events need only the path.
   */
  readonly path?: string;
  /**
   * Returns the value of a header, or `undefined`. Repeated headers are joined by a comma, so two
   * secrets are not a valid secret.
   *
   * @param name name of the header, case-insensitive
   */
  header(name: string): string | undefined;
  /**
   * Reads the whole body, which can be empty. Call it once.
   *
   * @throws RequestError with 413 if the body has more than `maxBytes`
   */
  body(maxBytes: number): Promise<Uint8Array>;
  /** The request as a web `Request`, for the code of the app. It is created on first read. */
  readonly request: Request;
  /**
   * The API and stage of the call, if the invocation itself proves them. An example is a Lambda
   * function that only this API is allowed to invoke. It is never read from a header.
   */
  readonly invokedBy?: { readonly apiId: string; readonly stage: string };
}

/** An HTTP response. */
export interface HttpResponse {
  readonly status: number;
  /** Headers with lowercase names, without `content-length`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body as JSON text, or `null` for an empty body. */
  readonly body: string | null;
}

/**
 * Converts a web `Request` to a call, if its path is in the form of the paths of Sallyport.
 *
 * @param prefix the path before the paths of Sallyport. Default: none
 * @returns `undefined` if the path has another prefix or another form
 */
export function ownWebCall(request: Request, prefix = ""): HttpRequest | undefined {
  const target = request.url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*/i, "");
  const path = ownPath(target, prefix);
  if (path === undefined) return undefined;
  const url = new URL(request.url);
  url.pathname = path;
  return webCall(request, url);
}

/** Converts a web `Request` to a call. */
export function webCall(request: Request, url: URL = new URL(request.url)): HttpRequest {
  return {
    method: request.method,
    url,
    header: (name) => request.headers.get(name) ?? undefined,
    body: (maxBytes) => webBody(request, maxBytes),
    request,
  };
}

/** Converts a response to a web `Response`. */
export function webResponse({ status, headers, body }: HttpResponse): Response {
  // A copy: servers that replace `Response`, such as @hono/node-server 1, add headers to the object.
  return new Response(body, { status, headers: { ...headers } });
}

/**
 * Reads the body of a web `Request`.
 *
 * @throws RequestError with 413 if the body has more than `maxBytes`
 */
export async function webBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  checkContentLength(request.headers.get("content-length"), maxBytes);
  if (!request.body) return new Uint8Array();
  if (request.bodyUsed || request.body.locked) throw alreadyRead();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      length += chunk.length;
      if (length > maxBytes) throw tooLarge(maxBytes);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof SallyportError ? error : bodyInterrupted(error);
  }
  return concatChunks(chunks);
}

/** Checks the `content-length` header. @throws RequestError with 413 if it exceeds `maxBytes` */
export function checkContentLength(contentLength: string | null | undefined, maxBytes: number): void {
  if (Number(contentLength ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

/** Returns the error for a body with more than `maxBytes`. */
export function tooLarge(maxBytes: number): RequestError {
  return new PayloadTooLargeError(`The body is larger than ${maxBytes} bytes. Send a smaller one.`, {
    reason: "too-large",
    clientMessage: "Message too large.",
  });
}

/** Returns the error for a client that closed the connection before the end of the body. */
export function bodyInterrupted(cause?: unknown): RequestError {
  const error = malformedRequest(
    "The client closed the connection before the end of the body. Send the request again.",
  );
  if (cause !== undefined) error.cause = cause;
  return error;
}

/** Returns the error for a body that was read before. A body can be read once only. */
export function alreadyRead(): ConfigurationError {
  return new ConfigurationError(
    "The body of the request was read before Sallyport could read it. Mount Sallyport before any body parser.",
  );
}

/** Concatenates the chunks of a body. */
export function concatChunks(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}
