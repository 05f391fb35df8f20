import { authorizeChannel, checkChannelRules } from "../access/channels.ts";
import { judge } from "../access/rules.ts";
import { refusedBy } from "../access/user.ts";
import { RefusedError } from "../errors.ts";
import type { SessionWithChannels } from "../sessions/sessions.ts";
import type { User } from "../view/context.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Puts a session into a channel: name, definitions, every rule, the author's word, membership.
 *
 * Rights are read once more in the membership's own transaction, since the author's word may have taken time.
 *
 * @param leaving left in the same transaction, for a move
 * @throws RefusedError; nothing has changed then
 */
export async function joinChannel(
  rooms: Rooms,
  session: SessionWithChannels,
  user: User,
  name: string,
  leaving?: string,
): Promise<void> {
  const channel = rooms.channels.require(name);
  checkChannelRules(channel, session);
  await authorizeChannel(channel, user);
  await rooms.database.write(async (db) => {
    const now = await rooms.sessions.findById(db, session.id);
    if (!now) throw new RefusedError("The session ended while it was joining.", { reason: "session" });
    const view = rooms.views.get(now.view);
    const verdict = view ? judge(view.rule, now) : undefined;
    if (verdict && !verdict.allowed) throw refusedBy(verdict, `view "${now.view}"`);
    checkChannelRules(channel, now);
    if (leaving !== undefined && leaving !== name) await rooms.memberships.leave(db, session.id, leaving);
    await rooms.memberships.join(db, session.id, name);
  });
}
