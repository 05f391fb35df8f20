import { badRequest, handler, WebSocketView } from "sallyport";
import { chat } from "./permissions.ts";

export class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];

  whoami = handler(({ user }) => ({ user: user.id }));

  say = handler(async ({ body, user, to }) => {
    const { text } = (body ?? {}) as { text?: unknown };
    if (typeof text !== "string") throw badRequest("text must be a string.");
    await to({ permission: chat.can_use_chat }).send({ type: "said", by: user.id, text });
    return { ok: true };
  });
}
