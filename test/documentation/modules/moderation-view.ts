import { handler, WebSocketView } from "sallyport";
import { chat } from "./permissions.ts";

export class ModerationView extends WebSocketView {
  static permissionsRequired = [chat.can_moderate_chat];

  whoami = handler(({ user }) => ({ user: user.id }));
}
