import type { IncomingMessage, ServerResponse } from "node:http";

type Fetch = (request: Request) => Response | Promise<Response>;

/**
 * Lets a `fetch` handler answer a Node request. A request that cannot be expressed as one is answered 400.
 *
 * @param maxBytes how much of a body the handler sees; the rest is read and dropped, so that the connection
 *   stays in step
 */
export async function answerWith(
  fetch: Fetch,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  maxBytes: number,
): Promise<void> {
  const request = toRequest(incoming, await readAtMost(incoming, maxBytes));
  if (!request) {
    outgoing.writeHead(400, { connection: "close" }).end();
    return;
  }
  const response = await fetch(request);
  const body = Buffer.from(await response.arrayBuffer());
  // Node would announce an empty chunked body; AWS says content-length: 0.
  const length = response.status === 204 || body.length === 0 ? {} : { "content-length": body.length };
  outgoing.writeHead(response.status, { ...Object.fromEntries(response.headers), ...length }).end(body);
}

function toRequest(incoming: IncomingMessage, body: Buffer<ArrayBuffer>): Request | undefined {
  const { method = "GET", url = "/", headersDistinct } = incoming;
  try {
    const headers = new Headers();
    for (const [name, values] of Object.entries(headersDistinct)) headers.set(name, (values ?? []).join(","));
    return new Request(`http://local${url}`, { method, headers, body: body.length > 0 ? body : null });
  } catch {
    return undefined;
  }
}

async function readAtMost(incoming: IncomingMessage, maxBytes: number): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    if (bytes < maxBytes) chunks.push(chunk);
    bytes += chunk.length;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes);
}
