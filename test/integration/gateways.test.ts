import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import { StorageError } from "../../src/errors.ts";
import { startLocalGateway } from "../../src/local/emulator.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { changedStorage, NOW, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat, ModerationView } from "./chat.ts";
import { ORIGIN, Socket, World } from "./world.ts";

const views = { "/ws/chat": ChatView, "/ws/moderation": ModerationView };
let world: World;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Starts another local gateway in front of the same app. */
async function anotherGateway(
  name: string,
  options: Partial<Parameters<typeof startLocalGateway>[0]> = {},
  registration: { replies?: "push" } = {},
) {
  const secret = gatewaySecret();
  const gateway = await startLocalGateway({
    target: `${world.appUrl}/ws/chat/`,
    port: 0,
    secret,
    ...options,
  });
  cleanUps.push(() => gateway.close());
  const { apiId, endpoint, stage } = gateway;
  await world.sallyport.registerGateway({ name, apiId, endpoint, stage, secret, ...registration });
  return {
    gateway,
    connect: async (user: string, channel = "rooms/general") => {
      const url = new URL(gateway.url);
      url.searchParams.set("ws_token", await world.token(user));
      url.searchParams.set("channel", channel);
      return Socket.open(url, { origin: ORIGIN, cookie: `login=${user}:login-of-${user}` });
    },
  };
}

test("B37 a send across two gateways reaches each connection through its own gateway", async () => {
  const other = await anotherGateway("other", { stage: "two" });
  const here = await world.connect("ann", { channel: "rooms/general" });
  const there = await other.connect("ann");
  const report = await world.sallyport
    .to({ channel: "rooms/general" })
    .send({ type: "chat_message", message: "x" });
  expect(report).toMatchObject({ recipients: 2, sent: 2 });
  await here.message("chat_message");
  await there.message("chat_message");
});

test("a send reaches a user, a connection, everyone, or the holders of a permission", async () => {
  await world.sallyport.access.grant("mo", chat.can_use_chat);
  await world.sallyport.access.grant("mo", chat.can_moderate_chat);
  await world.sallyport.access.users.setSuperuser("rita", true);
  const [ann, desk, mo, rita] = [
    await world.connect("ann"),
    await world.connect("ann"),
    await world.connect("mo"),
    await world.connect("rita"),
  ];
  const { sallyport } = world;
  expect(await sallyport.to({ user: "ann" }).send({ type: "a" })).toMatchObject({ recipients: 2, sent: 2 });
  expect(await sallyport.to("everyone").send({ type: "b" })).toMatchObject({ recipients: 4, sent: 4 });
  const holders = await sallyport.to({ permission: chat.can_moderate_chat }).send({ type: "c" });
  expect(holders).toMatchObject({ recipients: 2, sent: 2, denied: 0 });
  const all = { allPermissionsRequired: [chat.can_use_chat, chat.can_moderate_chat] };
  expect(await sallyport.to("everyone", all).send({ type: "d" })).toMatchObject({ sent: 2, denied: 2 });
  for (const socket of [ann, desk, mo, rita]) await socket.result("whoami");
  const types = [ann, desk, mo, rita].map((socket) =>
    socket.received.flatMap(({ type }) => (type ? [type] : [])).sort(),
  );
  expect(types).toEqual([
    ["a", "b"],
    ["a", "b"],
    ["b", "c", "d"],
    ["b", "c", "d"],
  ]);

  const rows = (await world.sql("select connection_id from sallyport_connections where user_id = 'mo'")) as {
    connection_id: string;
  }[];
  const connectionId = rows[0]?.connection_id as string;
  expect(await sallyport.to({ connectionId }).send({ type: "e" })).toMatchObject({ recipients: 1, sent: 1 });
  await mo.message("e");
  expect(await sallyport.to({ user: "ann" }).close()).toMatchObject({ recipients: 2, sent: 2 });
  expect((await ann.closed).code).toBe(1000);
  expect((await desk.closed).code).toBe(1000);
  expect(() => sallyport.to({ channel: "nowhere" })).toThrow(/no channel definition matches/);
});

test("close() closes the connection in the database although its gateway is unreachable", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const { apiId, stage } = world.gateway;
  const unreachable = {
    name: "local",
    apiId,
    stage,
    endpoint: "http://127.0.0.1:9/dev",
    secret: world.secret,
  };
  await world.sallyport.registerGateway(unreachable);
  expect(await world.sallyport.to({ user: "ann" }).close()).toMatchObject({ recipients: 1, failed: 1 });
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await world.sallyport.to("everyone").send({ type: "x" })).toMatchObject({ recipients: 0 });
});

test("a send closes the row of a gone connection, but not of one that is still opening", async () => {
  const insert = (id: string, ageMs: number) =>
    world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
      select '${id}', id, '${id.repeat(15)}=', '/ws/chat', 'ann', ${NOW} - ${ageMs}, 0 from sallyport_gateways`);
  await insert("a", 60_000);
  await insert("b", 100);
  const report = await world.sallyport.to({ user: "ann" }).send({ type: "x" });
  expect(report).toEqual({
    recipients: 2,
    sent: 0,
    gone: 1,
    denied: 0,
    failed: 1,
    unsent: 0,
    failures: { arriving: 1 },
    cursor: null,
  });
  expect(
    await world.sql("select id, close_reason from sallyport_connections where closed_at is not null"),
  ).toEqual([{ id: "a", close_reason: "gone" }]);
});

test("answers are pushed to connections of a gateway without route responses", async () => {
  const pushing = await anotherGateway("pushing", { routeResponses: false }, { replies: "push" });
  const ann = await pushing.connect("ann");
  expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  expect(await ann.call("nothing")).toMatchObject({ ok: false, status: 403 });
  ann.send({ handler: "nothing" });
  expect(await ann.next((frame) => frame.ok === false && !("id" in frame))).toMatchObject({
    error: "Permission denied.",
  });
});

test("a client receives one answer while its gateway changes from pushed to returned answers", async () => {
  const changing = await anotherGateway("changing", {}, { replies: "push" });
  const url = new URL(changing.gateway.url);
  url.searchParams.set("ws_token", await world.token("ann"));
  const frames: string[] = [];
  const socket = new WebSocket(url, { headers: { origin: ORIGIN, cookie: "login=ann:login-of-ann" } });
  socket.on("message", (data) => frames.push(String(data)));
  await once(socket, "open");
  socket.send(JSON.stringify({ handler: "whoami", id: 1 }));
  await expect.poll(() => frames.length).toBe(2);
  expect(frames.filter((frame) => frame !== "").map((frame) => JSON.parse(frame))).toMatchObject([
    { id: 1, ok: true, result: { user: "ann" } },
  ]);
  socket.close();
});

test("F74 a custom route leads to another view, which checks its rule on each message", async () => {
  const { access } = world.sallyport;
  const routed = await anotherGateway("routed", {
    routes: { moderate: `${world.appUrl}/ws/moderation/moderate` },
  });
  const ann = await routed.connect("ann");
  ann.send({ action: "moderate", handler: "ping", id: 1 });
  expect(await ann.next((frame) => frame.id === 1)).toMatchObject({ ok: false, status: 403 });
  expect(world.decisions.at(-1)).toMatchObject({
    view: "/ws/moderation",
    missing: ["chat.can_moderate_chat"],
  });
  await access.grant("ann", chat.can_moderate_chat);
  ann.send({ action: "moderate", handler: "ping", id: 2 });
  expect(await ann.next((frame) => frame.id === 2)).toMatchObject({ ok: true, result: { pong: true } });
  ann.send({ action: "moderate", handler: "whoami", id: 3 });
  expect(await ann.next((frame) => frame.id === 3)).toMatchObject({ ok: false, status: 403 });
  // The connection depends only on the rule of its own view, so it stays open.
  await access.revoke("ann", chat.can_moderate_chat);
  ann.send({ action: "moderate", handler: "ping", id: 4 });
  expect(await ann.next((frame) => frame.id === 4)).toMatchObject({ ok: false, status: 403 });
  expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
});

test("with gatewayAuth none, the API id alone authenticates a gateway, and an unknown id is denied", async () => {
  await world.close();
  world = await World.open({ permissions: [chat], channels, views, gatewayAuth: "none" });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  const headers = { connectionId: "AAAAAAAAAAAAAAA=", "x-amzn-apigateway-api-id": "somebody" };
  expect((await world.event("/ws/chat/default", headers, "{}")).status).toBe(403);
});

test("the connections of a restarted local gateway are closed, and no others", async () => {
  const other = await anotherGateway("other");
  const ann = await world.connect("ann");
  const there = await other.connect("ann");
  const { apiId, endpoint } = world.gateway;
  const { secret } = world;
  await world.sallyport.registerGateway({ name: "local", apiId, endpoint, secret, hasRestarted: true });
  expect(await world.sallyport.listConnections()).toMatchObject([{ gateway: "other" }]);
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await there.result("whoami")).toMatchObject({ user: "ann" });
});

test("a registration after a restart is committed if the database fails before the connections close", async () => {
  const storage = storageAt(world.database);
  let transactions = 0;
  const failing = changedStorage(storage, {
    transaction: (work) => {
      transactions++;
      if (transactions > 1) throw new StorageError("The disk is full. Free some space.", {});
      return storage.transaction(work);
    },
  });
  const sallyport = createSallyport({
    ...{ permissions: [chat], channels, views, authenticate: () => null, origins: [ORIGIN] },
    storage: failing,
  });
  cleanUps.push(() => sallyport.close());
  const { apiId, endpoint } = world.gateway;
  const registration = { name: "local", apiId, endpoint, secret: world.secret, hasRestarted: true };
  await expect(sallyport.registerGateway(registration)).rejects.toMatchObject({
    code: "SALLYPORT_COMMITTED",
    message:
      'The registration of gateway "local" is committed, but the database failed afterwards: The disk is full. Free some ' +
      "space. The connections that its restart ended are still open in the database. Register it again.",
  });
});
