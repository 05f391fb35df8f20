import { isUtf8 } from "node:buffer";
import { malformedRequest } from "../errors.ts";
import type { HttpRequest } from "./http.ts";

/** Maximum nesting of arrays and objects in a message, because schemas and encoders recurse. */
const MAX_DEPTH = 64;

/** Returns the `value` of {@link readJsonText}. */
export async function readJson(
  http: HttpRequest,
  maxBytes: number,
): Promise<Record<string, unknown> | undefined> {
  return (await readJsonText(http, maxBytes))?.value;
}

/**
 * Reads the body of a call as a JSON object.
 *
 * @returns the text and the object, or `undefined` if the body is empty.
 * @throws RequestError with 413 if the body has more than `maxBytes`, and with 400 if it is not a
 *   JSON object in UTF-8
 */
export async function readJsonText(
  http: HttpRequest,
  maxBytes: number,
): Promise<{ readonly text: string; readonly value: Record<string, unknown> } | undefined> {
  const bytes = await http.body(maxBytes);
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) throw malformedRequest("The body is not UTF-8. Send a JSON object in UTF-8.");
  // For a body of this size, it costs a third of a TextDecoder.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  if (isTooDeep(text))
    throw malformedRequest(`The body is nested deeper than ${MAX_DEPTH} levels. Send a flatter object.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformedRequest("The body is not valid JSON. Send a JSON object.");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformedRequest(
      `The body is ${value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`}, not a JSON object. Send an object.`,
    );
  }
  if (text.includes("\\u0000") && containsNul(value))
    throw malformedRequest(
      "The body has a NUL character in a string, which databases cannot store. Remove it.",
    );
  return { text, value: value as Record<string, unknown> };
}

/** Returns whether a value contains a NUL character, which neither database can store in text. */
function containsNul(value: unknown): boolean {
  if (typeof value === "string") return value.includes("\0");
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([key, inner]) => key.includes("\0") || containsNul(inner));
}

/** Checks the nesting before the text is parsed. Brackets in strings are not counted. */
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

const BACKSLASH = 0x5c;
const QUOTE = 0x22;

/**
 * Returns the source text of a number in a JSON object, such as `1e2` or `12345678901234567890`.
 * JSON.parse can change such numbers.
 *
 * @param text a JSON object that JSON.parse accepts
 * @param name the name of the member. Of duplicate members, the last one is used, as in JSON.parse
 * @returns `undefined` if the member is missing or is not a number
 */
export function numberSource(text: string, name: string): string | undefined {
  let source: string | undefined;
  let depth = 0;
  let isName = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) {
      const end = endOfString(text, index);
      if (isName && nameOf(text.slice(index, end)) === name) {
        NUMBER.lastIndex = end;
        source = NUMBER.exec(text)?.[1];
      }
      isName = false;
      index = end - 1;
    } else if (code === 0x7b || code === 0x5b) {
      isName = ++depth === 1;
    } else if (code === 0x7d || code === 0x5d) {
      depth--;
    } else if (code === 0x2c && depth === 1) {
      isName = true;
    }
  }
  return source;
}

const NUMBER = /\s*:\s*(-?[0-9][0-9.eE+-]*)/y;

/** Returns the index after the closing quote. */
function endOfString(text: string, start: number): number {
  let index = start + 1;
  while (text.charCodeAt(index) !== QUOTE) index += text.charCodeAt(index) === BACKSLASH ? 2 : 1;
  return index + 1;
}

function nameOf(quoted: string): string {
  return quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
}
