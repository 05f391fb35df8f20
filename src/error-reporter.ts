import { fieldOf, textOf } from "./error-output.ts";
import { StorageError } from "./errors.ts";

/** How long equal errors are counted before their number is reported, in milliseconds. */
const WINDOW_MS = 1000;
/**
 * The same for failures of the database, in milliseconds. They occur often until an operator acts.
 */
const STORAGE_WINDOW_MS = 60_000;
/**
 * The maximum number of kinds of errors per place that are counted separately. Others share a
 * count.
 */
const MAX_KINDS_PER_PLACE = 5;
/**
 * The maximum number of places that are counted separately. Errors of other places share a count.
 */
const MAX_PLACES = 50;
/** The number of characters of an error that are compared. */
const COMPARED_CHARACTERS = 200;

/**
 * Receives an error that is not returned to a caller.
 *
 * @param where the operation in which it occurred
 * @param repeats 0 for an error that is reported immediately. Otherwise the number of equal errors
 *   since the previous call. `error` is the last of them
 */
export type ErrorListener = (error: unknown, where: string, repeats: number) => void;

interface Kind {
  readonly place: string;
  count: number;
  last: unknown;
  where: string;
  timer: NodeJS.Timeout;
}

/**
 * Passes errors to the app's `onError`, at a limited rate.
 *
 * The first of several equal errors is passed immediately. The others are counted, and their number
 * is passed once per second, or once per minute for failures of the database. As a result, neither
 * a client nor a missing table can fill a log.
 */
export class ErrorReporter {
  readonly #listener: ErrorListener;
  readonly #failure: (error: unknown) => unknown;
  readonly #kinds = new Map<string, Kind>();
  /** The number of kinds that are being counted, by place. */
  readonly #places = new Map<string, number>();

  /** @param failure turns an error of the driver into a {@link StorageError} */
  constructor(listener: ErrorListener, failure: (error: unknown) => unknown) {
    this.#listener = listener;
    this.#failure = failure;
  }

  /** Passes on an error, or counts it if an equal error was passed on recently. */
  report(thrown: unknown, where: string): void {
    const error = this.#failure(thrown);
    const { key, place, isCounted } = this.#slotOf(error, where);
    const kind = this.#kinds.get(key);
    if (kind) {
      kind.count++;
      kind.last = error;
      kind.where = where;
      return;
    }
    const timer = this.#timer(key, error);
    this.#kinds.set(key, { place, count: isCounted ? 1 : 0, last: error, where, timer });
    this.#places.set(place, (this.#places.get(place) ?? 0) + 1);
    if (!isCounted) this.#listener(error, where, 0);
  }

  /** Passes on the numbers of counted errors. No timer runs afterwards. */
  flush(): void {
    for (const { timer } of this.#kinds.values()) clearTimeout(timer);
    const counted = [...this.#kinds.values()].filter(({ count }) => count > 0);
    this.#kinds.clear();
    this.#places.clear();
    for (const { last, where, count } of counted) this.#listener(last, where, count);
  }

  /**
   * Returns where an error is counted. An error that shares a count is not passed on immediately.
   */
  #slotOf(error: unknown, where: string): { key: string; place: string; isCounted: boolean } {
    const { place, key } = kindOf(error, where);
    if (this.#kinds.has(key)) return { key, place, isCounted: false };
    const kinds = this.#places.get(place) ?? 0;
    if (kinds === 0 && this.#places.size >= MAX_PLACES) return { key: "", place: "", isCounted: true };
    if (kinds < MAX_KINDS_PER_PLACE) return { key, place, isCounted: false };
    return { key: place, place, isCounted: true };
  }

  #remove(key: string, place: string): void {
    this.#kinds.delete(key);
    const kinds = (this.#places.get(place) ?? 1) - 1;
    if (kinds === 0) this.#places.delete(place);
    else this.#places.set(place, kinds);
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
      this.#remove(key, kind.place);
      return;
    }
    // The next window starts immediately, so that a flood of errors causes one call per window.
    kind.count = 0;
    kind.timer = this.#timer(key, last);
    this.#listener(last, where, count);
  }
}

/** Returns the same key for errors that differ only in numbers, references and ids. */
function kindOf(error: unknown, where: string): { place: string; key: string } {
  if (error instanceof StorageError) return { place: STORAGE, key: error.code };
  const place = withoutIds(where);
  const parts =
    error instanceof Error
      ? [fieldOf(error, "name"), fieldOf(error, "code"), fieldOf(error, "message")]
      : [textOf(error)];
  return { place, key: [place, ...parts].map(withoutIds).join("\n") };
}

const STORAGE = "storage";

function withoutIds(text: string): string {
  return text.slice(0, COMPARED_CHARACTERS).replace(/\b[0-9a-f]{12}\b|[\w=+-]*\d[\w=+-]*/g, "#");
}
