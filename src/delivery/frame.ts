import { DeliveryError, RefusedError } from "../errors.ts";
import { pathName } from "../options.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { findJsonLoss, type JsonLoss } from "./json-value.ts";

/** Longest path to a part of a value that an error repeats, in characters. */
const MAX_PATH = 200;

/**
 * Encodes a value once for all recipients.
 *
 * @param name what an error calls the value, such as "message"; empty for an object of the server whose fields name themselves
 * @throws DeliveryError when JSON cannot carry all of the value, or when it has more than 128 KB as JSON
 */
export function encodeFrame(value: unknown, name = "message"): string {
  if (value === undefined) {
    throw cannotCarry(`${name} is undefined, which JSON cannot carry. Send an object or null.`);
  }
  let frame: string | undefined;
  try {
    frame = JSON.stringify(value);
    const found = findJsonLoss(value);
    if (found) throw lost(found, name);
  } catch (cause) {
    throw cause instanceof DeliveryError ? cause : notJson(value, name, cause);
  }
  if (frame === undefined) throw cannotCarry(`${name} has a toJSON method that returns undefined.`);
  const bytes = Buffer.byteLength(frame);
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new DeliveryError(
      `The message is ${bytes} bytes as JSON; API Gateway carries at most ${MAX_MESSAGE_BYTES}. Send a pointer and let the client fetch.`,
      { code: "SALLYPORT_TOO_LARGE", status: 500 },
    );
  }
  return frame;
}

/**
 * Encodes a message of the app.
 *
 * A handler may relay what a client sent, so the message must not look like a frame that only the server or API Gateway sends.
 *
 * @throws RefusedError with 400 for a message that a client would take for such a frame
 * @throws DeliveryError as {@link encodeFrame}
 */
export function encodeMessage(message: unknown): string {
  const frame = encodeFrame(message);
  requireNoReservedForm(frame, "send(): the message");
  return frame;
}

/**
 * Encodes what a handler returned for a message without an `id`, which the client receives as it is.
 *
 * The result may be data that another client stored. A client does not act on `ok: true` without its own call id, so a result may be
 * `{ ok: true }`.
 *
 * @throws RefusedError as {@link encodeMessage}
 * @throws DeliveryError as {@link encodeFrame}
 */
export function encodeResult(result: unknown): string {
  const frame = encodeFrame(result, "result");
  requireNoReservedForm(frame, "The result of the handler", (ok) => ok === true);
  return frame;
}

function requireNoReservedForm(frame: string, what: string, acceptsOk?: (ok: unknown) => boolean): void {
  const problem = reservedForm(frame, acceptsOk);
  if (problem === undefined) return;
  throw new RefusedError(`${what} ${problem}`, {
    reason: "reserved",
    status: 400,
    reply: "The message has a reserved form.",
  });
}

/** Begins a message whose `type` comes first, as most do. */
const TYPE_FIRST = '{"type":"';
const RESERVED_TYPE = "sallyport.";

/**
 * Returns why a client would not take a frame for a message of the app, or undefined.
 *
 * The JSON is checked, because `toJSON`, getters and proxies may return something else each time. Most frames need no parsing:
 * JSON.stringify writes each name once, without spaces, and without escapes for letters. Only `JSON.rawJSON` may escape them.
 */
function reservedForm(frame: string, acceptsOk?: (ok: unknown) => boolean): string | undefined {
  if (!frame.startsWith("{")) return undefined;
  if (frame.startsWith(TYPE_FIRST)) {
    const start = frame.slice(TYPE_FIRST.length, TYPE_FIRST.length + RESERVED_TYPE.length);
    if (!start.includes("\\")) return start === RESERVED_TYPE ? reservedTypeOf(frame, acceptsOk) : undefined;
  } else if (!MAY_BE_RESERVED.some((text) => frame.includes(text))) return undefined;
  return reservedTypeOf(frame, acceptsOk);
}

const MAY_BE_RESERVED = [`"type":"${RESERVED_TYPE}`, '"ok":', '"requestId":', "\\u00"];

function reservedTypeOf(
  frame: string,
  acceptsOk: (ok: unknown) => boolean = () => false,
): string | undefined {
  const message = JSON.parse(frame) as Readonly<Record<string, unknown>>;
  const { type } = message;
  if (typeof type === "string" && type.startsWith(RESERVED_TYPE)) {
    return (
      `has the type ${JSON.stringify(type.slice(0, MAX_PATH))}. Clients act on types that begin with ` +
      `"${RESERVED_TYPE}" as notices of the server. Use another type, and do not relay a client's fields unchecked.`
    );
  }
  if (type !== undefined && type !== null) return undefined;
  const has = (field: string) => Object.hasOwn(message, field);
  const fields =
    has("ok") && !acceptsOk(message.ok)
      ? '"ok"'
      : has("connectionId") && has("requestId")
        ? '"connectionId" and "requestId"'
        : "";
  if (fields === "") return undefined;
  return (
    `has ${fields} and no type. Clients take such a message for an answer of the server or an error of ` +
    "API Gateway. Give the message a type, and do not relay a client's fields unchecked."
  );
}

function lost({ path, problem, advice }: JsonLoss, name: string): DeliveryError {
  const place = pathName((name === "" ? path : [name, ...path]).map((key) => ({ key })));
  const shortened = place.length > MAX_PATH ? `${place.slice(0, MAX_PATH)}…` : place;
  return cannotCarry(`${shortened} is ${problem}. ${advice}`);
}

/** JSON.stringify names neither the place of a value nor what to do, so the value is searched for one. */
function notJson(value: unknown, name: string, cause: unknown): DeliveryError {
  let found: JsonLoss | undefined;
  try {
    found = findJsonLoss(value, "", new Set());
  } catch {
    // A getter or toJSON that throws is what JSON.stringify reported.
  }
  if (found) return lost(found, name);
  // The lines after the first describe a cycle. The cause has them.
  const [words = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  return cannotCarry(`${name || "The answer"} cannot be written as JSON: ${words}`, cause);
}

function cannotCarry(message: string, cause?: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_DELIVERY", status: 500, cause });
}
