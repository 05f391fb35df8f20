import { RefusedError } from "../errors.ts";
import type { ConnectionLimit } from "../sessions/user-connections.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Checks whether a user could open one more connection to a view now. Nothing is reserved: `$connect` checks it again.
 *
 * @param view path of the view
 * @throws RefusedError with 429 if the user has as many open connections as the limit allows
 */
export async function requireConnectionSlot(rooms: Rooms, view: string, userId: string): Promise<void> {
  const limit = rooms.limits.connectionsAt(view);
  if (limit === undefined) return;
  const isFull = async () =>
    (await rooms.userConnections.count(rooms.database.db, userId, limit.scope)) >= limit.max;
  if (!(await isFull())) return;
  const closed = await rooms.connectionProbes.closeGone(userId, limit.scope);
  if (closed === 0 || (await isFull())) throw tooManyConnections(userId, limit);
}

export function tooManyConnections(userId: string, { max, scope }: ConnectionLimit): RefusedError {
  const ofView = "view" in scope ? ` of view ${scope.view}` : "";
  return new RefusedError(
    `User ${userId} has reached connectionsPerUser${ofView}, which allows ${max} open ${max === 1 ? "connection" : "connections"} ` +
      "at the same time. Close one of them, or raise the limit.",
    { reason: "connections", status: 429, reply: "Too many connections." },
  );
}
