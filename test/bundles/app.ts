/**
 * A chat in a single file. The tests of this folder bundle it, or run it directly on another
 * runtime. It serves events over HTTP and as a Lambda function, and prints its URL as JSON. Tests
 * control it with requests to `/control/…`.
 */

import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import {
  createSallyport,
  defineChannel,
  definePermissions,
  forbidden,
  handler,
  WebSocketView,
} from "sallyport";
import { lambdaHandler, type WebSocketEvent } from "sallyport/adapters/lambda";
import { nodeListener } from "sallyport/adapters/node";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

const chat = definePermissions("chat", { can_use_chat: "Can use chat" });
const source = process.env.TEST_DATABASE as string;
const schema = source.startsWith("postgres:") ? new URL(source).searchParams.get("schema") : null;
const storage = source.startsWith("postgres:")
  ? postgres(source.replace(/\?.*$/, ""), schema === null ? {} : { schema })
  : sqlite(source);

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];

  say = handler(async ({ body, to }) => {
    const message = { type: "said", ...(body as object) };
    const { sent, failures } = await to({ channel: "rooms/all" }).send(message);
    return { sent, failures };
  });

  forbidden = handler(() => {
    throw forbidden("never allowed");
  });
}

const errors: { readonly name: string; readonly message: string }[] = [];
const rejections: object[] = [];

const sallyport = createSallyport({
  storage,
  permissions: [chat],
  channels: [defineChannel("rooms/:slug", { permissionsRequired: [chat.can_use_chat] })],
  views: { "/ws/chat": ChatView },
  allowMissingOrigin: true,
  apiGateway: { region: "eu-west-1", credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" } },
  authenticate: (request) => {
    const [, userId] = /login=(\w+)/.exec(request.headers.get("cookie") ?? "") ?? [];
    return userId ? { userId, sessionId: "1" } : null;
  },
  onError: (error) => {
    const { name, message } = error as Error;
    errors.push({ name, message });
  },
  onDecision: ({ verdict, reason, view, handler }) => {
    if (verdict === "denied") rejections.push({ reason, view, handler });
  },
});

/** The handler that Lambda loads. */
export const invoke = lambdaHandler(sallyport);

type Control = (body: never) => unknown;

const controls: Readonly<Record<string, Control>> = {
  "/control/invoke": (event: WebSocketEvent) => invoke(event),
  "/control/migrate": () => sallyport.migrate(),
  "/control/register": (registration: Parameters<typeof sallyport.registerGateway>[0]) =>
    sallyport.registerGateway(registration),
  "/control/grant": ({ user }: { user: string }) => sallyport.access.grant(user, chat.can_use_chat),
  "/control/revoke": ({ user }: { user: string }) => sallyport.access.revoke(user, chat.can_use_chat),
  "/control/seen": () => ({ errors, rejections }),
  "/control/close": () => sallyport.close(),
};

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}

// Created by the first request that is not for `/control/`, because it starts a poller that reads
// the tables.
let listener: RequestListener | undefined;
const server = createServer(async (request, response) => {
  const control = controls[request.url ?? ""];
  if (!control) {
    listener ??= nodeListener(sallyport);
    return listener(request, response);
  }
  try {
    const result = await control(JSON.parse((await textOf(request)) || "{}") as never);
    response.end(JSON.stringify(result ?? null));
  } catch (error) {
    const { name, message } = error as Error;
    response.writeHead(500);
    response.end(JSON.stringify({ name, message }));
  }
});
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }));
});
