import type { Outcome, Recipient } from "../delivery/delivery.ts";

/** Maximum number of connections in memory, about 5 MB. */
const MAX_CONNECTIONS = 10_000;
/** Maximum number of connections that are closed at the same time. */
const MAX_CLOSES = 16;
/** Pause before the first round of retries, in milliseconds. It doubles each time. */
const FIRST_PAUSE_MS = 1000;
/** Maximum pause between two rounds, in milliseconds. */
const LONGEST_PAUSE_MS = 15_000;
/** How long the close of a connection is retried, in milliseconds. */
const GIVE_UP_MS = 600_000;

/** The dependencies of {@link UnfinishedCloses}. */
interface Dependencies {
  readonly delivery: {
    close(recipient: Recipient, options: { readonly urgent: boolean }): Promise<Outcome>;
    readonly isAllStopped: boolean;
  };
  readonly connections: { isConnected(id: string): Promise<boolean> };
  readonly onError: (error: unknown, where: string) => void;
}

interface Unfinished {
  readonly recipient: Recipient;
  /** `performance.now()` of the first attempt. */
  readonly since: number;
}

/**
 * Retries the close of connections after API Gateway failed to close them.
 *
 * Their rows are closed, so they send and receive no messages, but their clients would stay
 * connected. The list is in memory. If the process exits, {@link OrphanedConnections} closes each
 * connection after its next message.
 */
export class UnfinishedCloses {
  readonly #dependencies: Dependencies;
  readonly #unfinished = new Map<string, Unfinished>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Adds a connection if its close has failed.
   *
   * @returns whether the close is retried
   */
  keepFailed(recipient: Recipient, outcome: Outcome): boolean {
    if (outcome.kind !== "failed" || this.#dependencies.delivery.isAllStopped) return false;
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

  /** Closes the connections of each endpoint, until one fails. The others would fail too. */
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
    await Promise.all(Array.from({ length: MAX_CLOSES }, work));
    if (failed.size === 0) this.#pauseMs = FIRST_PAUSE_MS;
  }

  /** Closes a connection. @returns whether that failed */
  async #isFailed(key: string, { recipient }: Unfinished): Promise<boolean> {
    const { delivery, connections } = this.#dependencies;
    if (delivery.isAllStopped) {
      this.#unfinished.clear();
      return false;
    }
    // The client can have disconnected by itself.
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
      `API Gateway did not close the connection for ${GIVE_UP_MS / 60_000} minutes. Its messages are denied. It is ` +
        "closed after its next message, or by API Gateway when it is two hours old. Check that this process can " +
        "reach the gateway.",
    );
    this.#dependencies.onError(error, `closing connection ${recipient.connectionId}`);
  }
}
