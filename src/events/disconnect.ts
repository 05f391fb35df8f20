import type { HttpResponse } from "../protocol/http.ts";
import { createSender, requirementOf } from "../sending/sender.ts";
import type { EventServices } from "../services.ts";
import type { DisconnectEvent } from "./event-context.ts";
import { LiveConnection } from "./handler-context.ts";
import type { PendingDisconnects } from "./pending-disconnects.ts";
import { answerOf, reply } from "./response.ts";

/** Handles `$disconnect`. A disconnect that cannot be recorded now is kept and retried. */
export async function handleDisconnect(
  services: EventServices,
  event: DisconnectEvent,
  pending: PendingDisconnects,
): Promise<HttpResponse> {
  const { view, call, decision } = event;
  const answer = await answerOf(services, event, () =>
    disconnect(services, event).catch((error: unknown) => {
      pending.keep(error, view, call, decision.path);
      throw error;
    }),
  );
  return reply(answer.status, answer.body, answer.headers);
}

/**
 * Closes the row of the connection and calls `disconnect()` of its view.
 *
 * API Gateway can send the event late, twice or never, so an unknown connection is not an error.
 */
export async function disconnect(
  services: EventServices,
  { view, call, decision }: Pick<DisconnectEvent, "view" | "call" | "decision">,
): Promise<void> {
  const gateway = await services.auth.gatewayAuthenticator.check(call);
  decision.gateway = gateway.name;
  const row = await services.store.connections.disconnect(gateway.id, call.connectionId, call);
  if (!row) return;
  if (row.channels.length > 0) services.connections.activity.disconnected(row.id);
  const owner = services.definitions.views.get(row.view) ?? view;
  try {
    await owner.view.disconnect?.({
      userId: row.userId ?? undefined,
      connection: new LiveConnection(row, gateway.name, row.channels),
      code: call.code,
      reason: call.reason,
      to: (audience, ...requirement) => createSender(services.sending, audience, requirementOf(requirement)),
    });
  } catch (error) {
    services.reports.onError(error, `${owner.name}.disconnect()`);
  }
}
