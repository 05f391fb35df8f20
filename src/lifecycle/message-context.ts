import { authorizeChannel, checkChannelName, checkChannelRules, checkSendRules } from "../access/channels.ts";
import type { Audience, Requirement } from "../delivery/audience.ts";
import type { SessionWithChannels } from "../sessions/sessions.ts";
import type { MessageContext, Outlet, Session, User } from "../view/context.ts";
import { outletTo } from "./deliver.ts";
import { joinChannel } from "./join-channel.ts";
import type { Rooms } from "./rooms.ts";

/** A session as authors see it, and the hand that keeps its channels true while a handler joins and leaves. */
export interface SessionView {
  readonly session: Session;
  readonly joined: (channel: string) => void;
  readonly left: (channel: string) => void;
}

export function sessionView(row: SessionWithChannels, gateway: string): SessionView {
  let channels: readonly string[] = row.channels;
  const without = (channel: string) => channels.filter((other) => other !== channel);
  return {
    session: Object.freeze({
      id: row.id,
      connectionId: row.connectionId,
      gateway,
      view: row.view,
      connectedAt: row.connectedAt,
      get channel() {
        return channels.at(-1);
      },
      get channels() {
        return channels;
      },
    }),
    joined: (channel) => {
      channels = [...without(channel), channel];
    },
    left: (channel) => {
      channels = without(channel);
    },
  };
}

/** What a handler is given: everything it does goes through the same guards again. */
export function messageContext(
  rooms: Rooms,
  row: SessionWithChannels,
  { session, joined, left }: SessionView,
  user: User,
  body: unknown,
): MessageContext {
  return {
    user,
    session,
    body,
    async join(channel) {
      await joinChannel(rooms, row, user, channel);
      joined(channel);
    },
    async leave(channel = session.channel) {
      if (channel === undefined) return;
      await rooms.database.write((db) => rooms.memberships.leave(db, row.id, channel));
      left(channel);
    },
    async move(channel) {
      const leaving = session.channel;
      await joinChannel(rooms, row, user, channel, leaving);
      if (leaving !== undefined) left(leaving);
      joined(channel);
    },
    to: (audience, requirement) => outletFor(rooms, row, user, audience, requirement),
  };
}

/** A send on a user's behalf: to a channel, only if the user meets its rules now. */
function outletFor(
  rooms: Rooms,
  row: SessionWithChannels,
  user: User,
  audience: Audience,
  requirement: Requirement | undefined,
): Outlet {
  const permitted = async (): Promise<Outlet> => {
    if (typeof audience === "object" && "channel" in audience) {
      checkChannelName(audience.channel);
      const channel = rooms.channels.require(audience.channel);
      checkChannelRules(channel, row);
      checkSendRules(channel, row);
      await authorizeChannel(channel, user);
    }
    return outletTo(rooms, audience, requirement);
  };
  return {
    send: async (message) => (await permitted()).send(message),
    close: async () => (await permitted()).close(),
  };
}
