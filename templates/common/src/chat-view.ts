import { randomUUID } from "node:crypto";
import { handler, WebSocketView } from "sallyport";
import { z } from "zod";
import { chat } from "./permissions.ts";
import { nameOf } from "./user-name.ts";

const Message = z.object({
  text: z.string().trim().min(1, "Write a message.").max(2000, "A message has at most 2000 characters."),
});
// A message has a field "id" of its own.
const MessageId = z.object({ messageId: z.string().max(36) });
const FIRST_ROOM = "rooms/general";

/** The messages that clients receive. */
export type ChatMessage =
  | { readonly type: "message"; readonly id: string; readonly from: string; readonly text: string }
  | { readonly type: "removed"; readonly id: string };

/** The WebSocket endpoint /ws/chat. Clients can call the fields that `handler()` made. */
export class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  static defaultChannel = FIRST_ROOM;

  say = handler({ body: Message }, async ({ body, user, connection, to }) => {
    const from = await nameOf(user.id);
    const message: ChatMessage = { type: "message", id: randomUUID(), from, text: body.text };
    await to({ channel: connection.channel ?? FIRST_ROOM }).send(message);
  });

  remove = handler(
    { body: MessageId, permissionsRequired: [chat.moderate] },
    async ({ body, connection, to }) => {
      const message: ChatMessage = { type: "removed", id: body.messageId };
      await to({ channel: connection.channel ?? FIRST_ROOM }).send(message);
    },
  );
}
