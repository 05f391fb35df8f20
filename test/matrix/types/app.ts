// An app that uses each entry point with its types. The matrix compiles it and does not run it.
import { createServer } from "node:http";
import { Kysely } from "kysely";
import {
  createSallyport,
  defineChannel,
  definePermissions,
  handler,
  type Sallyport,
  WebSocketView,
} from "sallyport";
import { expressMiddleware } from "sallyport/adapters/express";
import { fastifyPlugin } from "sallyport/adapters/fastify";
import { honoMiddleware } from "sallyport/adapters/hono";
import { lambdaHandler } from "sallyport/adapters/lambda";
import { nextHandlers } from "sallyport/adapters/next";
import { nodeListener } from "sallyport/adapters/node";
import { defineGateway, gatewaySecret } from "sallyport/aws";
import { connect } from "sallyport/client";
import { startLocalGateway } from "sallyport/local";
import { postgres } from "sallyport/storage/postgres";
import { LibsqlDialect, sqlite } from "sallyport/storage/sqlite";
import { openTelemetry } from "sallyport/telemetry";
import { createTestApp } from "sallyport/testing";

const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
const room = defineChannel("rooms/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorize: ({ user, params }) => user.id !== undefined && params.slug.length > 0,
});

export class ChatView extends WebSocketView {
  static permissionsRequired = [chat.can_use_chat];
  whoami = handler(({ user }) => ({ user: user.id ?? null }));
}

interface OwnTables {
  message: { id: string };
}
const own = new Kysely<OwnTables>({ dialect: new LibsqlDialect({ path: "data/app.db" }) });

export const sallyport: Sallyport = createSallyport({
  storage: process.env.DATABASE_URL ? postgres(process.env.DATABASE_URL) : sqlite(own),
  permissions: [chat],
  channels: [room],
  views: { "/ws/chat": ChatView },
  gateways: [defineGateway({ name: "chat", region: "eu-west-1", target: "https://www.example.com/ws/chat" })],
  origins: ["https://www.example.com"],
  authenticate: (request) => (request.headers.get("cookie") ? { userId: "ann", sessionId: "1" } : null),
});

export async function main(): Promise<string | null> {
  createServer(nodeListener(sallyport)).listen(3000);
  const gateway = await startLocalGateway({
    target: "http://127.0.0.1:3000/ws/chat/",
    port: 0,
    secret: gatewaySecret(),
  });
  const socket = connect<ChatView>({ url: gateway.url, token: "/api/ws-token" });
  const { user } = await socket.call.whoami();
  // @ts-expect-error The view has no such handler.
  await socket.call.nothing();
  // @ts-expect-error The permission does not exist.
  await sallyport.access.grant("ann", chat.can_use_chta);
  return user;
}

export const others = [
  expressMiddleware,
  fastifyPlugin,
  honoMiddleware,
  lambdaHandler,
  nextHandlers,
  openTelemetry,
  createTestApp,
];
