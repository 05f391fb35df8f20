import { createSallyport } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { chat } from "./permissions.ts";
import { sessionOf } from "./session.ts";

export const sallyport = createSallyport({
  storage: postgres(process.env.DATABASE_URL, { poolSize: 2, listen: false }),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  authenticate: ({ headers }) => sessionOf(headers.get("cookie")),
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN ?? `http://localhost:${process.env.PORT ?? 3000}`],
});
