import type { Outcome, Recipient } from "../delivery/delivery.ts";
import { INTEGRATION_TIMEOUT_MS } from "../protocol/quotas.ts";
import type { Gateway } from "../storage/stores/gateways.ts";

/** Maximum number of connections in progress. Others are closed after a later message. */
const MAX_IN_FLIGHT = 20;
/**
 * Minimum age of a connection in milliseconds. Another process may still be opening a younger one.
 */
const MIN_AGE_MS = INTEGRATION_TIMEOUT_MS + 1_000;

/** The dependencies of {@link OrphanedConnections}. */
interface Dependencies {
  readonly connections: { isOrphaned(connectionId: string): Promise<boolean> };
  readonly delivery: { close(recipient: Recipient): Promise<Outcome> };
  /** Records work that shutdown waits for. */
  readonly sends: { track<Result>(work: Promise<Result>): Promise<Result> };
  readonly onError: (error: unknown, where: string) => void;
}

/**
 * Closes connections that are open at API Gateway but have no row, for example after the database
 * was restored from a backup.
 *
 * Every message of such a connection is denied, but its client would stay connected. After the
 * close, the client connects again.
 */
export class OrphanedConnections {
  readonly #dependencies: Dependencies;
  readonly #inFlight = new Set<string>();

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Closes a connection if it has no open row. Returns immediately. Errors are reported to
   * `onError`.
   *
   * A connection is skipped if it is too young, or if its row was closed within the last minute.
   *
   * @param gateway the authenticated gateway that sent an event of the connection
   * @param connectedAt when the connection was opened, in epoch milliseconds of API Gateway's
   *   clock. `undefined` if it is not known
   */
  close(gateway: Gateway, connectionId: string, connectedAt: number | undefined): void {
    // The absolute difference: a clock that was set back must not make every connection look young.
    if (connectedAt !== undefined && Math.abs(Date.now() - connectedAt) < MIN_AGE_MS) return;
    if (this.#inFlight.has(connectionId) || this.#inFlight.size >= MAX_IN_FLIGHT) return;
    this.#inFlight.add(connectionId);
    const { sends, onError } = this.#dependencies;
    const work = this.#close(gateway, connectionId)
      .catch((error) => onError(error, `closing connection ${connectionId}, which has no row`))
      .finally(() => this.#inFlight.delete(connectionId));
    void sends.track(work);
  }

  async #close({ endpoint }: Gateway, connectionId: string): Promise<void> {
    const { connections, delivery } = this.#dependencies;
    if (!(await connections.isOrphaned(connectionId))) return;
    const recipient = { connectionKey: "", userId: null, connectionId, endpoint, connectedAt: 0 };
    const outcome = await delivery.close(recipient);
    if (outcome.kind === "failed")
      throw new Error(
        `API Gateway did not close the connection (${outcome.reason}). The next message of the connection ` +
          "retries the close. Check that this process can reach the gateway.",
      );
  }
}
