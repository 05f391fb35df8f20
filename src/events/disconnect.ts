import type { Trail } from "../access/decisions.ts";
import type { DisconnectCall } from "../protocol/gateway-call.ts";
import { givenRequirement, outletTo } from "./deliver.ts";
import { LiveSession } from "./message-context.ts";
import type { MountedView } from "./mount-views.ts";
import type { Rooms } from "./rooms.ts";

/**
 * `$disconnect`: the socket has closed. It may come twice, late or never, so an unknown connection is no error.
 */
export async function disconnect(
  rooms: Rooms,
  view: MountedView,
  call: DisconnectCall,
  trail: Trail,
): Promise<void> {
  const gateway = await rooms.callers.check(call);
  trail.gateway = gateway.name;
  const row = await rooms.sessions.disconnect(gateway.id, call.connectionId, call);
  if (!row) return;
  if (row.channels.length > 0) rooms.activity.departed(row.id);
  const owner = rooms.views.get(row.view) ?? view;
  try {
    await owner.view.disconnect?.({
      userId: row.userId ?? undefined,
      session: new LiveSession(row, gateway.name, row.channels),
      code: call.code,
      reason: call.reason,
      to: (audience, ...requirement) => outletTo(rooms, audience, givenRequirement(requirement)),
    });
  } catch (error) {
    rooms.onError(error, `${owner.name}.disconnect()`);
  }
}
