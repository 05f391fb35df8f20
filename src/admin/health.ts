import type { Storage } from "../storage/store.ts";
import { waitAtMost } from "../timing.ts";

/** The result of a health check. */
export interface Health {
  readonly isHealthy: boolean;
  /** Duration of the database check, in milliseconds. */
  readonly databaseMs: number;
  /** Why the check failed, or `undefined`. For your log. Do not send it to clients. */
  readonly why?: string;
}

/** Maximum duration of the database check, in milliseconds. */
const DEADLINE_MS = 2000;

/** How long the endpoint reuses a result, in milliseconds. */
const SHARED_MS = 1000;

/** Checks whether a process can serve, which includes that its database accepts writes. */
export class HealthCheck {
  readonly #storage: Storage;
  #recent: Promise<Health> | undefined;
  /** `performance.now()` when the most recent shared check started. */
  #startedAt = Number.NEGATIVE_INFINITY;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /**
   * Returns a result that is at most one second old.
   *
   * Any client can call the endpoint, so any number of calls cause one write per second.
   */
  recent(): Promise<Health> {
    const now = performance.now();
    if (this.#recent && now - this.#startedAt < SHARED_MS) return this.#recent;
    this.#startedAt = now;
    this.#recent = this.check();
    return this.#recent;
  }

  /** Checks the database now. */
  async check(): Promise<Health> {
    const startedAt = performance.now();
    let why: string | undefined = `The database did not answer within ${DEADLINE_MS} ms.`;
    const checked = this.#storage.checkWritable().then(
      () => {
        why = undefined;
      },
      (error: unknown) => {
        const failure = this.#storage.store.failure(error);
        why = failure instanceof Error ? failure.message : String(failure);
      },
    );
    await waitAtMost(DEADLINE_MS, checked);
    const { unreachable } = this.#storage;
    if (why !== undefined && unreachable !== undefined)
      why = `${why} The last attempt to connect failed: ${unreachable}`;
    const databaseMs = Math.round(performance.now() - startedAt);
    return why === undefined ? { isHealthy: true, databaseMs } : { isHealthy: false, databaseMs, why };
  }
}
