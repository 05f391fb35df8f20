import { malformed, RefusedError } from "../errors.ts";

/** Deepest nesting of lists and objects in a message; schemas and encoders recurse. */
const MAX_DEPTH = 64;

/**
 * Reads a request's body as a JSON object; undefined when it is empty.
 *
 * @throws RefusedError with 413 over `maxBytes`, with 400 for anything that is not a JSON object in UTF-8
 */
export async function readJson(
  request: Request,
  maxBytes: number,
): Promise<Record<string, unknown> | undefined> {
  const bytes = await readBytes(request, maxBytes);
  if (bytes.length === 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw malformed("The body is not UTF-8.");
  }
  if (isTooDeep(text)) throw malformed(`The body nests deeper than ${MAX_DEPTH}.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed("The body is not JSON.");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed(
      `The body is ${value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`}, not a JSON object.`,
    );
  }
  if (text.includes("\\u0000") && holdsNul(value)) throw malformed("The body has a NUL character in a text.");
  return value as Record<string, unknown>;
}

/** Neither database stores NUL in text, so no app could do anything with it but fail. */
function holdsNul(value: unknown): boolean {
  if (typeof value === "string") return value.includes("\0");
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([key, inner]) => key.includes("\0") || holdsNul(inner));
}

async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () =>
    new RefusedError(`The body is larger than ${maxBytes} bytes.`, {
      reason: "too-large",
      status: 413,
      reply: "Message too large.",
    });
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge();
  if (!request.body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}

/** Looked at before parsing; brackets inside strings do not count. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (inString) {
      if (code === 0x5c) index++;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}
