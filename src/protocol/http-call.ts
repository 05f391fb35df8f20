import { malformed, RefusedError, SallyportError } from "../errors.ts";

/**
 * An HTTP request as the core reads it, whoever brought it: an adapter makes one of what its server has, and need not build a
 * web `Request` for each event.
 */
export interface HttpCall {
  readonly method: string;
  readonly url: URL;
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

/** A web `Request` as a call. */
export function webCall(request: Request): HttpCall {
  return {
    method: request.method,
    url: new URL(request.url),
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
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      length += chunk.length;
      if (length > maxBytes) throw tooLarge(maxBytes);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof SallyportError ? error : cutShort();
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

/** The peer hung up in the middle. */
export function cutShort(): RefusedError {
  return malformed("The request ended before its body did.");
}

export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}
