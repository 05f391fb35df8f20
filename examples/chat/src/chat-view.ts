import {
  badRequest,
  type Connection,
  changeChannel,
  type HandlerAuthorizeContext,
  handler,
  WebSocketView,
} from "sallyport";
import { z } from "zod";
import { deleteMessage, recentMessages, roomOfMessage, storeMessage } from "./messages.ts";
import { chat } from "./permissions.ts";

const Text = z.object({
  message: z.string().trim().min(1, "Message cannot be empty.").max(2000, "Message is too long."),
});
const MessageRef = z.object({ message_id: z.int().positive() });
const Room = z.object({ room: z.string() });

/** Returns whether the message is in the room that the connection is in. */
async function isInRoom({
  body,
  connection,
}: HandlerAuthorizeContext<z.output<typeof MessageRef>>): Promise<boolean> {
  const room = await roomOfMessage(body.message_id);
  return room !== undefined && `rooms/${room}` === connection.channel;
}

function channelOf(session: Connection): string {
  if (!session.channel) throw badRequest("Join a room first.");
  return session.channel;
}

export class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat, chat.can_moderate_chat];
  static signedIn = true;

  send_message = handler(
    { body: Text, signedIn: true },
    async ({ body, user, connection, requireChannel, to }) => {
      const channel = channelOf(connection);
      await requireChannel(channel); // checks access before the message is stored
      const message = await storeMessage(this.#slug(channel), user.id, body.message);
      await to({ channel }).send({ type: "chat_message", ...message });
      return { ok: true, id: message.id };
    },
  );

  fetch_history = handler(async ({ connection, requireChannel }) => {
    const channel = channelOf(connection);
    await requireChannel(channel);
    return { messages: await recentMessages(this.#slug(channel)) };
  });

  delete_message = handler(
    { body: MessageRef, allPermissionsRequired: [chat.can_moderate_chat], authorize: isInRoom },
    async ({ body, connection, requireChannel, to }) => {
      const channel = channelOf(connection);
      await requireChannel(channel);
      await deleteMessage(body.message_id);
      await to({ channel }).send({ type: "message_deleted", id: body.message_id });
      return { ok: true };
    },
  );

  join_room = handler({ body: Room }, async ({ body, move }) => {
    await move(`rooms/${body.room}`);
    return { ok: true, room: body.room };
  });

  change_channel = changeChannel();

  ping = handler(() => ({ ok: true }));

  /** A client cannot call this method, because it is private. */
  #slug(channel: string): string {
    return channel.slice("rooms/".length);
  }
}
