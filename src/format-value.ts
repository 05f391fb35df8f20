import { printable } from "./printable.ts";

/** The longest text that a message repeats, in characters. */
const MAX_TEXT = 100;
/** The most keys of an object that a message repeats. */
const MAX_KEYS = 5;

/**
 * Formats a value for an error message: short, on one line, whatever it is.
 *
 * Of an object only the keys are repeated: its values may be secret.
 */
export function formatValue(value: unknown): string {
  return printable(format(value));
}

function format(value: unknown): string {
  if (typeof value === "string") {
    const text =
      value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}… (${value.length} characters)` : value;
    return JSON.stringify(text);
  }
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "symbol") return "a symbol";
  if (typeof value === "function") return value.name ? `the function ${value.name}` : "a function";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value !== "object" || value === null) return String(value);
  if (!isPlainObject(value)) return `an object of class ${className(value)}`;
  const keys = Object.keys(value);
  if (keys.length === 0) return "an empty object";
  const listed = keys.slice(0, MAX_KEYS).map((key) => JSON.stringify(key.slice(0, MAX_TEXT)));
  return `an object with the keys ${listed.join(", ")}${keys.length > MAX_KEYS ? ", …" : ""}`;
}

function className(value: object): string {
  const { name } = (value as { readonly constructor?: { readonly name?: unknown } }).constructor ?? {};
  return typeof name === "string" && name !== "" ? name.slice(0, MAX_TEXT) : "without a name";
}

/** Not an array, a Map, a Promise or an instance of another class: their properties are not options. */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // Object.prototype of another realm, such as that of a test runner, has no prototype either.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
