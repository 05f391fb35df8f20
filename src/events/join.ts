import type { MatchedChannel } from "../access/channels.ts";
import type { Trail } from "../access/decisions.ts";
import { askChannel, demand, demandChannel } from "../access/guard.ts";
import { userOf } from "../access/user.ts";
import { RefusedError } from "../errors.ts";
import type { Joining } from "../sessions/memberships.ts";
import { firstEnd } from "../sessions/rights-of.ts";
import type { SessionRow } from "../sessions/sessions.ts";
import type { Rooms } from "./rooms.ts";

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
  rooms: Rooms,
  session: SessionRow,
  name: string,
  trail: Trail,
  leaving?: string,
): Promise<void> {
  const channel = rooms.channels.require(name);
  const hasHooks = channel.authorize.length > 0;
  const lock = lockOfChannels(session.id);
  const joining = { sessionId: session.id, channel: name, max: MAX_CHANNELS, leaving };
  const joinNow = () => joinUnchanged(rooms, joining, channel, trail, lock);
  if (!hasHooks && rooms.database.writesInWith && (await rooms.joinTurns(joinNow))) return;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const since = hasHooks ? await authorizeJoin(rooms, session, channel, trail) : undefined;
    const join = () =>
      rooms.database.writeBeside(
        async (db) => {
          const now = await rooms.sessions.findById(db, session.id);
          if (!now) throw ended();
          if (since !== undefined) {
            const { isAffected } = await rooms.changeLog.check(db, { ...now, channel: name }, since);
            if (isAffected) return false;
          }
          demandBoth(rooms, channel, now, trail);
          if (!(await rooms.memberships.join(db, joining))) throw tooManyChannels();
          return true;
        },
        { lock },
      );
    const isJoined = await rooms.joinTurns(join);
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
  rooms: Rooms,
  joining: Joining,
  channel: MatchedChannel,
  trail: Trail,
  lock: string,
): Promise<boolean> {
  let now: Awaited<ReturnType<typeof rooms.sessions.findWithChange>>;
  try {
    now = await rooms.sessions.findWithChange(joining.sessionId);
  } catch {
    // The transaction reads again, and is repeated if the connection to the database was lost.
    return false;
  }
  if (!now) throw ended();
  demandBoth(rooms, channel, now, trail);
  const checked = { since: now.lastChange, validUntil: firstEnd(now) };
  return rooms.memberships.joinUnchanged({ ...joining, ...checked }, lock);
}

/** Calls every `authorize` with the permissions of now. @returns the number of the last change before they were read */
async function authorizeJoin(
  rooms: Rooms,
  session: SessionRow,
  channel: MatchedChannel,
  trail: Trail,
): Promise<number> {
  // The handler may have been running for a while.
  const now = await rooms.sessions.findWithChange(session.id);
  if (!now) throw ended();
  demandChannel(trail, channel, now);
  await askChannel(trail, channel, userOf(now, rooms.permissions, trail));
  return now.lastChange;
}

/** Checks the rules of the view and of the channel. */
function demandBoth(rooms: Rooms, channel: MatchedChannel, now: SessionRow, trail: Trail): void {
  const view = rooms.views.get(now.view);
  if (!view) throw new RefusedError(`No view is mounted at "${now.view}".`, { reason: "view" });
  demand(trail, view.name, view.rule, now);
  demandChannel(trail, channel, now);
}

/** The lock under which the channels of a connection are counted and joined. */
function lockOfChannels(sessionId: string): string {
  return `channels of ${sessionId}`;
}

function ended(): RefusedError {
  return new RefusedError("The session ended while it was joining.", { reason: "session" });
}

function tooManyChannels(): RefusedError {
  return new RefusedError(`The session is in ${MAX_CHANNELS} channels already.`, {
    reason: "limit",
    status: 429,
    reply: "Too many channels.",
  });
}
