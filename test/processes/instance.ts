/**
 * One instance of a chat on the database of the test. Tests run several and kill them. Prints its
 * port.
 */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Kysely } from "kysely";
import {
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  type MessageContext,
  WebSocketView,
} from "sallyport";
import { nodeListener } from "sallyport/adapters/node";
import { testStorage } from "./storage.ts";

const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
const storage = testStorage();

interface AppTables {
  story_messages: { text: string; said_by: string | undefined };
}

// The messages of the app are in the same database. The type `Storage` does not show its Kysely.
const { db } = storage as unknown as { readonly db: Kysely<AppTables> };

const stored = (text: string, by: string | undefined) =>
  db.insertInto("story_messages").values({ text, said_by: by }).execute();

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];

  /** Stored before it is answered. */
  say = handler(async ({ body, user, to }: MessageContext) => {
    const { text } = body as { text: string };
    await stored(text, user.id);
    await to({ channel: "rooms/all" }).send({ type: "said", text });
    return process.pid;
  });

  ask = handler(() => process.pid);
}

const sallyport = createSallyport({
  storage,
  permissions: [chat],
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.can_use_chat] })],
  views: { "/ws/chat": ChatView },
  origins: ["https://www.example.com"],
  authenticate: (request) => {
    const [, userId, sessionId] = /login=([^:]+):(.+)/.exec(request.headers.get("cookie") ?? "") ?? [];
    return userId && sessionId ? { userId, sessionId } : null;
  },
  // Many connections come from one address.
  limits: { connectsPerIp: false },
});

const server = createServer(nodeListener(sallyport));
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.once("SIGTERM", () => process.exit());
