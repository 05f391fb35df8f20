import { createSallyport, definePermissions, handler, WebSocketView } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

export const ORIGIN = "https://www.example.com";
export const chat = definePermissions("chat", { can_use_chat: "Can use chat" });

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat];
  whoami = handler(({ user }) => ({ user: user.id }));
}

const { DATABASE_URL } = process.env;

export const sallyport = createSallyport({
  storage: DATABASE_URL ? postgres(DATABASE_URL) : sqlite("data/app.db"),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  origins: [ORIGIN],
  authenticate: ({ headers }) => {
    const userId = /^user=(\w+)$/.exec(headers.get("cookie") ?? "")?.[1];
    return userId ? { userId, sessionId: `session-of-${userId}` } : null;
  },
  onDecision: ({ verdict, event, message }) => console.error(event, verdict, message),
});
