import { type RequestError, TooManyRequestsError } from "../errors.ts";
import type { EventServices } from "../services.ts";
import type { ConnectionLimit } from "../storage/stores/connections.ts";

/**
 * Checks whether a user could open one more connection to a view now.
 *
 * The call reserves nothing. `$connect` checks the limit again.
 *
 * @param view path of the view
 * @throws RequestError with 429 if the user has as many open connections as the limit allows
 */
export async function requireConnectionSlot(
  services: EventServices,
  view: string,
  userId: string,
): Promise<void> {
  const limit = services.limits.settings.connectionsAt(view);
  if (limit === undefined) return;
  const isFull = async () => (await services.store.connections.countOfUser(userId, limit.scope)) >= limit.max;
  if (!(await isFull())) return;
  const closed = await services.connections.probes.closeGone(userId, limit.scope);
  if (closed === 0 || (await isFull())) throw tooManyConnections(userId, limit);
}

export function tooManyConnections(userId: string, { max, scope }: ConnectionLimit): RequestError {
  const ofView = "view" in scope ? ` of view ${scope.view}` : "";
  return new TooManyRequestsError(
    `User ${userId} has reached connectionsPerUser${ofView}, which allows ${max} open ${max === 1 ? "connection" : "connections"} ` +
      "at the same time. Close one of them, or raise the limit.",
    { reason: "connection-limit", clientMessage: "Too many connections." },
  );
}
