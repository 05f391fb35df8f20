import { textOf } from "./error-output.ts";
import { StorageError } from "./errors.ts";

/** How long errors of one kind are counted before their number is passed on, in milliseconds. */
const WINDOW_MS = 1000;
/** The same for failures of the database, which all work of a process runs into until somebody repairs it. */
const STORAGE_WINDOW_MS = 60_000;
/** Kinds that are counted by themselves at the same time. Further ones are counted together. */
const MAX_KINDS = 20;
/** Characters of an error that tell its kind. */
const COMPARED_CHARACTERS = 200;

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
