import { ConfigurationError, malformed, RefusedError, SallyportError } from "../errors.ts";
import { ownPath } from "./path.ts";

/**
 * An HTTP request as the core reads it, whoever brought it: an adapter makes one of what its server has, and need not build a
 * web `Request` for each event.
 */
export interface HttpCall {
  readonly method: string;
  /** Its path is the one that the client sent. An adapter checks this before it creates the URL, because `new URL()` resolves `..`. */
  readonly url: URL;
  /** The path of `url`, where it is known before the URL is created: most events need no more. */
  readonly path?: string;
  /**
   * A header's value; undefined where none came. Repeated ones are joined by a comma, so that two secrets are none.
   *
   * @param name in any case
   */
  header(name: string): string | undefined;
  /**
   * All of the body; empty where there is none. Asked for once.
   *
   * @throws RefusedError with 413 when it is larger than `maxBytes`
   */
  body(maxBytes: number): Promise<Uint8Array>;
  /** The same as the web has it, for the app's own code. Built when first read. */
  readonly request: Request;
  /**
   * The API and stage that made the call where the way itself proves them, such as a Lambda function that nobody else may invoke.
   * No header becomes this.
   */
  readonly invokedBy?: { readonly apiId: string; readonly stage: string };
}

/** What goes back. */
export interface HttpAnswer {
  readonly status: number;
  /** Names are lower case. No content-length. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body: string | null;
}

/**
 * Converts a web `Request` to one of Sallyport's paths.
 *
 * @param prefix what comes before Sallyport's own paths. Default: nothing
 * @returns undefined if the path has another prefix, or is not in the form of Sallyport's paths
 */
export function ownWebCall(request: Request, prefix = ""): HttpCall | undefined {
  const target = request.url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*/i, "");
  const path = ownPath(target, prefix);
  if (path === undefined) return undefined;
  const url = new URL(request.url);
  url.pathname = path;
  return webCall(request, url);
}

/** A web `Request` as a call. */
export function webCall(request: Request, url: URL = new URL(request.url)): HttpCall {
  return {
    method: request.method,
    url,
    header: (name) => request.headers.get(name) ?? undefined,
    body: (maxBytes) => webBody(request, maxBytes),
    request,
  };
}

export function webResponse({ status, headers, body }: HttpAnswer): Response {
  return new Response(body, { status, headers });
}

/** The body of a web `Request`. @throws RefusedError with 413 when it is larger than `maxBytes` */
export async function webBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  refuseAnnounced(request.headers.get("content-length"), maxBytes);
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
    throw error instanceof SallyportError ? error : cutShort(error);
  }
  return joined(chunks);
}

/** @throws RefusedError with 413 for a content-length of more than `maxBytes` */
export function refuseAnnounced(contentLength: string | null | undefined, maxBytes: number): void {
  if (Number(contentLength ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

export function tooLarge(maxBytes: number): RefusedError {
  return new RefusedError(`The body is larger than ${maxBytes} bytes.`, {
    reason: "too-large",
    status: 413,
    reply: "Message too large.",
  });
}

/** The client closed the connection before the end of the body. */
export function cutShort(cause?: unknown): RefusedError {
  const error = malformed("The request ended before its body did.");
  if (cause !== undefined) error.cause = cause;
  return error;
}

/** A body can be read once. Waiting for the rest of one that was read would never end. */
export function alreadyRead(): ConfigurationError {
  return new ConfigurationError(
    "Something has read this request's body before Sallyport could. Mount Sallyport before any body parser.",
  );
}

export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}
