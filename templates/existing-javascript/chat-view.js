import { randomUUID } from "node:crypto";
import { handler, WebSocketView } from "sallyport";
import { z } from "zod";
import { chat } from "./permissions.js";
import { nameOf } from "./user-name.js";

const Message = z.object({
  text: z.string().trim().min(1, "Write a message.").max(2000, "A message has at most 2000 characters."),
});
// A message has a field "id" of its own.
const MessageId = z.object({ messageId: z.string().max(36) });
const FIRST_ROOM = "rooms/general";

/** The WebSocket endpoint /ws/chat. Clients can call the fields that `handler()` made. */
export class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  static defaultChannel = FIRST_ROOM;

  say = handler({ body: Message }, async ({ body, user, connection, to }) => {
    const from = await nameOf(user.id);
    const message = { type: "message", id: randomUUID(), from, text: body.text };
    await to({ channel: connection.channel ?? FIRST_ROOM }).send(message);
  });

  remove = handler(
    { body: MessageId, permissionsRequired: [chat.moderate] },
    async ({ body, connection, to }) => {
      const message = { type: "removed", id: body.messageId };
      await to({ channel: connection.channel ?? FIRST_ROOM }).send(message);
    },
  );
}
