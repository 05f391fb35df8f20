import { z } from "zod";
import { badRequest, forbidden } from "../../src/errors.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { changeChannel, handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { World, type WorldOptions } from "./world.ts";

export const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
  can_broadcast_chat: "Can broadcast chat messages",
});

/** Names of the handlers that ran, in order. A denied message must not add one. */
export const ran: string[] = [];

/** Owners of documents by document id, as in a table of an app. */
export const owners = new Map<number, string>([
  [1, "ann"],
  [2, "bob"],
]);

export const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.can_use_chat] });
export const moderators = defineChannel("rooms/moderators", {
  allPermissionsRequired: [chat.can_moderate_chat],
});
export const announcements = defineChannel("announcements", {
  signedIn: true,
  sendRequired: [chat.can_broadcast_chat],
});
/** One channel per user. The id in its name must be the id of the user. */
export const personal = defineChannel("notifications_user_:id", {
  signedIn: true,
  authorize: ({ user, params }) => user.id === params.id,
});

export const channels = [rooms, moderators, announcements, personal];

const MessageBody = z.object({ message: z.string().trim().min(1, "Message cannot be empty.") });

/** Requires one of two permissions. */
export class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];

  send_message = handler({ body: MessageBody }, async ({ body, user, connection, to }) => {
    ran.push("send_message");
    if (!connection.channel) throw badRequest("Join a room first.");
    await to({ channel: connection.channel }).send({
      type: "chat_message",
      message: body.message,
      username: user.id,
    });
    return { ok: true };
  });

  /** Sends to a channel that the client chooses. Only the channel's own rule can deny it. */
  send_to = handler({ body: MessageBody.extend({ channel: z.string() }) }, async ({ body, to }) => {
    ran.push("send_to");
    await to({ channel: body.channel }).send({ type: "chat_message", message: body.message });
    return { ok: true };
  });

  delete_message = handler(
    { body: z.object({ message_id: z.int() }), allPermissionsRequired: [chat.can_moderate_chat] },
    ({ body, user }) => {
      ran.push(`delete_message ${body.message_id} ${user.id.length}`);
      return { ok: true };
    },
  );

  read_document = handler(
    { body: z.object({ id_of: z.int() }), authorize: ({ body, user }) => owners.get(body.id_of) === user.id },
    ({ body }) => {
      ran.push(`read_document ${body.id_of}`);
      return { document: body.id_of };
    },
  );

  join_room = handler({ body: z.object({ channel: z.string() }) }, async ({ body, join, connection }) => {
    await join(body.channel);
    return { channels: connection.channels };
  });

  leave_room = handler(async ({ leave, connection }) => {
    await leave();
    return { channels: connection.channels };
  });

  change_channel = changeChannel();

  whoami = handler(({ user, connection, body }) => ({ user: user.id, channels: connection.channels, body }));

  require_broadcast = handler(({ user }) => {
    user.require(chat.can_broadcast_chat);
    ran.push("require_broadcast");
    return { ok: true };
  });

  deny_always = handler(() => {
    throw forbidden("the story says no");
  });

  fail_always = handler(() => {
    throw new Error("a bug in the app");
  });

  hidden = handler(() => {
    ran.push("hidden");
    return { ok: true };
  });

  static override allowedHandlers = [
    "send_message",
    "send_to",
    "delete_message",
    "read_document",
    "join_room",
    "leave_room",
    "change_channel",
    "whoami",
    "require_broadcast",
    "deny_always",
    "fail_always",
  ];

  helper() {
    ran.push("helper");
    return this.#slug("X");
  }

  #slug(name: string) {
    ran.push("#slug");
    return name.toLowerCase();
  }
}

/** Requires both permissions. */
export class ModerationView extends WebSocketView {
  static override allPermissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];
  ping = handler(() => ({ pong: true }));
}

/** Sets both lists of permissions, which must both be satisfied. */
export class BroadcastView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];
  static override allPermissionsRequired = [chat.can_broadcast_chat];
  ping = handler(() => ({ pong: true }));
}

/** Allows anonymous users. One of its handlers requires a signed-in user. */
export class LobbyView extends WebSocketView {
  static override allowAnonymous = true;
  ping = handler(({ user }) => ({ user: user.id ?? null }));
  members_only = handler({ signedIn: true }, ({ user }) => ({ user: user.id }));
}

/** Opens a test world with the chat app and grants the users permission to use it. */
export async function openChat(
  users: readonly string[],
  options: Partial<WorldOptions> = {},
): Promise<World> {
  const world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    ...options,
  });
  for (const user of users) await world.sallyport.access.grant(user, chat.can_use_chat);
  return world;
}
