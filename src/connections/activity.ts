import type { Store } from "../storage/store.ts";

/** How long activity is collected before it is written, in milliseconds. */
const COLLECT_MS = 5000;
/** The maximum number of connections per statement. */
const ROWS_PER_STATEMENT = 1000;
/**
 * The maximum number of collected connections. With a limit of 1 000, a process with 1 000 busy
 * connections would write every 250 ms.
 */
const MAX_COLLECTED = 20_000;

/**
 * Collects the activity of connections and writes it in one statement for many connections.
 *
 * It writes the time of the last message, the number of messages, and the removal of disconnected
 * connections from their channels. Delaying the removal is safe, because statements also check the
 * row of the connection. A process that crashes loses a few seconds of activity.
 */
export class Activity {
  readonly #store: Pick<Store, "connections" | "memberships">;
  readonly #onError: (error: unknown, where: string) => void;
  #touched = new Map<string, { count: number; at: number }>();
  #disconnected: string[] = [];
  #writtenAt = performance.now();
  #writing: Promise<void> = Promise.resolve();

  constructor(
    store: Pick<Store, "connections" | "memberships">,
    onError: (error: unknown, where: string) => void,
  ) {
    this.#store = store;
    this.#onError = onError;
  }

  /** Records a message of a connection. */
  touch(connectionKey: string): void {
    const known = this.#touched.get(connectionKey);
    if (!known) this.#touched.set(connectionKey, { count: 1, at: performance.now() });
    else {
      known.count++;
      known.at = performance.now();
    }
  }

  /** Records that a connection that had joined channels has disconnected. */
  disconnected(connectionKey: string): void {
    this.#disconnected.push(connectionKey);
  }

  /**
   * Writes the collected activity if the last write is five seconds ago, or the maximum is reached.
   */
  writeWhenDue(): Promise<void> {
    const collected = Math.max(this.#touched.size, this.#disconnected.length);
    const isDue = performance.now() - this.#writtenAt >= COLLECT_MS || collected >= MAX_COLLECTED;
    return isDue ? this.write() : Promise.resolve();
  }

  /** Writes the collected activity. If that fails, the activity is lost and `onError` is called. */
  write(): Promise<void> {
    const touched = [...this.#touched].sort(([a], [b]) => (a < b ? -1 : 1));
    const disconnected = this.#disconnected.sort();
    this.#touched = new Map();
    this.#disconnected = [];
    this.#writtenAt = performance.now();
    if (touched.length + disconnected.length > 0) {
      this.#writing = this.#writing
        .then(() => this.#write(touched, disconnected))
        .catch((error) => this.#onError(error, `storing the activity of ${touched.length} connections`));
    }
    return this.#writing;
  }

  /** Rows are in the order of ids, so that two processes rarely wait for each other. */
  async #write(touched: readonly Touched[], disconnected: readonly string[]): Promise<void> {
    const { connections, memberships } = this.#store;
    for (let from = 0; from < disconnected.length; from += ROWS_PER_STATEMENT) {
      await memberships.leaveAll(disconnected.slice(from, from + ROWS_PER_STATEMENT));
    }
    for (let from = 0; from < touched.length; from += ROWS_PER_STATEMENT) {
      const now = performance.now();
      const page = touched.slice(from, from + ROWS_PER_STATEMENT);
      await connections.recordActivity(
        page.map(([id, { count, at }]) => ({ id, count, ageMs: Math.round(now - at) })),
      );
    }
  }
}

type Touched = readonly [id: string, { readonly count: number; readonly at: number }];
