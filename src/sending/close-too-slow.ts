import type { Recipient } from "../delivery/delivery.ts";
import type { SendingServices } from "../services.ts";

/**
 * Closes a connection if its client does not read its messages, so that the client reconnects.
 *
 * The row is closed first. From then on, no message from or to the connection is accepted.
 */
export function closeTooSlow(services: SendingServices, recipient: Recipient): void {
  void services.sends.track(close(services, recipient));
}

async function close(services: SendingServices, recipient: Recipient): Promise<void> {
  const { connectionId, connectionKey } = recipient;
  const where = `closing connection ${connectionId}, which is too slow`;
  try {
    // The answer to a message that was rejected early belongs to no row.
    if (connectionKey !== "") await services.store.connections.closeMany([connectionKey], "too slow");
    // With connectedAt 0, a 410 means that the connection is gone, even if its row is new.
    const outcome = await services.delivery.close({ ...recipient, connectedAt: 0 }, { urgent: true });
    if (outcome.kind !== "failed" || services.delivery.isShut) return;
    if (connectionKey !== "") services.unfinishedCloses.keepFailed(recipient, outcome);
    const error = new Error(
      `API Gateway did not close the connection (${outcome.reason}). Its messages are denied. ` +
        "Check that this process can reach the gateway.",
    );
    services.reports.onError(error, where);
  } catch (error) {
    services.reports.onError(error, where);
  }
}
