import type { Trail } from "../access/decisions.ts";
import { askChannel, demand, demandChannel } from "../access/guard.ts";
import { userOf } from "../access/user.ts";
import { RefusedError } from "../errors.ts";
import type { SessionRow } from "../sessions/sessions.ts";
import type { Rooms } from "./rooms.ts";

/** Channels that one session may be in. Every statement about a session reads them all. */
const MAX_CHANNELS = 100;

/** Joins that a storm of changes may undo before the peer has to try again. */
const ATTEMPTS = 20;

/**
 * Puts a session into a channel: name, definitions, every rule, the author's word, membership.
 *
 * Rights are read once more in the membership's own transaction. The author's word is asked anew when anything
 * was recorded to have changed since it was given.
 *
 * @param leaving left in the same transaction, for a move
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
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const asked = await rooms.evictions.changes(rooms.database.db);
    // The handler may have been running for a while: the author's hook is asked about the user of now.
    const asker = await rooms.sessions.findById(rooms.database.db, session.id);
    if (!asker) throw ended();
    demandChannel(trail, channel, asker);
    await askChannel(trail, channel, userOf(asker, rooms.permissions, trail));
    const joined = await rooms.database.write(async (db) => {
      if (channel.authorize.length > 0 && (await rooms.evictions.changes(db)) !== asked) return false;
      const now = await rooms.sessions.findById(db, session.id);
      if (!now) throw ended();
      const view = rooms.views.get(now.view);
      if (!view) throw new RefusedError(`No view is mounted at "${now.view}".`, { reason: "view" });
      demand(trail, view.name, view.rule, now);
      demandChannel(trail, channel, now);
      if (leaving !== undefined && leaving !== name) await rooms.memberships.leave(db, session.id, leaving);
      if ((await rooms.memberships.countOthers(db, session.id, name)) >= MAX_CHANNELS) {
        throw new RefusedError(`The session is in ${MAX_CHANNELS} channels already.`, {
          reason: "limit",
          status: 429,
          reply: "Too many channels.",
        });
      }
      await rooms.memberships.join(db, session.id, name);
      return true;
    });
    if (joined) return;
  }
  throw new RefusedError(`Rights kept changing while the session joined "${name}".`, { reason: "authorize" });
}

function ended(): RefusedError {
  return new RefusedError("The session ended while it was joining.", { reason: "session" });
}
