import { BadRequestError, DeliveryError, PayloadTooLargeError } from "../errors.ts";
import { formatValue, isPlainObject } from "../format-value.ts";
import { pathName } from "../options.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";

/** Maximum length of the path to a part of a value in an error message, in characters. */
const MAX_PATH = 200;

/**
 * Encodes a value as JSON, once for all recipients.
 *
 * @param name the name of the value in error messages, such as "message". Empty if the names of its
 *   fields are sufficient
 * @throws DeliveryError if JSON cannot represent the whole value, or it has more than 128 KB as
 *   JSON
 */
export function encodeFrame(value: unknown, name = "message"): string {
  if (value === undefined) {
    throw deliveryError(`${name} is undefined, which JSON cannot carry. Send an object or null.`);
  }
  let frame: string | undefined;
  try {
    frame = JSON.stringify(value);
    const found = findJsonLoss(value);
    if (found) throw lossError(found, name);
  } catch (cause) {
    throw cause instanceof DeliveryError ? cause : stringifyError(value, name, cause);
  }
  if (frame === undefined)
    throw deliveryError(`${name} has a toJSON method that returns undefined. Return a JSON value from it.`);
  const bytes = Buffer.byteLength(frame);
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new DeliveryError(
      `The message has ${bytes} bytes as JSON, but API Gateway accepts at most ${MAX_MESSAGE_BYTES}. ` +
        "Send a reference, and let the client fetch the data.",
      { code: "SALLYPORT_TOO_LARGE", status: 500 },
    );
  }
  return frame;
}

/**
 * Encodes a message of the app.
 *
 * A handler can relay data of a client. Therefore, the message must not have the form of a frame
 * that only the server or API Gateway sends.
 *
 * @throws RequestError with status 400 if the message has a reserved form
 * @throws DeliveryError as {@link encodeFrame}
 */
export function encodeMessage(message: unknown): string {
  const frame = encodeFrame(message);
  requireNoReservedForm(frame, "send(): the message");
  return frame;
}

/**
 * Encodes the result of a handler for a message without an `id`, which the client receives
 * unchanged.
 *
 * The result can be data that another client stored. The result `{ ok: true }` is allowed, because
 * clients ignore `ok: true` without the id of a call.
 *
 * @throws RequestError as {@link encodeMessage}
 * @throws DeliveryError as {@link encodeFrame}
 */
export function encodeResult(result: unknown): string {
  const frame = encodeFrame(result, "result");
  requireNoReservedForm(frame, "The result of the handler", (ok) => ok === true);
  return frame;
}

/** Converts an answer that is too large to status 413, so that the client receives the reason. */
export function toRequestError(error: unknown): unknown {
  return error instanceof DeliveryError && error.code === "SALLYPORT_TOO_LARGE"
    ? new PayloadTooLargeError(error.message, { reason: "too-large", clientMessage: "Message too large." })
    : error;
}

function requireNoReservedForm(frame: string, what: string, acceptsOk?: (ok: unknown) => boolean): void {
  const problem = reservedForm(frame, acceptsOk);
  if (problem === undefined) return;
  throw new BadRequestError(`${what} ${problem}`, {
    reason: "reserved",
    clientMessage: "The message has a reserved form.",
  });
}

/** The start of a frame with `type` as the first field, like most messages. */
const TYPE_FIRST = '{"type":"';
const RESERVED_TYPE = "sallyport.";

/**
 * Returns why a frame has a reserved form, or `undefined` if it does not.
 *
 * The JSON is checked and not the value, because `toJSON`, getters and proxies can return a
 * different value each time. Most frames are not parsed: JSON.stringify writes each name once,
 * without spaces, and without escapes for letters. Only `JSON.rawJSON` can contain escaped letters.
 */
function reservedForm(frame: string, acceptsOk?: (ok: unknown) => boolean): string | undefined {
  if (!frame.startsWith("{")) return undefined;
  if (frame.startsWith(TYPE_FIRST)) {
    const typeStart = frame.slice(TYPE_FIRST.length, TYPE_FIRST.length + RESERVED_TYPE.length);
    if (!typeStart.includes("\\"))
      return typeStart === RESERVED_TYPE ? reservedTypeOf(frame, acceptsOk) : undefined;
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

function lossError({ path, problem, advice }: JsonLoss, name: string): DeliveryError {
  const pathText = pathName((name === "" ? path : [name, ...path]).map((key) => ({ key })));
  const shortened = pathText.length > MAX_PATH ? `${pathText.slice(0, MAX_PATH)}…` : pathText;
  return deliveryError(`${shortened} is ${problem}. ${advice}`);
}

/** Returns the error of JSON.stringify, with the path of the part that caused it if it is found. */
function stringifyError(value: unknown, name: string, cause: unknown): DeliveryError {
  let found: JsonLoss | undefined;
  try {
    found = findJsonLoss(value, "", new Set());
  } catch {
    // A getter or toJSON threw, which JSON.stringify has reported.
  }
  if (found) return lossError(found, name);
  // The other lines describe a cycle. The cause contains them.
  const [firstLine = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
  return deliveryError(
    `${name || "The answer"} cannot be written as JSON: ${firstLine}. Send a value that JSON.stringify() accepts.`,
    cause,
  );
}

function deliveryError(message: string, cause?: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_DELIVERY", status: 500, cause });
}

/** A part of a value that JSON omits or changes. */
interface JsonLoss {
  /** Property names and indices of the path to the part, outermost first. */
  readonly path: (string | number)[];
  /** The kind of the part, and how JSON changes it. It follows the word "is". */
  readonly problem: string;
  /** The solution, as a sentence. */
  readonly advice: string;
}

/**
 * Finds the first part of a value that its JSON does not represent.
 *
 * A property with the value `undefined` is not a loss, because the recipient reads `undefined` too.
 *
 * @param seen the objects that were visited, for a value that can contain itself
 * @returns `undefined` if JSON represents the whole value
 */
function findJsonLoss(value: unknown, key = "", seen?: Set<object>): JsonLoss | undefined {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return undefined;
    case "number":
      return Number.isFinite(value)
        ? undefined
        : loss(`${value}, which JSON writes as null`, "Send null or a number.");
    case "symbol":
      return loss("a symbol, which JSON cannot carry", "Send a string.");
    case "bigint":
      if (hasToJson(value)) return findJsonLoss(value.toJSON(key), key, seen);
      return loss("a bigint, which JSON cannot carry", "Send String(value).");
    case "function":
      if (hasToJson(value)) return findJsonLoss(value.toJSON(key), key, seen);
      return loss("a function, which JSON cannot carry", "Send its result, or remove it.");
    default:
      return value === null ? undefined : lossInObject(value as object, key, seen);
  }
}

function lossInObject(value: object, key: string, seen: Set<object> | undefined): JsonLoss | undefined {
  if (seen?.has(value)) return undefined;
  seen?.add(value);
  if (Array.isArray(value)) {
    return hasToJson(value) ? lossInJson(value.toJSON(key), key, seen) : lossInArray(value, seen);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const classLoss = lossOfClass(value);
    if (classLoss) return classLoss;
    // Dates are common, and a second conversion of each would double the cost.
    if (value instanceof Date && value.toJSON === Date.prototype.toJSON) return undefined;
  }
  return hasToJson(value) ? lossInJson(value.toJSON(key), key, seen) : lossInProperties(value, seen);
}

/** Finds a loss in the result of `toJSON`. JSON does not call `toJSON` of that result. */
function lossInJson(json: unknown, key: string, seen: Set<object> | undefined): JsonLoss | undefined {
  if (Array.isArray(json)) return lossInArray(json, seen);
  if (typeof json !== "object" || json === null) return findJsonLoss(json, key, seen);
  return lossOfClass(json) ?? lossInProperties(json, seen);
}

function lossInProperties(value: object, seen: Set<object> | undefined): JsonLoss | undefined {
  for (const name of Object.keys(value)) {
    const found = findJsonLoss((value as Record<string, unknown>)[name], name, seen);
    if (found) {
      found.path.unshift(name);
      return found;
    }
  }
  return undefined;
}

function lossInArray(list: readonly unknown[], seen: Set<object> | undefined): JsonLoss | undefined {
  for (let index = 0; index < list.length; index++) {
    const item = list[index];
    const found =
      item === undefined
        ? loss("undefined, which JSON writes as null in an array", "Send null, or remove it.")
        : findJsonLoss(item, String(index), seen);
    if (found) {
      found.path.unshift(index);
      return found;
    }
  }
  return undefined;
}

const BINARY = "binary data, which JSON cannot carry";

/** Finds a loss in an object of a class that does not store its content in properties. */
function lossOfClass(value: object): JsonLoss | undefined {
  // Checked before toJSON, because toJSON of a Buffer returns a list of numbers.
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    return loss(
      `${formatValue(value)}, ${BINARY}`,
      'Send text, for example Buffer.from(value).toString("base64").',
    );
  }
  if (value instanceof Date) {
    if (!Number.isNaN(value.getTime())) return undefined;
    return loss("an invalid Date, which JSON writes as null", "Send null or a valid Date.");
  }
  if (hasToJson(value)) return undefined;
  if (value instanceof Map) {
    return loss("a Map, which JSON writes as {}", "Send Object.fromEntries(map) or [...map].");
  }
  if (value instanceof Set) return loss("a Set, which JSON writes as {}", "Send [...set].");
  if (value instanceof Promise) return loss("a Promise, which JSON writes as {}", "Await it first.");
  if (value instanceof Number) return findJsonLoss(Number(value));
  if (value instanceof String || value instanceof Boolean) return undefined;
  const isPlain: boolean = isPlainObject(value);
  if (isPlain || Object.keys(value).length > 0) return undefined;
  return loss(
    `${formatValue(value)} without enumerable properties, which JSON writes as {}`,
    value instanceof Error
      ? "Send its message, for example { error: error.message }."
      : "Send a plain object with what the client needs, or give the class a toJSON method.",
  );
}

function hasToJson(value: bigint | object): value is (bigint | object) & { toJSON(key: string): unknown } {
  return typeof (value as { readonly toJSON?: unknown }).toJSON === "function";
}

function loss(problem: string, advice: string): JsonLoss {
  return { path: [], problem, advice };
}
