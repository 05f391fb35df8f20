import type { DecisionContext } from "../audit/decision.ts";
import {
  MAX_CHECKS,
  requireChannelRules,
  requireRule,
  runChannelAuthorize,
  tooManyChanges,
} from "../auth/authorize.ts";
import { ForbiddenError, type RequestError, TooManyRequestsError } from "../errors.ts";
import type { EventServices } from "../services.ts";
import type { ConnectionRow } from "../storage/stores/connections.ts";
import type { MatchedChannel } from "../views/channels.ts";
import { userOf } from "../views/user.ts";

/**
 * Maximum number of channels per connection. Each statement about a connection reads all of them.
 */
const MAX_CHANNELS = 100;

/**
 * Maximum number of concurrent join transactions per process. The rest of the pool is for other
 * events.
 */
export const JOINS_AT_ONCE = 4;

/**
 * Adds a connection to a channel. It checks the name, the definitions, every rule and `authorize`,
 * and then writes the membership.
 *
 * The operation that writes the membership checks the rules with the permissions of that moment.
 * `authorize` is called before it. It is called again if a change that affects the connection was
 * recorded since.
 *
 * @param leaving channel that is left with the same operation, for a move
 * @throws RequestError if a check fails. Nothing has changed then
 */
export async function joinChannel(
  services: EventServices,
  connection: ConnectionRow,
  name: string,
  context: DecisionContext,
  leaving?: string,
): Promise<void> {
  const channel = services.definitions.channels.require(name);
  const hasHooks = channel.authorize.length > 0;
  const check = (current: ConnectionRow) => requireViewAndChannel(services, channel, current, context);
  for (let attempt = 1; attempt <= MAX_CHECKS; attempt++) {
    const since = hasHooks ? await authorizeJoin(services, connection, channel, context) : undefined;
    const request = { connectionKey: connection.id, channel: name, max: MAX_CHANNELS, leaving, since };
    const result = await services.connections.joinTurns(() =>
      services.store.memberships.join(request, check),
    );
    if (result === "joined") return;
    if (result === "closed") throw connectionClosed();
    if (result === "full") throw tooManyChannels();
  }
  throw tooManyChanges(`Channel "${name}"`, "Join the channel again.");
}

/**
 * Calls every `authorize` with the current permissions.
 *
 * @returns the number of the last change before the permissions were read
 */
async function authorizeJoin(
  services: EventServices,
  connection: ConnectionRow,
  channel: MatchedChannel,
  context: DecisionContext,
): Promise<number> {
  // The handler can have run for a long time since the connection was read.
  const current = await services.store.connections.findWithChange(connection.id);
  if (!current) throw connectionClosed();
  requireChannelRules(context, channel, current);
  await runChannelAuthorize(context, channel, userOf(current, services.definitions.permissions, context));
  return current.lastChange;
}

/** Checks the rules of the view and of the channel. */
function requireViewAndChannel(
  services: EventServices,
  channel: MatchedChannel,
  current: ConnectionRow,
  context: DecisionContext,
): void {
  const view = services.definitions.views.get(current.view);
  if (!view)
    throw new ForbiddenError(`No view is mounted at "${current.view}". Mount the view in this app.`, {
      reason: "view",
    });
  requireRule(context, view.name, view.rule, current);
  requireChannelRules(context, channel, current);
}

function connectionClosed(): RequestError {
  return new ForbiddenError("The connection was closed while it joined a channel. Connect again.", {
    reason: "connection",
  });
}

function tooManyChannels(): RequestError {
  return new TooManyRequestsError(
    `The connection is in ${MAX_CHANNELS} channels already, which is the maximum. Leave a channel first.`,
    {
      reason: "limit",
      clientMessage: "Too many channels.",
    },
  );
}
