import { createDecisionContext } from "../audit/decision.ts";
import { RequestError, StorageError } from "../errors.ts";
import type { DisconnectCall } from "../protocol/gateway-call.ts";
import type { EventServices } from "../services.ts";
import type { MountedView } from "../views/mount.ts";
import { disconnect } from "./disconnect.ts";

/** Maximum number of disconnects in memory, about 10 MB. */
const MAX_PENDING = 10_000;
/** Pause before the first retry, in milliseconds. It doubles each time. */
const FIRST_PAUSE_MS = 500;
/** Maximum pause between two retries, in milliseconds. */
const LONGEST_PAUSE_MS = 15_000;
/** How long a disconnect is retried, in milliseconds. */
const GIVE_UP_MS = 600_000;

interface Pending {
  readonly view: MountedView;
  readonly call: DisconnectCall;
  readonly path: string;
  /** `performance.now()` when the disconnect was received. */
  readonly since: number;
}

/**
 * Keeps disconnects that could not be recorded because the database was not available, and retries
 * them.
 *
 * API Gateway sends each `$disconnect` once and ignores the response. The disconnects are in
 * memory, so they are lost if the process exits.
 */
export class PendingDisconnects {
  readonly #services: EventServices;
  #pending: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #retrying: Promise<void> | undefined;
  #isStopped = false;

  constructor(services: EventServices) {
    this.#services = services;
  }

  /** Keeps a disconnect that failed, if a retry can succeed. */
  keep(error: unknown, view: MountedView, call: DisconnectCall, path: string): void {
    const { store, auth } = this.#services;
    if (
      this.#isStopped ||
      !(store.failure(error) instanceof StorageError) ||
      !auth.gatewayAuthenticator.mayBeRegistered(call)
    )
      return;
    if (this.#pending.length >= MAX_PENDING) {
      this.#reportLost(1, `${MAX_PENDING} other disconnects are waiting`, error);
      return;
    }
    this.#pending.push({ view, call, path, since: performance.now() });
    this.#schedule();
  }

  /** Retries each disconnect once, until the database fails. Concurrent calls share one run. */
  flush(): Promise<void> {
    this.#retrying ??= this.#retryAll().finally(() => {
      this.#retrying = undefined;
    });
    return this.#retrying;
  }

  /** Retries each disconnect a last time. Afterwards, none is kept. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.flush();
    if (this.#pending.length > 0) this.#reportLost(this.#pending.length, "the process is closed");
    this.#pending = [];
  }

  #schedule(): void {
    if (this.#timer || this.#isStopped || this.#pending.length === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.flush().then(() => this.#schedule());
    }, this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  /** Retries the disconnects in order, until the database fails. */
  async #retryAll(): Promise<void> {
    for (;;) {
      const [next] = this.#pending;
      if (!next) break;
      const decision = createDecisionContext("disconnect", next.path);
      try {
        await disconnect(this.#services, { view: next.view, call: next.call, decision });
      } catch (error) {
        const isTransient = this.#services.store.failure(error) instanceof StorageError;
        if (isTransient && performance.now() - next.since < GIVE_UP_MS) return;
        if (isTransient) this.#reportLost(1, `it was retried for ${GIVE_UP_MS / 1000} s`, error);
        else if (!(error instanceof RequestError))
          this.#services.reports.onError(error, `${next.path}, retried`);
      }
      this.#pending.shift();
    }
    this.#pauseMs = FIRST_PAUSE_MS;
  }

  #reportLost(count: number, reason: string, cause?: unknown): void {
    this.#services.reports.onError(
      new StorageError(
        `${count} disconnects could not be recorded, because the database failed and ${reason}. The rows of these ` +
          "connections stay open until a send finds them gone, or for two hours. disconnect() of their views was " +
          "not called. Check the database and its connection.",
        { cause },
      ),
      "recording disconnects",
    );
  }
}
