import { StorageError } from "./errors.ts";
import { printable } from "./format-value.ts";

/** The maximum number of causes of an error that are printed. */
const MAX_CAUSES = 5;

/**
 * Writes an error to stderr. This is the default `onError`.
 *
 * @param where the operation in which the error occurred
 * @param repeats how many further equal errors occurred. Default 0
 */
export function printError(error: unknown, where: string, repeats = 0): void {
  console.error(describeError(error, where, repeats));
}

/**
 * Returns the text that is printed for an error. It contains the stack and the causes, except for a
 * StorageError. Characters that could control a terminal are escaped.
 */
export function describeError(error: unknown, where: string, repeats: number): string {
  const head = `sallyport: ${printable(where)}: `;
  if (repeats > 0) return `${head}${headline(error)} (${repeats} more like this)`;
  if (error instanceof StorageError) return head + printable(error.message);
  return head + withCauses(error);
}

/** Returns the fields that a JSON line contains of an error. A StorageError has no stack. */
export function errorFields(error: unknown): { readonly error: string; readonly stack?: string } {
  return error instanceof StorageError
    ? { error: headline(error) }
    : { error: headline(error), stack: withCauses(error) };
}

function withCauses(error: unknown): string {
  const parts = [headline(error) + framesOf(error)];
  let cause = error instanceof Error ? error.cause : undefined;
  for (; cause !== undefined && parts.length <= MAX_CAUSES; ) {
    parts.push(`  cause: ${headline(cause)}${framesOf(cause)}`);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return parts.join("\n");
}

function headline(error: unknown): string {
  if (error instanceof StorageError) return printable(error.message);
  if (error instanceof AggregateError && error.message === "") {
    return `${error.name}: ${error.errors.map(headline).join(", ")}`;
  }
  return printable(
    error instanceof Error ? `${fieldOf(error, "name")}: ${fieldOf(error, "message")}` : textOf(error),
  );
}

/**
 * Returns the frames of a stack. The message is removed, because it may contain lines that look
 * like frames.
 */
function framesOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const [stack, message] = [fieldOf(error, "stack"), fieldOf(error, "message")];
  const start = stack.indexOf(message);
  const frames = stack.slice(Math.max(0, start) + (start < 0 ? 0 : message.length)).split("\n");
  return frames
    .filter((line) => /^\s+at /.test(line))
    .map((line) => `\n${printable(line)}`)
    .join("");
}

/** Returns a field of an error as text. A field can have any type, and reading it can fail. */
export function fieldOf(error: Error, name: "name" | "message" | "stack" | "code"): string {
  try {
    return textOf((error as { readonly [Name in typeof name]?: unknown })[name]);
  } catch {
    return "";
  }
}

/** Returns a text for any value, such as a thrown value that is not an Error. Never throws. */
export function textOf(value: unknown): string {
  try {
    const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
    if (typeof text === "string") return text;
  } catch {
    // The value's toString() or toJSON() threw. The text below describes it by its type.
  }
  return `a value of type ${typeof value} that cannot be written as text`;
}
