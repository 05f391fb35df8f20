import { plain } from "./cli/terminal.ts";
import { StorageError } from "./errors.ts";

/** How long errors of one kind are counted before their number is passed on, in milliseconds. */
const WINDOW_MS = 1000;
/** The same for failures of the database, which all work of a process runs into until somebody repairs it. */
const STORAGE_WINDOW_MS = 60_000;
/** Kinds that are counted by themselves at the same time. Further ones are counted together. */
const MAX_KINDS = 20;
/** Characters of an error that tell its kind. */
const COMPARED_CHARACTERS = 200;
/** Causes of an error that are printed. */
const MAX_CAUSES = 5;

/**
 * Receives an error that is not returned to a caller.
 *
 * @param where the operation in which it occurred
 * @param repeats 0 for an error that is passed on at once. Otherwise this is the last of so many equal errors that occurred since the
 *   previous call
 */
export type ErrorListener = (error: unknown, where: string, repeats: number) => void;

interface Kind {
  count: number;
  last: unknown;
  where: string;
  timer: NodeJS.Timeout;
}

/**
 * Passes errors on to the app's `onError`. Of equal errors, the first is passed on at once, and the number of the others once per second,
 * or once per minute for failures of the database. So neither a client nor a missing table can fill a log.
 */
export class ErrorReporter {
  readonly #listener: ErrorListener;
  readonly #failure: (error: unknown) => unknown;
  readonly #kinds = new Map<string, Kind>();

  /** @param failure turns an error of the driver into a {@link StorageError} */
  constructor(listener: ErrorListener, failure: (error: unknown) => unknown) {
    this.#listener = listener;
    this.#failure = failure;
  }

  report(thrown: unknown, where: string): void {
    const error = this.#failure(thrown);
    const own = kindOf(error, where);
    const key = this.#kinds.has(own) || this.#kinds.size < MAX_KINDS ? own : OTHER_KINDS;
    const kind = this.#kinds.get(key);
    if (kind) {
      kind.count++;
      kind.last = error;
      kind.where = where;
      return;
    }
    const isCounted = key === OTHER_KINDS;
    const timer = this.#timer(key, error);
    this.#kinds.set(key, { count: isCounted ? 1 : 0, last: error, where, timer });
    if (!isCounted) this.#listener(error, where, 0);
  }

  /** Passes on the numbers of errors that were counted. No timer runs afterwards. */
  flush(): void {
    for (const { timer } of this.#kinds.values()) clearTimeout(timer);
    const counted = [...this.#kinds.values()].filter(({ count }) => count > 0);
    this.#kinds.clear();
    for (const { last, where, count } of counted) this.#listener(last, where, count);
  }

  #timer(key: string, error: unknown): NodeJS.Timeout {
    const windowMs = error instanceof StorageError ? STORAGE_WINDOW_MS : WINDOW_MS;
    return setTimeout(() => this.#endWindow(key), windowMs).unref();
  }

  #endWindow(key: string): void {
    const kind = this.#kinds.get(key);
    if (!kind) return;
    const { count, last, where } = kind;
    if (count === 0) {
      this.#kinds.delete(key);
      return;
    }
    // Another window begins, so that a flood is one call per window.
    kind.count = 0;
    kind.timer = this.#timer(key, last);
    this.#listener(last, where, count);
  }
}

const OTHER_KINDS = "other kinds";

/** Returns the same text for errors that differ only in numbers, references and ids. */
function kindOf(error: unknown, where: string): string {
  if (error instanceof StorageError) return error.code;
  const { name, code, message } = error instanceof Error ? (error as Error & { code?: unknown }) : NO_ERROR;
  const text = message ?? textOf(error);
  return [where, name, typeof code === "string" ? code : "", text]
    .map((part) => part.slice(0, COMPARED_CHARACTERS).replace(/\b[0-9a-f]{12}\b|[\w=+-]*\d[\w=+-]*/g, "#"))
    .join("\n");
}

const NO_ERROR = { name: "", code: undefined, message: undefined };

/** Prints an error, as `onError` does by default. */
export function printError(error: unknown, where: string, repeats: number): void {
  console.error(describeError(error, where, repeats));
}

/**
 * Returns the text that is printed for an error: with its stack, unless the message of a failed database says everything. Characters
 * that could steer a terminal are escaped.
 */
export function describeError(error: unknown, where: string, repeats: number): string {
  const head = `sallyport: ${plain(where)}: `;
  if (repeats > 0) return `${head}${headline(error)} (${repeats} more like this)`;
  if (error instanceof StorageError) return head + plain(error.message);
  return head + withCauses(error);
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
  if (error instanceof StorageError) return plain(error.message);
  return plain(error instanceof Error ? `${error.name}: ${error.message}` : textOf(error));
}

/** Returns the frames of a stack. The message may contain lines that look like frames, so it is cut off. */
function framesOf(error: unknown): string {
  if (!(error instanceof Error) || typeof error.stack !== "string") return "";
  const end = error.stack.indexOf(error.message) + error.message.length;
  const frames = error.stack.slice(end).split("\n").slice(1);
  return frames.map((line) => `\n${plain(line)}`).join("");
}

function textOf(value: unknown): string {
  try {
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
