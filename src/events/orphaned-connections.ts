import type { Gateway } from "../auth/gateways.ts";
import type { Outcome, Recipient } from "../delivery/delivery.ts";
import { INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";

/** Connections that are checked or closed at the same time. A further one is closed after a later message. */
const MAX_IN_FLIGHT = 20;
/** A connection that is younger may still be opened by another process, in milliseconds. */
const MIN_AGE_MS = INTEGRATION_TIMEOUT_MS + 1_000;

/** What closing an orphaned connection needs. */
interface Closing {
  readonly connections: { isOrphaned(connectionId: string): Promise<boolean> };
  readonly delivery: { close(recipient: Recipient): Promise<Outcome> };
  /** Work that shutdown waits for. */
  readonly sends: Set<Promise<unknown>>;
  readonly onError: (error: unknown, where: string) => void;
}

/**
 * Closes connections that are open at API Gateway and have no row, for example because the database was restored from a backup. Every
 * message of such a connection is denied, and its client would not notice. After the close, it connects again.
 */
export class OrphanedConnections {
  readonly #closing: Closing;
  readonly #inFlight = new Set<string>();

  constructor(closing: Closing) {
    this.#closing = closing;
  }

  /**
   * Closes a connection if it has no row, and was not closed a moment ago. Returns at once. Nothing rejects.
   *
   * @param gateway the gateway that sent an event of the connection, and proved that it did
   * @param connectedAt when the connection was opened, by the clock of API Gateway in epoch milliseconds. Undefined: not known
   */
  close(gateway: Gateway, connectionId: string, connectedAt: number | undefined): void {
    // By how much the two clocks differ, in either direction: one that was set back must not make every connection look young.
    if (connectedAt !== undefined && Math.abs(Date.now() - connectedAt) < MIN_AGE_MS) return;
    if (this.#inFlight.has(connectionId) || this.#inFlight.size >= MAX_IN_FLIGHT) return;
    this.#inFlight.add(connectionId);
    const { sends, onError } = this.#closing;
    const work: Promise<void> = this.#close(gateway, connectionId)
      .catch((error) => onError(error, `closing connection ${connectionId}, which has no row`))
      .finally(() => {
        this.#inFlight.delete(connectionId);
        sends.delete(work);
      });
    sends.add(work);
  }

  async #close({ endpoint }: Gateway, connectionId: string): Promise<void> {
    const { connections, delivery } = this.#closing;
    if (!(await connections.isOrphaned(connectionId))) return;
    const recipient = { connectionKey: "", userId: null, connectionId, endpoint, connectedAt: 0 };
    const outcome = await delivery.close(recipient);
    if (outcome.kind === "failed")
      throw new Error(`The gateway did not close the connection: ${outcome.reason}`);
  }
}
