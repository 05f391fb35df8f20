import { execFile } from "node:child_process";
import type { IncomingMessage, RequestListener } from "node:http";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { lambdaHandler, type WebSocketEvent } from "../../src/adapters/lambda.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { World } from "../integration/world.ts";
import { watchedStorageAt } from "../postgres/database.ts";

const chat = definePermissions("chat", { use: "Use" });
const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.use] });

let api: { id: string; stage: string };
let failing: Promise<unknown> | undefined;
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  say = handler(async ({ body, to }) => {
    await to({ channel: "rooms/all" }).send({ type: "said", ...(body as object) });
    return body;
  });
  answer = handler(() => "yes");
  later = handler(({ to }) => {
    // The handler does not wait for it, and it is sent anyway.
    failing = to({ channel: "rooms/all" }).send({ type: "later" });
  });
}

/** The event with which AWS invokes the function, made from a call of the local gateway. */
async function eventOf(request: IncomingMessage): Promise<WebSocketEvent> {
  let body = "";
  for await (const chunk of request) body += chunk;
  const url = new URL(request.url ?? "", "http://here");
  const { headers } = request;
  const said = (name: string) => headers[name] as string | undefined;
  const eventType = said("x-sallyport-event-type") as string;
  const requestContext = {
    eventType,
    routeKey: said("x-sallyport-route-key"),
    connectionId: said("connectionid"),
    apiId: api.id,
    stage: api.stage,
    requestId: said("x-sallyport-request-id"),
    identity: { sourceIp: said("x-sallyport-source-ip") },
    disconnectStatusCode: said("x-sallyport-disconnect-code"),
  } as WebSocketEvent["requestContext"];
  if (eventType === "MESSAGE") return { requestContext, body, isBase64Encoded: false };
  const query = Object.fromEntries(url.searchParams);
  return {
    requestContext,
    headers: headers as Record<string, string>,
    ...(eventType === "CONNECT" && url.search !== "" ? { queryStringParameters: query } : {}),
    isBase64Encoded: false,
  };
}

const SCHEDULED = { source: "aws.events", "detail-type": "Scheduled Event" };

/** Every served instance. */
const served: Sallyport[] = [];

/** The function with the connections. Tokens are requested over HTTP, as in an app with both. */
function serve(sallyport: Sallyport): RequestListener {
  const invoke = lambdaHandler(sallyport);
  served.push(sallyport);
  const tokens = nodeListener({ fetch: async (request) => sallyport.fetch(request) });
  return async (request, response) => {
    if (request.url?.startsWith("/api/")) return tokens(request, response);
    const { statusCode, headers, body } = await invoke(await eventOf(request));
    response.writeHead(statusCode, headers).end(body);
  };
}

let world: World;
beforeEach(async () => {
  failing = undefined;
  served.length = 0;
  world = await World.open({
    permissions: [chat],
    channels: [rooms],
    views: { "/ws/chat": ChatView },
    serve,
  });
  api = { id: world.gateway.apiId, stage: "dev" };
  await world.sallyport.access.grant("ann", chat.use);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

test("users connect, exchange messages, lose their permissions and disconnect, through a function", async () => {
  const socket = await world.connect("ann", { channel: "rooms/all" });
  const listening = await world.connect("ann", { channel: "rooms/all" });
  expect(await socket.result("say", { text: "grüß dich" })).toEqual({ text: "grüß dich" });
  await listening.message("said");
  await world.sallyport.access.revoke("ann", chat.use);
  expect((await socket.closed).code).toBe(1000);
  expect((await listening.closed).code).toBe(1000);
});

test("an unregistered API or another stage is rejected, with any secret", async () => {
  const ann = await world.connect("ann", { channel: "rooms/all" });
  for (const other of [
    { ...api, id: "someoneelse" },
    { ...api, stage: "prod" },
  ]) {
    api = other;
    const before = world.decisions.length;
    ann.send({ handler: "say", text: "hello" });
    await expect.poll(() => world.decisions.length).toBe(before + 1);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "caller", event: "message" });
  }
});

test("nothing is in flight when an invocation has answered: sends of a handler were sent and written", async () => {
  const ann = await world.connect("ann", { channel: "rooms/all" });
  await ann.result("later");
  const received = ann.received.map(({ type }) => type);
  expect(received).toContain("later");
  expect(await failing).toMatchObject({ sent: 1 });
  // Activity is written every few seconds, and by a scheduled event.
  for (const sallyport of served) await lambdaHandler(sallyport)(SCHEDULED);
  const [row] = (await world.sql("select request_count from sallyport_connections")) as {
    request_count: number;
  }[];
  expect(row?.request_count).toBe(1);
});

test("a permission that ended in another process is enforced within a few seconds by an event of any user", async () => {
  await world.sallyport.access.grant("bob", chat.use);
  const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    "insert into sallyport_revocations (id, scope, subject, created_at) values ('left', 'user', 'ann', 1)",
  );
  expect(ann.isClosed).toBe(false);
  await expect
    .poll(async () => {
      await bob.result("say", {});
      return ann.isClosed;
    })
    .toBe(true);
  expect((await ann.closed).code).toBe(1000);
});

test("closes the socket of a user whose grant has ended at the next scheduled event", async () => {
  await world.sallyport.access.grant("bob", chat.use);
  const bob = await world.connect("bob");
  await world.sql("update sallyport_user_permissions set until_at = 1 where user_id = 'bob'");
  const invoke = lambdaHandler(world.sallyport);
  expect(await invoke(SCHEDULED)).toEqual({ statusCode: 200, headers: {} });
  expect((await bob.closed).code).toBe(1000);
});

test("a message needs one statement, and deferred work is done by one of many messages", async () => {
  await world.close();
  const sent: string[] = [];
  let storage: (Database & AsyncDisposable) | undefined;
  world = await World.open({
    permissions: [chat],
    channels: [rooms],
    views: { "/ws/chat": ChatView },
    serve,
    // Counts the statements of one instance.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (statement) => sent.push(statement));
      return storage;
    },
  });
  onTestFinished(() => storage?.[Symbol.asyncDispose]());
  api = { id: world.gateway.apiId, stage: "dev" };
  await world.sallyport.access.grant("ann", chat.use);
  const ann = await world.connect("ann");
  await ann.result("answer");
  // The clock is stopped between the messages, and is advanced manually.
  const start = Date.now();
  onTestFinished(() => void vi.useRealTimers());
  vi.useFakeTimers({ toFake: ["Date"], now: start });
  const statementsOf = async (count: number) => {
    const lists: string[][] = [];
    for (let n = 0; n < count; n++) {
      sent.length = 0;
      await ann.result("answer");
      lists.push(sent.filter((statement) => !/^(begin|commit)/i.test(statement)));
    }
    return lists;
  };
  const kinds = (list: readonly string[]) => list.map((statement) => /^\w+/.exec(statement)?.[0]);
  // During a slow message, the poller can run once, so the median is compared.
  const median = (lists: readonly string[][]) =>
    kinds([...lists].sort((a, b) => a.length - b.length)[Math.floor(lists.length / 2)] ?? []);
  expect(median(await statementsOf(30))).toEqual(["select"]);
  vi.setSystemTime(start + 6000);
  const [first = [], ...others] = await statementsOf(30);
  // The gateways, the session, ended grants and recorded changes.
  expect(first.length).toBeGreaterThanOrEqual(4);
  // One statement for removals, and one for lost channels.
  expect(first.filter((statement) => statement.includes("sallyport_revocations"))).toHaveLength(2);
  expect(median(others)).toEqual(["select"]);
});

test("an unused function keeps no timer running", async () => {
  await world.sallyport.registerGateway({ name: "aws", endpoint: "http://127.0.0.1:9/dev", apiId: "abc" });
  const run = promisify(execFile);
  const jiti = resolve(import.meta.dirname, "../../node_modules/jiti/lib/jiti-cli.mjs");
  // It exits by itself, although nothing was closed.
  const { stdout } = await run(process.execPath, [jiti, "test/processes/function.ts"], {
    cwd: resolve(import.meta.dirname, "../.."),
    env: { ...process.env, TEST_DATABASE: world.database },
  });
  expect(JSON.parse(stdout)).toEqual({ statuses: [200, 200], made: true, running: 0 });
});
