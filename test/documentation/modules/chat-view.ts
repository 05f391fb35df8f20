import { handler, WebSocketView } from "sallyport";
import { z } from "zod";
import { deleteMessage } from "./messages.ts";
import { chat } from "./permissions.ts";

export class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat];

  send_message = handler(
    { body: z.object({ message: z.string() }) },
    async ({ body, connection, requireChannel, to }) => {
      const channel = connection.channel ?? "rooms/general";
      await requireChannel(channel);
      await to({ channel }).send({ type: "chat_message", message: body.message });
      return { ok: true };
    },
  );

  delete_message = handler(
    { body: z.object({ message_id: z.int() }), allPermissionsRequired: [chat.can_moderate_chat] },
    async ({ body }) => deleteMessage(body.message_id),
  );
}
