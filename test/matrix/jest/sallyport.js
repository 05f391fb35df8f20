const { createSallyport, definePermissions, handler, WebSocketView } = require("sallyport");
const { sqlite } = require("sallyport/storage/sqlite");

const chat = definePermissions("chat", { can_use_chat: "Can use chat" });

class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat];

  whoami = handler(({ user }) => ({ user: user.id }));
}

const sallyport = createSallyport({
  storage: sqlite("data.db"),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: () => null,
});

module.exports = { chat, sallyport };
