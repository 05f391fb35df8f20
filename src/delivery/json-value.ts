import { formatValue, isPlainObject } from "../format-value.ts";

/** A part of a value that JSON omits or changes. */
export interface JsonLoss {
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
export function findJsonLoss(value: unknown, key = "", seen?: Set<object>): JsonLoss | undefined {
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
