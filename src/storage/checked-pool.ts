import type { PostgresPool, PostgresPoolClient } from "kysely";
import type { Pool } from "pg";

/** How long a connection has been idle that is asked whether it is there, and how long it has for its answer, in milliseconds. */
const IDLE_MS = 5000;
const ANSWER_MS = 1000;

/**
 * Lends no connection that was lost while nobody looked. A process that was frozen, as a function is between two events, still has
 * connections that the server or something in between has given up long ago, and hears of it with its next statement only, or never.
 */
export class CheckedPool implements PostgresPool {
  readonly #pool: Pool;
  /** Epoch milliseconds: what goes on while a process is frozen. */
  readonly #releasedAt = new WeakMap<object, number>();
  /** When one was found lost. */
  #lostAt = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
    pool.on("release", (_error, client) => this.#releasedAt.set(client, Date.now()));
  }

  /** Kysely 0.29 connects with them to cancel a query. */
  get options(): object {
    return this.#pool.options;
  }

  async connect(): Promise<PostgresPoolClient> {
    for (;;) {
      const client = await this.#pool.connect();
      const releasedAt = this.#releasedAt.get(client) ?? Number.POSITIVE_INFINITY;
      if (Date.now() - releasedAt < IDLE_MS) return client as unknown as PostgresPoolClient;
      // What was idle as long as one that is lost is not asked, which may take a second each; one that is made anew need not be.
      const isDoubtful = releasedAt <= this.#lostAt;
      const lost = isDoubtful || (await client.query(STILL_THERE).then(() => undefined, asError));
      if (lost === undefined) return client as unknown as PostgresPoolClient;
      if (!isDoubtful) this.#lostAt = Date.now();
      client.release(lost);
    }
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

const STILL_THERE = { text: "select 1", query_timeout: ANSWER_MS };
