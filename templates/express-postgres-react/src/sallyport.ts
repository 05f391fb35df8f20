import { createSallyport } from "sallyport";
import { expressRequest } from "sallyport/adapters/express";
import { postgres } from "sallyport/storage/postgres";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { gateways } from "./gateway.ts";
import { chat } from "./permissions.ts";
import type { SessionRequest } from "./session.ts";

export const sallyport = createSallyport({
  storage: postgres(process.env.DATABASE_URL),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  gateways,
  authenticate: (request) => {
    const own = expressRequest<SessionRequest>(request);
    return own?.session.userId ? { userId: own.session.userId, sessionId: own.sessionID } : null;
  },
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`],
});
