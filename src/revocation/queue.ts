import { createHash, randomUUID } from "node:crypto";
import type {
  DequeueOptions,
  Revocation,
  RevocationClaimant,
  RevocationStore,
} from "../storage/stores/revocations.ts";

/** Interval of the renewal of leases, in milliseconds. A lease lasts for 15 seconds. */
const RENEW_MS = 4000;
/**
 * Time without progress after which a lease is not renewed, in milliseconds. It is longer than the
 * longest call to API Gateway with all retries.
 */
const MAX_IDLE_MS = 90_000;

/**
 * The queue of recorded permission changes. Each record is processed by the process that dequeues
 * it.
 */
export class RevocationQueue {
  /** This process and its app. */
  readonly claimant: RevocationClaimant;
  readonly #store: RevocationStore;
  /** Records in progress in this process, with the time of their last progress. */
  readonly #leases = new Map<string, { advancedAt: number }>();
  #renewing: NodeJS.Timeout | undefined;

  /**
   * @param app identifies the views and channels of this app. All processes with the same views and
   *   channels pass the same value
   */
  constructor(store: RevocationStore, app: string) {
    this.#store = store;
    this.claimant = {
      id: randomUUID(),
      app: createHash("sha256").update(app).digest("hex").slice(0, 16),
    };
  }

  /**
   * Dequeues the oldest record that is available, or a given one, and takes its lease. If several
   * processes call it at the same time, only one receives a record.
   */
  dequeue(options: DequeueOptions): Promise<Revocation | undefined> {
    return this.#store.dequeue(this.claimant, options);
  }

  /**
   * Renews the lease of a record while its work makes progress, so that no other process starts it.
   *
   * A failed renewal is ignored, because the work is idempotent.
   *
   * @param work calls `advanced` each time that it makes progress
   */
  async withLease<Result>(id: string, work: (advanced: () => void) => Promise<Result>): Promise<Result> {
    const lease = { advancedAt: performance.now() };
    this.#leases.set(id, lease);
    if (!this.#renewing) this.#renewLater();
    try {
      return await work(() => {
        lease.advancedAt = performance.now();
      });
    } finally {
      this.#leases.delete(id);
      if (this.#leases.size === 0) {
        clearTimeout(this.#renewing);
        this.#renewing = undefined;
      }
    }
  }

  /** Renews all leases with one statement. Only one renewal is in flight at a time. */
  #renewLater(): void {
    const timer = setTimeout(async () => {
      const now = performance.now();
      const active = [...this.#leases].filter(([, { advancedAt }]) => now - advancedAt < MAX_IDLE_MS);
      if (active.length > 0)
        await this.#store
          .renew(
            this.claimant,
            active.map(([id]) => id),
          )
          .catch(() => undefined);
      // All earlier records are finished, and newer ones have started another timer.
      if (this.#renewing !== timer) return;
      this.#renewLater();
    }, RENEW_MS).unref();
    this.#renewing = timer;
  }

  /**
   * Returns a failed record to the queue. Any process can dequeue it when its lease has expired.
   *
   * A record that another process has dequeued since then is not changed.
   */
  postpone(id: string): Promise<void> {
    return this.#store.postpone(this.claimant, id);
  }

  /**
   * Completes a record for this app, if another app must check some of its connections. The record
   * is kept for the maximum duration of a connection.
   */
  completeForThisApp(id: string): Promise<void> {
    return this.#store.completeForThisApp(this.claimant, id);
  }

  /** Removes a finished record. A record that another process has dequeued since then is kept. */
  finish(id: string): Promise<void> {
    return this.#store.finish(this.claimant, id);
  }
}
