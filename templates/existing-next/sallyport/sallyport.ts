import { createSallyport } from "sallyport";
import { room } from "./channels.ts";
import { ChatView } from "./chat-view.ts";
import { chat } from "./permissions.ts";
import { storage } from "./storage.ts";

// A reload in development creates a new object. The previous one pauses until its next call.
void Reflect.get(globalThis, "sallyport")?.flush();

export const sallyport = createSallyport({
  storage,
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  // Return { userId, sessionId } of the signed-in user of the request. With null, no user can connect.
  authenticate: () => null,
  // In production, the cookies of the page do not reach the host of the WebSocket.
  token: { binding: "token" },
  origins: [process.env.ORIGIN || `http://localhost:${process.env.PORT || 3000}`],
});
Reflect.set(globalThis, "sallyport", sallyport);
