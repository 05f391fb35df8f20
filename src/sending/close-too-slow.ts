import type { Recipient } from "../delivery/delivery.ts";
import type { Rooms } from "./rooms.ts";
import { underWay } from "./send.ts";

/**
 * Closes a connection whose client does not read what is sent to it, so that the client reconnects. The row is closed first: from then on,
 * nothing is accepted from the connection or sent to it.
 */
export function closeTooSlow(rooms: Rooms, recipient: Recipient): void {
  void underWay(rooms, close(rooms, recipient));
}

async function close(rooms: Rooms, recipient: Recipient): Promise<void> {
  const { connectionId, sessionId } = recipient;
  const where = `closing connection ${connectionId}, which is too slow`;
  try {
    // An answer to a message that was rejected early has no row.
    if (sessionId !== "") await rooms.sessions.closeMany([sessionId], "too slow");
    // A client that has hung up is gone, however young its row is.
    const outcome = await rooms.delivery.close({ ...recipient, connectedAt: 0 }, { urgent: true });
    if (outcome.kind !== "failed" || rooms.delivery.isShut) return;
    if (sessionId !== "") rooms.unfinishedCloses.keepFailed(recipient, outcome);
    rooms.onError(new Error(outcome.reason), where);
  } catch (error) {
    rooms.onError(error, where);
  }
}
