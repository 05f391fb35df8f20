import type { Database } from "../storage/database.ts";
import { within } from "../with-timeout.ts";

/** How a process is. */
export interface Health {
  readonly isHealthy: boolean;
  /** How long the database took to answer, in milliseconds. */
  readonly databaseMs: number;
  /** What is wrong, where something is. For your log, not for who asks. */
  readonly why?: string;
}

/** How long a database may take to say that it is there, in milliseconds. */
const DEADLINE_MS = 2000;

/** How long the endpoint uses a result again, in milliseconds. */
const SHARED_MS = 1000;

/** Checks whether a process can serve, which includes that its database accepts writes. */
export class HealthCheck {
  readonly #database: Database;
  #recent: Promise<Health> | undefined;
  /** `performance.now()` of the start of the most recent check that is shared. */
  #startedAt = Number.NEGATIVE_INFINITY;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns a result that is at most a second old: anybody may call the endpoint, and any number of calls cause one write. */
  recent(): Promise<Health> {
    const now = performance.now();
    if (this.#recent && now - this.#startedAt < SHARED_MS) return this.#recent;
    this.#startedAt = now;
    this.#recent = this.check();
    return this.#recent;
  }

  async check(): Promise<Health> {
    const startedAt = performance.now();
    let why: string | undefined = `The database did not answer within ${DEADLINE_MS} ms.`;
    const checked = this.#database.checkWritable().then(
      () => {
        why = undefined;
      },
      (error: unknown) => {
        const failure = this.#database.failure(error);
        why = failure instanceof Error ? failure.message : String(failure);
      },
    );
    await within(DEADLINE_MS, checked);
    const { unreachable } = this.#database;
    if (why !== undefined && unreachable !== undefined)
      why = `${why} The last attempt to connect failed: ${unreachable}`;
    const databaseMs = Math.round(performance.now() - startedAt);
    return why === undefined ? { isHealthy: true, databaseMs } : { isHealthy: false, databaseMs, why };
  }
}
