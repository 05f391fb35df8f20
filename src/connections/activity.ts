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
  seen(sessionId: string): void {
    const known = this.#seen.get(sessionId);
    if (!known) this.#seen.set(sessionId, { count: 1, at: performance.now() });
    else {
      known.count++;
      known.at = performance.now();
    }
  }

  /** A session that was in channels has disconnected. */
  departed(sessionId: string): void {
    this.#departed.push(sessionId);
  }

  /** Writes what was gathered if that has been going on for long enough, or is enough. */
  writeWhenDue(): Promise<void> {
    const gathered = Math.max(this.#seen.size, this.#departed.length);
    const isDue = performance.now() - this.#writtenAt >= GATHER_MS || gathered >= MAX_GATHERED;
    return isDue ? this.write() : Promise.resolve();
  }

  /** Writes what was gathered. What cannot be written is told to `onError`, and lost. */
  write(): Promise<void> {
    const seen = [...this.#seen].sort(([a], [b]) => (a < b ? -1 : 1));
    const departed = this.#departed.sort();
    this.#seen = new Map();
    this.#departed = [];
    this.#writtenAt = performance.now();
    if (seen.length + departed.length > 0) {
      this.#writing = this.#writing
        .then(() => this.#write(seen, departed))
        .catch((error) => this.#onError(error, `noting the activity of ${seen.length} sessions`));
    }
    return this.#writing;
  }

  async #write(
    seen: readonly (readonly [string, { readonly count: number; readonly at: number }])[],
    departed: readonly string[],
  ): Promise<void> {
    for (let from = 0; from < departed.length; from += ROWS_PER_STATEMENT) {
      const ids = departed.slice(from, from + ROWS_PER_STATEMENT);
      await this.#database.writeOne((db) =>
        db.deleteFrom("sallyport_memberships").where("session_id", "in", ids).execute(),
      );
    }
    for (let from = 0; from < seen.length; from += ROWS_PER_STATEMENT) {
      await this.#note(seen.slice(from, from + ROWS_PER_STATEMENT));
    }
  }

  /** By how long ago each was: instants are the database's. In the order of ids, so that two processes seldom wait for each other. */
  async #note(
    seen: readonly (readonly [string, { readonly count: number; readonly at: number }])[],
  ): Promise<void> {
    const { now, sql } = this.#database;
    await this.#database.writeOne((db) => {
      const rows = seen.map(
        ([id, { count, at }]) =>
          sql`(cast(${id} as text), cast(${count} as integer), cast(${Math.round(performance.now() - at)} as bigint))`,
      );
      return db
        .with("gathered(id, messages, age_ms)", () => sql<Gathered>`(values ${sql.join(rows)})`)
        .updateTable("sallyport_sessions")
        .from("gathered")
        .set(({ eb, ref }) => {
          const at = eb(now, "-", ref("gathered.age_ms"));
          const last = ref("sallyport_sessions.last_seen_at");
          return {
            last_seen_at: eb.case().when(at, ">", last).then(at).else(last).end(),
            request_count: eb("sallyport_sessions.request_count", "+", ref("gathered.messages")),
          };
        })
        .whereRef("sallyport_sessions.id", "=", "gathered.id")
        .execute();
    });
  }
}

interface Gathered {
  id: string;
  messages: number;
  age_ms: number;
}
