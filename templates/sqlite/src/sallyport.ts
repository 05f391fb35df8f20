import { createSallyport } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { gateways } from "./gateway.ts";
import { chat } from "./permissions.ts";
import { sessionOf } from "./session.ts";

export const sallyport = createSallyport({
  storage: sqlite(process.env.DATABASE_FILE ?? "data/app.db"),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  gateways,
  authenticate: ({ headers }) => sessionOf(headers.get("cookie")),
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`],
});
