import { createSallyport } from "sallyport";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { storage } from "./database.ts";
import { chat } from "./permissions.ts";
import { sessionOf } from "./session.ts";

export const sallyport = createSallyport({
  storage,
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  authenticate: ({ headers }) => sessionOf(headers.get("cookie")),
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`],
});
