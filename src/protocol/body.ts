import { isUtf8 } from "node:buffer";
import { malformed } from "../errors.ts";
import type { HttpCall } from "./http-call.ts";

/** Deepest nesting of lists and objects in a message; schemas and encoders recurse. */
const MAX_DEPTH = 64;

/** Returns the `value` of {@link readJsonText}. */
export async function readJson(
  http: HttpCall,
  maxBytes: number,
): Promise<Record<string, unknown> | undefined> {
  return (await readJsonText(http, maxBytes))?.value;
}

/**
 * Reads a call's body as a JSON object; undefined when it is empty.
 *
 * @throws RefusedError with 413 over `maxBytes`, with 400 for anything that is not a JSON object in UTF-8
 */
export async function readJsonText(
  http: HttpCall,
  maxBytes: number,
): Promise<{ readonly text: string; readonly value: Record<string, unknown> } | undefined> {
  const bytes = await http.body(maxBytes);
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) throw malformed("The body is not UTF-8.");
  // A third of the cost of a TextDecoder for a body of this size.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
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
  return { text, value: value as Record<string, unknown> };
}

/** Neither database stores NUL in text, so no app could do anything with it but fail. */
function holdsNul(value: unknown): boolean {
  if (typeof value === "string") return value.includes("\0");
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([key, inner]) => key.includes("\0") || holdsNul(inner));
}

/** Looked at before parsing; brackets inside strings do not count. */
function isTooDeep(text: string): boolean {
  if (text.length <= MAX_DEPTH) return false;
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
