import type { DecisionContext } from "../audit/decision.ts";
import type { DisconnectCall } from "../protocol/gateway-call.ts";
import { createSender, requirementOf } from "../sending/sender.ts";
import type { Services } from "../services.ts";
import type { MountedView } from "../views/mount.ts";
import { LiveConnection } from "./context.ts";

/**
 * Handles `$disconnect`: closes the row of the connection and calls `disconnect()` of its view.
 *
 * API Gateway can send the event late, twice or never, so an unknown connection is not an error.
 */
export async function disconnect(
  services: Services,
  view: MountedView,
  call: DisconnectCall,
  context: DecisionContext,
): Promise<void> {
  const gateway = await services.gatewayAuthenticator.check(call);
  context.gateway = gateway.name;
  const row = await services.store.connections.disconnect(gateway.id, call.connectionId, call);
  if (!row) return;
  if (row.channels.length > 0) services.activity.disconnected(row.id);
  const owner = services.views.get(row.view) ?? view;
  try {
    await owner.view.disconnect?.({
      userId: row.userId ?? undefined,
      connection: new LiveConnection(row, gateway.name, row.channels),
      code: call.code,
      reason: call.reason,
      to: (audience, ...requirement) => createSender(services, audience, requirementOf(requirement)),
    });
  } catch (error) {
    services.onError(error, `${owner.name}.disconnect()`);
  }
}
