import type { Recipient } from "../delivery/delivery.ts";
import type { Services } from "../services.ts";
import { trackSend } from "./fan-out.ts";

/**
 * Closes a connection whose client does not read what is sent to it, so that the client reconnects. The row is closed first: from then on,
 * nothing is accepted from the connection or sent to it.
 */
export function closeTooSlow(services: Services, recipient: Recipient): void {
  void trackSend(services, close(services, recipient));
}

async function close(services: Services, recipient: Recipient): Promise<void> {
  const { connectionId, connectionKey } = recipient;
  const where = `closing connection ${connectionId}, which is too slow`;
  try {
    // An answer to a message that was rejected early has no row.
    if (connectionKey !== "") await services.connections.closeMany([connectionKey], "too slow");
    // A client that has hung up is gone, however young its row is.
    const outcome = await services.delivery.close({ ...recipient, connectedAt: 0 }, { urgent: true });
    if (outcome.kind !== "failed" || services.delivery.isShut) return;
    if (connectionKey !== "") services.unfinishedCloses.keepFailed(recipient, outcome);
    services.onError(new Error(outcome.reason), where);
  } catch (error) {
    services.onError(error, where);
  }
}
