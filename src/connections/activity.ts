import type { Database } from "../storage/database.ts";

/** How long what happened on sessions is gathered before it is written, in milliseconds. */
const GATHER_MS = 5000;
/** Sessions that one statement is about. */
const ROWS_PER_STATEMENT = 1000;
/** Sessions that are gathered at most. With 1 000 busy ones, a limit of one statement would cause a statement every 250 ms. */
const MAX_GATHERED = 20_000;

/**
 * What need not be written at once: when a session was last heard of, how many messages it has sent, and that one which has
 * disconnected is in no channel any more, which every statement sees by its row as well.
 *
 * Gathered, and written in one statement for many sessions. A process that dies loses what it has gathered, a few seconds of it.
 */
export class Activity {
  readonly #database: Database;
  readonly #onError: (error: unknown, where: string) => void;
  #seen = new Map<string, { count: number; at: number }>();
  #departed: string[] = [];
  #writtenAt = performance.now();
  #writing: Promise<void> = Promise.resolve();

  constructor(database: Database, onError: (error: unknown, where: string) => void) {
    this.#database = database;
    this.#onError = onError;
  }

  /** A message came in on a session. */
  touch(connectionKey: string): void {
    const known = this.#seen.get(connectionKey);
    if (!known) this.#seen.set(connectionKey, { count: 1, at: performance.now() });
    else {
      known.count++;
      known.at = performance.now();
    }
  }

  /** A session that was in channels has disconnected. */
  disconnected(connectionKey: string): void {
    this.#departed.push(connectionKey);
  }

  /** Writes what was gathered if that has been going on for long enough, or is enough. */
  writeWhenDue(): Promise<void> {
    const gathered = Math.max(this.#seen.size, this.#departed.length);
    const isDue = performance.now() - this.#writtenAt >= GATHER_MS || gathered >= MAX_GATHERED;
    return isDue ? this.write() : Promise.resolve();
  }

  /** Writes what was gathered. What cannot be written is told to `onError`, and lost. */
  write(): Promise<void> {
    const touch = [...this.#seen].sort(([a], [b]) => (a < b ? -1 : 1));
    const disconnected = this.#departed.sort();
    this.#seen = new Map();
    this.#departed = [];
    this.#writtenAt = performance.now();
    if (touch.length + disconnected.length > 0) {
      this.#writing = this.#writing
        .then(() => this.#write(touch, disconnected))
        .catch((error) => this.#onError(error, `noting the activity of ${touch.length} sessions`));
    }
    return this.#writing;
  }

  async #write(
    touch: readonly (readonly [string, { readonly count: number; readonly at: number }])[],
    disconnected: readonly string[],
  ): Promise<void> {
    for (let from = 0; from < disconnected.length; from += ROWS_PER_STATEMENT) {
      const ids = disconnected.slice(from, from + ROWS_PER_STATEMENT);
      await this.#database.execute((db) =>
        db.deleteFrom("sallyport_memberships").where("connection_key", "in", ids).execute(),
      );
    }
    for (let from = 0; from < touch.length; from += ROWS_PER_STATEMENT) {
      await this.#note(touch.slice(from, from + ROWS_PER_STATEMENT));
    }
  }

  /** By how long ago each was: instants are the database's. In the order of ids, so that two processes seldom wait for each other. */
  async #note(
    touch: readonly (readonly [string, { readonly count: number; readonly at: number }])[],
  ): Promise<void> {
    const { now, sql } = this.#database;
    await this.#database.execute((db) => {
      const rows = touch.map(
        ([id, { count, at }]) =>
          sql`(cast(${id} as text), cast(${count} as integer), cast(${Math.round(performance.now() - at)} as bigint))`,
      );
      return db
        .with("gathered(id, messages, age_ms)", () => sql<Gathered>`(values ${sql.join(rows)})`)
        .updateTable("sallyport_connections")
        .from("gathered")
        .set(({ eb, ref }) => {
          const at = eb(now, "-", ref("gathered.age_ms"));
          const last = ref("sallyport_connections.last_seen_at");
          return {
            last_seen_at: eb.case().when(at, ">", last).then(at).else(last).end(),
            request_count: eb("sallyport_connections.request_count", "+", ref("gathered.messages")),
          };
        })
        .whereRef("sallyport_connections.id", "=", "gathered.id")
        .execute();
    });
  }
}

interface Gathered {
  id: string;
  messages: number;
  age_ms: number;
}
