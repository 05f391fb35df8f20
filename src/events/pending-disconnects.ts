import { createDecisionContext } from "../audit/decision.ts";
import { RefusedError, StorageError } from "../errors.ts";
import type { DisconnectCall } from "../protocol/gateway-call.ts";
import type { Services } from "../services.ts";
import type { MountedView } from "../views/mount.ts";
import { disconnect } from "./disconnect.ts";

/** Disconnects that are kept at most: about 10 MB. */
const MAX_PENDING = 10_000;
/** Pauses between two tries, in milliseconds: doubled each time. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** How long a disconnect is tried again, in milliseconds. */
const GIVE_UP_MS = 600_000;

interface Pending {
  readonly view: MountedView;
  readonly call: DisconnectCall;
  readonly path: string;
  /** `performance.now()` of its arrival. */
  readonly since: number;
}

/**
 * Disconnects that met a database that was not available. API Gateway sends each of them once, and ignores the answer. They are kept in
 * memory and tried again; a process that dies loses them.
 */
export class PendingDisconnects {
  readonly #services: Services;
  #pending: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #trying: Promise<void> | undefined;
  #isStopped = false;

  constructor(services: Services) {
    this.#services = services;
  }

  /** Keeps a disconnect that failed with an error, if trying it again can help. */
  keep(error: unknown, view: MountedView, call: DisconnectCall, path: string): void {
    const { database, gatewayAuthenticator } = this.#services;
    if (
      this.#isStopped ||
      !(database.failure(error) instanceof StorageError) ||
      !gatewayAuthenticator.isPlausible(call)
    )
      return;
    if (this.#pending.length >= MAX_PENDING) {
      this.#lost(1, `${MAX_PENDING} others are waiting`, error);
      return;
    }
    this.#pending.push({ view, call, path, since: performance.now() });
    this.#schedule();
  }

  /** Tries all of them once, as far as the database answers. */
  flush(): Promise<void> {
    this.#trying ??= this.#tryAll().finally(() => {
      this.#trying = undefined;
    });
    return this.#trying;
  }

  /** Tries all of them a last time. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.flush();
    if (this.#pending.length > 0) this.#lost(this.#pending.length, "the process is closed");
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

  /** One after the other, until the database fails. */
  async #tryAll(): Promise<void> {
    for (;;) {
      const [next] = this.#pending;
      if (!next) break;
      const context = createDecisionContext("disconnect", next.path);
      try {
        await disconnect(this.#services, next.view, next.call, context);
      } catch (error) {
        const isPassing = this.#services.database.failure(error) instanceof StorageError;
        if (isPassing && performance.now() - next.since < GIVE_UP_MS) return;
        if (isPassing) this.#lost(1, `it was tried for ${GIVE_UP_MS / 1000} s`, error);
        else if (!(error instanceof RefusedError)) this.#services.onError(error, `${next.path}, tried again`);
      }
      this.#pending.shift();
    }
    this.#pauseMs = FIRST_PAUSE_MS;
  }

  #lost(count: number, reason: string, cause?: unknown): void {
    this.#services.onError(
      new StorageError(
        `${count} disconnects could not be recorded, because the database failed and ${reason}. The rows of these connections stay open until a ` +
          "send finds them gone, or for two hours. The views' disconnect() was not called.",
        { cause },
      ),
      "recording disconnects",
    );
  }
}
