import type { DecisionContext } from "../audit/decision.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import type { ConnectionRow } from "../connections/connections.ts";
import type { MembershipRequest } from "../connections/memberships.ts";
import { ForbiddenError, type RequestError, TooManyRequestsError } from "../errors.ts";
import type { Services } from "../services.ts";
import { firstExpiry } from "../storage/sql/effective-permissions.ts";
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
 * Maximum number of `authorize` calls per join. Each change of the user or channel causes another
 * one.
 */
const ATTEMPTS = 20;

/**
 * Adds a connection to a channel. It checks the name, the definitions, every rule and `authorize`,
 * and then writes the membership.
 *
 * Without `authorize`, the permissions are read and checked first. The statement that writes the
 * membership requires that no change was recorded since then.
 *
 * With `authorize`, or after a change, the permissions are read in the transaction of the
 * membership. That transaction excludes permission changes, but runs concurrently with other joins
 * and connects. `authorize` is called before it. It is called again if a change that affects the
 * connection was recorded since.
 *
 * @param leaving channel that is left in the same transaction, for a move
 * @throws RequestError if a check fails. Nothing has changed then
 */
export async function joinChannel(
  services: Services,
  connection: ConnectionRow,
  name: string,
  context: DecisionContext,
  leaving?: string,
): Promise<void> {
  const channel = services.channels.require(name);
  const hasHooks = channel.authorize.length > 0;
  const lock = lockOfChannels(connection.id);
  const joining = { connectionKey: connection.id, channel: name, max: MAX_CHANNELS, leaving };
  const joinNow = () => joinUnchanged(services, joining, channel, context, lock);
  if (!hasHooks && services.database.supportsWritableCte && (await services.joinTurns(joinNow))) return;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const since = hasHooks ? await authorizeJoin(services, connection, channel, context) : undefined;
    const join = () =>
      services.database.sharedTransaction(
        async (db) => {
          const current = await services.connections.findById(db, connection.id);
          if (!current) throw connectionClosed();
          if (since !== undefined) {
            const { isAffected } = await services.changeLog.check(db, { ...current, channel: name }, since);
            if (isAffected) return false;
          }
          requireViewAndChannel(services, channel, current, context);
          if (!(await services.memberships.join(db, joining))) throw tooManyChannels();
          return true;
        },
        { lock },
      );
    const isJoined = await services.joinTurns(join);
    if (isJoined) return;
  }
  throw new ForbiddenError(
    `authorize of channel "${name}" was called ${ATTEMPTS} times, and each time the permissions of the user or the data of the channel ` +
      "changed during the call. Join the channel again.",
    { reason: "unstable" },
  );
}

/**
 * Joins with one statement instead of a transaction. It requires a database with writable CTEs.
 *
 * @returns `false` if a change was recorded since the permissions were read
 */
async function joinUnchanged(
  services: Services,
  joining: MembershipRequest,
  channel: MatchedChannel,
  context: DecisionContext,
  lock: string,
): Promise<boolean> {
  let current: Awaited<ReturnType<typeof services.connections.findWithChange>>;
  try {
    current = await services.connections.findWithChange(joining.connectionKey);
  } catch {
    // The transaction reads again, and is retried if the database connection was lost.
    return false;
  }
  if (!current) throw connectionClosed();
  requireViewAndChannel(services, channel, current, context);
  const checked = { since: current.lastChange, validUntil: firstExpiry(current) };
  return services.memberships.joinUnchanged({ ...joining, ...checked }, lock);
}

/**
 * Calls every `authorize` with the current permissions.
 *
 * @returns the number of the last change before the permissions were read
 */
async function authorizeJoin(
  services: Services,
  connection: ConnectionRow,
  channel: MatchedChannel,
  context: DecisionContext,
): Promise<number> {
  // The handler can have run for a long time since the connection was read.
  const current = await services.connections.findWithChange(connection.id);
  if (!current) throw connectionClosed();
  requireChannelRules(context, channel, current);
  await runChannelAuthorize(context, channel, userOf(current, services.permissions, context));
  return current.lastChange;
}

/** Checks the rules of the view and of the channel. */
function requireViewAndChannel(
  services: Services,
  channel: MatchedChannel,
  current: ConnectionRow,
  context: DecisionContext,
): void {
  const view = services.views.get(current.view);
  if (!view)
    throw new ForbiddenError(`No view is mounted at "${current.view}". Mount the view in this app.`, {
      reason: "view",
    });
  requireRule(context, view.name, view.rule, current);
  requireChannelRules(context, channel, current);
}

/** Returns the name of the lock under which the channels of a connection are counted and joined. */
function lockOfChannels(connectionKey: string): string {
  return `channels of ${connectionKey}`;
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
