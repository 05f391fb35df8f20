import { fieldOf, textOf } from "./error-output.ts";
import { StorageError } from "./errors.ts";

/** How long errors of one kind are counted before their number is passed on, in milliseconds. */
const WINDOW_MS = 1000;
/** The same for failures of the database. All work of a process fails until an operator repairs it. */
const STORAGE_WINDOW_MS = 60_000;
/** Kinds of one place that are counted by themselves at the same time. Further ones of the place are counted together. */
const MAX_KINDS_PER_PLACE = 5;
/** Places that are counted by themselves at the same time. Errors of further places are counted together. */
const MAX_PLACES = 50;
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
  readonly place: string;
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
  /** How many kinds are counted at the moment, by place. */
  readonly #places = new Map<string, number>();

  /** @param failure turns an error of the driver into a {@link StorageError} */
  constructor(listener: ErrorListener, failure: (error: unknown) => unknown) {
    this.#listener = listener;
    this.#failure = failure;
  }

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

  /** Passes on the numbers of errors that were counted. No timer runs afterwards. */
  flush(): void {
    for (const { timer } of this.#kinds.values()) clearTimeout(timer);
    const counted = [...this.#kinds.values()].filter(({ count }) => count > 0);
    this.#kinds.clear();
    this.#places.clear();
    for (const { last, where, count } of counted) this.#listener(last, where, count);
  }

  /** Returns where an error is counted. One that is counted together with other kinds is not passed on at once. */
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
    // Another window begins, so that a flood is one call per window.
    kind.count = 0;
    kind.timer = this.#timer(key, last);
    this.#listener(last, where, count);
  }
}

/** Returns the same key for errors that differ only in numbers, references and ids. The fields of an error may have any type. */
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
