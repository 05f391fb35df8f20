import type { IncomingMessage } from "node:http";

/**
 * Reads a body, including the rest of one that is too large, so that the connection can be reused.
 *
 * @param done called with the body, or with undefined if it was larger than `maxBytes`
 */
export function readUpTo(
  maxBytes: number,
  incoming: IncomingMessage,
  done: (body: Buffer | undefined) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  incoming.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
  });
  incoming.on("end", () => done(bytes <= maxBytes ? Buffer.concat(chunks) : undefined));
}
