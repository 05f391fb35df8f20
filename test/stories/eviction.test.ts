import { afterEach, beforeEach, expect, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

const views = { "/ws/chat": ChatView };
let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Another process of the same app, such as the command line. */
const another = () =>
  createSallyport({
    storage: sqlite(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    identify: () => null,
  });

test("a right revoked by another process: its sockets are closed when revoke() has resolved", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const other = another();
  expect(await other.access.revoke("ann", chat.can_use_chat)).toBe(true);
  expect(await ann.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
  expect(ann.received).toEqual([{ type: "sallyport.revoked", scope: "view" }]);
  await other.close();
});

test("a change whose process died right after its commit is enforced by whoever serves", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    "insert into sallyport_evictions (id, scope, subject, created_at) values ('x', 'user', 'ann', 1)",
  );
  expect((await ann.closed).code).toBe(1000);
  await expect.poll(() => world.sql("select * from sallyport_evictions")).toEqual([]);
});

test("a record whose claimant died is claimed again when its lease is over", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    "insert into sallyport_evictions values ('x', 'user', 'ann', 1, 'dead', (unixepoch('subsec') * 1000) + 700)",
  );
  expect((await ann.closed).code).toBe(1000);
});

test("a socket whose gateway cannot be reached is still nobody's: nothing accepted, nothing delivered", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("update sallyport_gateways set endpoint = 'http://127.0.0.1:9/dev'");
  const other = another();
  await other.access.revoke("ann", chat.can_use_chat);
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await other.to("everyone").send({ type: "x" })).toMatchObject({ recipients: 0 });
  await other.close();
});

test("the author's disconnect() runs once for an evicted session, when its socket has closed", async () => {
  await world.close();
  const left: (string | undefined)[] = [];
  class Leaving extends ChatView {
    override disconnect({ userId, session }: Parameters<NonNullable<ChatView["disconnect"]>>[0]) {
      left.push(userId, session.channel);
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Leaving } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  await ann.closed;
  await expect.poll(() => left).toEqual(["ann", "rooms/general"]);
});

test("a right revoked while the socket is still connecting: the row never opens", async () => {
  await world.close();
  let connecting: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    connecting = resolve;
  });
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  class Slow extends ChatView {
    override async connect() {
      connecting();
      await held;
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Slow } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const attempt = world.connect("ann").then(
    () => 101,
    (error: { status: number }) => error.status,
  );
  await arrived;
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  goOn();
  expect(await attempt).toBe(403);
});

test("a login that ends while its socket is still connecting: the row never opens", async () => {
  await world.close();
  let goOn: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let connecting: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    connecting = resolve;
  });
  class Slow extends ChatView {
    override async connect() {
      connecting();
      await held;
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Slow } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const attempt = world.connect("ann:phone").then(
    () => 101,
    (error: { status: number }) => error.status,
  );
  await arrived;
  await world.sallyport.access.endSession("phone");
  goOn();
  expect(await attempt).toBe(403);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "login", userId: "ann" });
});
