import type { DecisionContext } from "../audit/decision.ts";
import { requireChannelRules, requireRule, runChannelAuthorize } from "../auth/authorize.ts";
import type { ConnectionRow } from "../connections/connections.ts";
import type { MembershipRequest } from "../connections/memberships.ts";
import { RefusedError } from "../errors.ts";
import type { Services } from "../services.ts";
import { firstEnd } from "../storage/sql/effective-permissions.ts";
import type { MatchedChannel } from "../views/channels.ts";
import { userOf } from "../views/user.ts";

/** Channels that one session may be in. Every statement about a session reads them all. */
const MAX_CHANNELS = 100;

/** Joins of one process that are in the database at the same time, so that connections of the pool are free for other events. */
export const JOINS_AT_ONCE = 4;

/** How often `authorize` is called for one join before it is denied, because a change keeps concerning the user or the channel. */
const ATTEMPTS = 20;

/**
 * Puts a connection into a channel: name, definitions, every rule, `authorize`, membership.
 *
 * Without `authorize`, the permissions are read and checked first, and the statement that writes the membership requires that no change
 * was recorded since then. Otherwise, or if there was a change, they are read in the transaction of the membership, which excludes
 * changes of permissions but runs beside other joins and connects. `authorize` is called before it, and again if a change that concerns
 * the connection was recorded meanwhile.
 *
 * @param leaving channel that is left in the same transaction, for a move
 * @throws RefusedError; nothing has changed then
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
          const now = await services.connections.findById(db, connection.id);
          if (!now) throw ended();
          if (since !== undefined) {
            const { isAffected } = await services.changeLog.check(db, { ...now, channel: name }, since);
            if (isAffected) return false;
          }
          demandBoth(services, channel, now, context);
          if (!(await services.memberships.join(db, joining))) throw tooManyChannels();
          return true;
        },
        { lock },
      );
    const isJoined = await services.joinTurns(join);
    if (isJoined) return;
  }
  throw new RefusedError(
    `authorize of channel "${name}" was called ${ATTEMPTS} times, and each time the permissions of the user or the data of the channel ` +
      "changed meanwhile.",
    { reason: "unstable" },
  );
}

/**
 * Joins without a transaction of several round trips. Only for a database that has a WITH that writes.
 *
 * @returns false if something has changed since the permissions were read
 */
async function joinUnchanged(
  services: Services,
  joining: MembershipRequest,
  channel: MatchedChannel,
  context: DecisionContext,
  lock: string,
): Promise<boolean> {
  let now: Awaited<ReturnType<typeof services.connections.findWithChange>>;
  try {
    now = await services.connections.findWithChange(joining.connectionKey);
  } catch {
    // The transaction reads again, and is repeated if the connection to the database was lost.
    return false;
  }
  if (!now) throw ended();
  demandBoth(services, channel, now, context);
  const checked = { since: now.lastChange, validUntil: firstEnd(now) };
  return services.memberships.joinUnchanged({ ...joining, ...checked }, lock);
}

/** Calls every `authorize` with the permissions of now. @returns the number of the last change before they were read */
async function authorizeJoin(
  services: Services,
  connection: ConnectionRow,
  channel: MatchedChannel,
  context: DecisionContext,
): Promise<number> {
  // The handler may have been running for a while.
  const now = await services.connections.findWithChange(connection.id);
  if (!now) throw ended();
  requireChannelRules(context, channel, now);
  await runChannelAuthorize(context, channel, userOf(now, services.permissions, context));
  return now.lastChange;
}

/** Checks the rules of the view and of the channel. */
function demandBoth(
  services: Services,
  channel: MatchedChannel,
  now: ConnectionRow,
  context: DecisionContext,
): void {
  const view = services.views.get(now.view);
  if (!view) throw new RefusedError(`No view is mounted at "${now.view}".`, { reason: "view" });
  requireRule(context, view.name, view.rule, now);
  requireChannelRules(context, channel, now);
}

/** The lock under which the channels of a connection are counted and joined. */
function lockOfChannels(connectionKey: string): string {
  return `channels of ${connectionKey}`;
}

function ended(): RefusedError {
  return new RefusedError("The session ended while it was joining.", { reason: "connection" });
}

function tooManyChannels(): RefusedError {
  return new RefusedError(`The session is in ${MAX_CHANNELS} channels already.`, {
    reason: "limit",
    status: 429,
    reply: "Too many channels.",
  });
}
