/** The maximum length of a text that a message repeats, in characters. */
const MAX_TEXT = 100;
/** The maximum number of keys of an object that a message repeats. */
const MAX_KEYS = 5;

/**
 * Formats any value for an error message, on one short line.
 *
 * For an object, only the keys are listed, because its values may be secret.
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

/**
 * Returns false for an array, a Map, a Promise or an instance of a class. They cannot hold options.
 */
export function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // This comparison also accepts the Object.prototype of another realm, such as that of a test
  // runner.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Characters that are invisible, or that change how a terminal or an editor displays text.
 *
 * - control characters (C0, C1)
 * - format characters: bidirectional controls, zero-width characters, tags
 * - unpaired surrogates
 * - line separators
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const UNPRINTABLE_EXCEPT_LINES =
  /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Returns a text on one line, in which invisible characters are escaped, for example as `\u001b`.
 *
 * Use it for text from clients that is written to logs or terminals. The meaning of JSON does not
 * change.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escapeCharacter);
}

/** Does the same for a text of several lines, such as a stack. Line feeds and tabs are kept. */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE_EXCEPT_LINES, escapeCharacter);
}

/** Escapes each UTF-16 code unit, as JSON does. */
function escapeCharacter(character: string): string {
  let text = "";
  for (let index = 0; index < character.length; index++) {
    text += `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
  }
  return text;
}
