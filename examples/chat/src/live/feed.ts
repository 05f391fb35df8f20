import type { LiveEntry, NewLiveEntry } from "./entry.ts";

/** Maximum number of entries that a page receives when it opens. */
const KEPT = 200;
/** Maximum number of entries that wait for a page. A slower page is disconnected. */
const MAX_WAITING = 1000;
/** Maximum number of pages. If there are more, the oldest one is disconnected. */
export const MAX_READERS = 20;

/** The newest entries of the live panel, and the pages that receive them. */
export class LiveFeed {
  #entries: LiveEntry[] = [];
  #lastId = 0;
  readonly #readers = new Set<LiveReader>();

  add(entry: NewLiveEntry): void {
    const numbered = { ...entry, id: ++this.#lastId } as LiveEntry;
    this.#entries = [...this.#entries.slice(1 - KEPT), numbered];
    for (const reader of this.#readers) reader.push(numbered);
  }

  /** @param after the id of the last entry that the page has received, or 0 */
  read(after: number): LiveReader {
    // A page that was open before a restart has received higher ids.
    const start = after <= this.#lastId ? after : 0;
    const reader = new LiveReader(
      this.#entries.filter(({ id }) => id > start),
      () => this.#readers.delete(reader),
    );
    this.#readers.add(reader);
    const [oldest] = this.#readers;
    if (this.#readers.size > MAX_READERS) oldest?.supersede();
    return reader;
  }
}

/** The entries that a page has not received yet. */
export class LiveReader {
  #waiting: LiveEntry[];
  #isOpen = true;
  #isSuperseded = false;
  #wake: () => void = () => undefined;
  readonly #onClose: () => void;

  constructor(waiting: LiveEntry[], onClose: () => void) {
    this.#waiting = waiting;
    this.#onClose = onClose;
  }

  /** Whether a newer page has taken the place of this one. */
  get isSuperseded(): boolean {
    return this.#isSuperseded;
  }

  push(entry: LiveEntry): void {
    this.#waiting.push(entry);
    if (this.#waiting.length > MAX_WAITING) this.close();
    this.#wake();
  }

  /** Waits for entries. @returns an empty list after {@link close} */
  async next(): Promise<readonly LiveEntry[]> {
    while (this.#isOpen && this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#isOpen ? this.#waiting.splice(0) : [];
  }

  supersede(): void {
    this.#isSuperseded = true;
    this.close();
  }

  close(): void {
    this.#isOpen = false;
    this.#onClose();
    this.#wake();
  }
}
