import type { Outcome, Recipient } from "../delivery/delivery.ts";

/** Connections that are kept at most: about 5 MB. */
const MAX_CONNECTIONS = 10_000;
/** Connections that are closed at the same time. */
const AT_ONCE = 16;
/** Pauses between two rounds, in milliseconds: doubled each time. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
/** How long the close of a connection is retried, in milliseconds. */
const GIVE_UP_MS = 600_000;

/** What closing again needs. */
interface Closing {
  readonly delivery: {
    close(recipient: Recipient, options: { readonly urgent: boolean }): Promise<Outcome>;
    readonly isShut: boolean;
  };
  readonly connections: { isConnected(id: string): Promise<boolean> };
  readonly onError: (error: unknown, where: string) => void;
}

interface Unfinished {
  readonly recipient: Recipient;
  /** `performance.now()` of the first try. */
  readonly since: number;
}

/**
 * Retries the close of connections whose rows are closed, and whose close API Gateway has failed. Nothing is accepted from them or
 * delivered to them, but their clients would not notice. They are kept in memory. If the process dies, they are closed after their next
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

  /** Keeps a connection if its close has failed. @returns whether the close is retried */
  keepFailed(recipient: Recipient, outcome: Outcome): boolean {
    if (outcome.kind !== "failed" || this.#closing.delivery.isShut) return false;
    const key = `${recipient.endpoint} ${recipient.connectionId}`;
    if (this.#unfinished.size >= MAX_CONNECTIONS && !this.#unfinished.has(key)) return false;
    if (!this.#unfinished.has(key)) this.#unfinished.set(key, { recipient, since: performance.now() });
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

  /** Closes the connections of each endpoint, until a close of the endpoint fails: the rest would fail, too. */
  async #closeAll(): Promise<void> {
    const left = [...this.#unfinished];
    const failed = new Set<string>();
    const work = async () => {
      for (let next = left.shift(); next; next = left.shift()) {
        const [key, unfinished] = next;
        const { endpoint } = unfinished.recipient;
        const isFailed = failed.has(endpoint) || (await this.#isFailed(key, unfinished));
        if (!isFailed) continue;
        failed.add(endpoint);
        this.#giveUpIfOld(key, unfinished);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (failed.size === 0) this.#pauseMs = FIRST_PAUSE_MS;
  }

  /** Closes a connection. @returns whether that failed */
  async #isFailed(key: string, { recipient }: Unfinished): Promise<boolean> {
    const { delivery, connections } = this.#closing;
    if (delivery.isShut) {
      this.#unfinished.clear();
      return false;
    }
    // A client that has left by itself needs no close.
    const isOpen = await connections.isConnected(recipient.connectionKey).catch(() => undefined);
    if (isOpen === undefined) return true;
    const outcome = isOpen ? await delivery.close(recipient, { urgent: true }) : undefined;
    if (outcome?.kind === "failed") return true;
    this.#unfinished.delete(key);
    return false;
  }

  #giveUpIfOld(key: string, { recipient, since }: Unfinished): void {
    if (performance.now() - since < GIVE_UP_MS) return;
    this.#unfinished.delete(key);
    const error = new Error(
      `The gateway did not close the connection for ${GIVE_UP_MS / 60_000} minutes. Nothing is accepted from it. It is closed after its next ` +
        "message, or by API Gateway when it is two hours old.",
    );
    this.#closing.onError(error, `closing connection ${recipient.connectionId}`);
  }
}
