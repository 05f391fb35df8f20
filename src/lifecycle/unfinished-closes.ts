import type { Outcome, Recipient } from "../delivery/delivery.ts";

/** Connections that are kept at most: about 5 MB. */
const MAX_CONNECTIONS = 10_000;
/** Connections that are closed at the same time. */
const AT_ONCE = 16;
/** Pauses between two rounds, in milliseconds: doubled each time. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
/** How long a connection is tried to be closed, in milliseconds. */
const GIVE_UP_MS = 600_000;

/** What closing again needs. */
interface Closing {
  readonly delivery: {
    close(recipient: Recipient, options: { readonly urgent: boolean }): Promise<Outcome>;
    readonly isShut: boolean;
  };
  readonly sessions: { isConnected(id: string): Promise<boolean> };
  readonly onError: (error: unknown, where: string) => void;
}

interface Unfinished {
  readonly recipient: Recipient;
  /** `performance.now()` of the first try. */
  readonly since: number;
}

/**
 * Connections whose rows are closed, and that API Gateway did not close, because it failed. Nothing is accepted from them or delivered to
 * them, but their clients would not notice. They are kept in memory and closed again; a process that dies leaves them to their next
 * message, see {@link OrphanedConnections}.
 */
export class UnfinishedCloses {
  readonly #closing: Closing;
  readonly #unfinished = new Map<string, Unfinished>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;

  constructor(closing: Closing) {
    this.#closing = closing;
  }

  /** Keeps a connection that was not closed. @returns whether it is tried again */
  keep(recipient: Recipient): boolean {
    const key = `${recipient.endpoint} ${recipient.connectionId}`;
    if (this.#unfinished.size >= MAX_CONNECTIONS && !this.#unfinished.has(key)) return false;
    // A 410 means that it is gone, however young its row is.
    const kept = { recipient: { ...recipient, connectedAt: 0 }, since: performance.now() };
    if (!this.#unfinished.has(key)) this.#unfinished.set(key, kept);
    this.#schedule();
    return true;
  }

  #schedule(): void {
    if (this.#timer || this.#unfinished.size === 0) return;
    this.#timer = setTimeout(() => {
      void this.#closeAll().finally(() => {
        this.#timer = undefined;
        this.#schedule();
      });
    }, this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  /** Ends with the first one that fails: the gateway still fails then. */
  async #closeAll(): Promise<void> {
    const left = [...this.#unfinished];
    let hasFailed = false;
    const work = async () => {
      for (let next = left.shift(); next && !hasFailed; next = left.shift()) {
        const [key, unfinished] = next;
        if (await this.#close(key, unfinished)) hasFailed = true;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (!hasFailed) this.#pauseMs = FIRST_PAUSE_MS;
  }

  /** @returns whether the gateway failed */
  async #close(key: string, { recipient, since }: Unfinished): Promise<boolean> {
    const { delivery, sessions, onError } = this.#closing;
    if (delivery.isShut) {
      this.#unfinished.clear();
      return false;
    }
    // A client that has left by itself needs no close.
    const isOpen = await sessions.isConnected(recipient.sessionId).catch(() => undefined);
    if (isOpen === undefined) return true;
    const outcome = isOpen ? await delivery.close(recipient, { urgent: true }) : undefined;
    if (outcome?.kind !== "failed") {
      this.#unfinished.delete(key);
      return false;
    }
    if (performance.now() - since < GIVE_UP_MS) return true;
    this.#unfinished.delete(key);
    const error = new Error(
      `The gateway did not close the connection for ${GIVE_UP_MS / 60_000} minutes: ${outcome.reason}. Nothing is accepted from it. It is ` +
        "closed after its next message, or by API Gateway when it is two hours old.",
    );
    onError(error, `closing connection ${recipient.connectionId}`);
    return true;
  }
}
