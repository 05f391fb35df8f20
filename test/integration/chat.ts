import { z } from "zod";
import { definePermissions } from "../../src/access/permissions.ts";
import { invalid, refuse } from "../../src/errors.ts";
import { changeChannel } from "../../src/view/change-channel.ts";
import { defineChannel } from "../../src/view/channel.ts";
import { handler } from "../../src/view/handlers.ts";
import { WebSocketView } from "../../src/view/view.ts";
import { World, type WorldOptions } from "./world.ts";

export const chat = definePermissions("chat", {
  can_use_chat: "Can use chat",
  can_moderate_chat: "Can moderate chat",
  can_broadcast_chat: "Can broadcast chat messages",
});

/** Handlers that ran, in order: a refused message must leave no trace here. */
export const ran: string[] = [];

/** Who owns which document, as an app's own table would say. */
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
/** Each user's own: the name in it must be the user's. */
export const personal = defineChannel("notifications_user_:id", {
  signedIn: true,
  authorize: ({ user, params }) => user.id === params.id,
});

export const channels = [rooms, moderators, announcements, personal];

const Say = z.object({ message: z.string().trim().min(1, "Message cannot be empty.") });

/** ANY of two permissions lets in. */
export class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];

  send_message = handler({ body: Say }, async ({ body, user, session, to }) => {
    ran.push("send_message");
    if (!session.channel) throw invalid("Join a room first.");
    await to({ channel: session.channel }).send({
      type: "chat_message",
      message: body.message,
      username: user.id,
    });
    return { ok: true };
  });

  /** Sends wherever the peer says; the channel's own rule must stop it. */
  send_to = handler({ body: Say.extend({ channel: z.string() }) }, async ({ body, to }) => {
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

  join_room = handler({ body: z.object({ channel: z.string() }) }, async ({ body, join, session }) => {
    await join(body.channel);
    return { channels: session.channels };
  });

  leave_room = handler(async ({ leave, session }) => {
    await leave();
    return { channels: session.channels };
  });

  change_channel = changeChannel();

  whoami = handler(({ user, session, body }) => ({ user: user.id, channels: session.channels, body }));

  require_broadcast = handler(({ user }) => {
    user.require(chat.can_broadcast_chat);
    ran.push("require_broadcast");
    return { ok: true };
  });

  refuse_always = handler(() => {
    throw refuse("the story says no");
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
    "refuse_always",
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

/** ALL of two permissions are needed. */
export class ModerationView extends WebSocketView {
  static override allPermissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];
  ping = handler(() => ({ pong: true }));
}

/** Both lists: both hold. */
export class BroadcastView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];
  static override allPermissionsRequired = [chat.can_broadcast_chat];
  ping = handler(() => ({ pong: true }));
}

/** Open to everybody, with one handler that is not. */
export class LobbyView extends WebSocketView {
  static override allowAnonymous = true;
  ping = handler(({ user }) => ({ user: user.id ?? null }));
  members_only = handler({ signedIn: true }, ({ user }) => ({ user: user.id }));
}

/** Opens a world with the chat, and with users who have its permission. */
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
