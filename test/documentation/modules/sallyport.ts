import { createSallyport } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { currentUser } from "./login.ts";
import { chat, shop } from "./permissions.ts";

export const sallyport = createSallyport({
  storage: sqlite("data/chat.db"),
  permissions: [chat, shop],
  channels: [room],
  views: { "/ws/chat": ChatView },
  authenticate: currentUser,
  origins: ["https://www.example.com"],
});
