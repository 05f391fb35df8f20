import { afterEach, beforeEach, expect, test } from "vitest";
import type { LimitFilter } from "../../src/admin/limit-windows.ts";
import { ConfigurationError, handler, WebSocketView } from "../../src/index.ts";
import { chat } from "./chat.ts";
import { World } from "./world.ts";

class ChatView extends WebSocketView {
  static override signedIn = true;
  ping = handler(() => "pong");
}
class OwnView extends WebSocketView {
  static override signedIn = true;
  static override limits = { connectsPerUser: 7, connectsPerIp: false } as const;
  ping = handler(() => "pong");
}

const IPV6 = "2001:db8:1:2::/64";
let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    views: { "/ws/chat": ChatView, "/ws/own": OwnView },
    limits: { tokensPerUser: 9, connectsPerUser: 8, connectsPerIp: 30 },
  });
});
afterEach(() => world.close());

/** Inserts a window as an earlier connect would have stored it. */
async function addWindow(key: unknown, count: number, agoMs = 0): Promise<void> {
  await world.sql(
    `insert into sallyport_counters (key, window_started_at, count) values ('${JSON.stringify(key)}', ${Date.now() - agoMs}, ${count})`,
  );
}

const access = () => world.sallyport.access;
const list = (filter?: LimitFilter) => access().limits.list(filter);

test("lists each window with its user or address, gateway, view and limit", async () => {
  await world.connect("ann");
  const [{ id } = { id: "" }] = (await world.sql("select id from sallyport_gateways")) as { id: string }[];
  await addWindow(["connectsPerUser", "bob", id, "/ws/own"], 50);
  await addWindow(["connectsPerIp", IPV6, "removed", "/ws/own"], 40);
  await addWindow(["failedConnectsPerIp", "192.0.2.1", id, null], 30);
  await addWindow(["connectsPerUser", "old", id, null], 90, 61_000);
  await addWindow(["ofAnotherVersion", "bob", id, null], 20);
  const none = { gateway: null, view: null };
  const left = { key: expect.any(String), secondsLeft: expect.any(Number) };
  expect(await list()).toEqual([
    {
      limit: "connectsPerUser",
      user: "bob",
      address: null,
      gateway: "local",
      view: "/ws/own",
      count: 50,
      max: 7,
      ...left,
    },
    {
      limit: "connectsPerIp",
      user: null,
      address: IPV6,
      gateway: "removed",
      view: "/ws/own",
      count: 40,
      max: false,
      ...left,
    },
    {
      limit: "failedConnectsPerIp",
      user: null,
      address: "192.0.2.1",
      ...none,
      gateway: "local",
      count: 30,
      max: 20,
      ...left,
    },
    {
      limit: "connectsPerIp",
      user: null,
      address: "127.0.0.1",
      ...none,
      gateway: "local",
      count: 1,
      max: 30,
      ...left,
    },
    {
      limit: "connectsPerUser",
      user: "ann",
      address: null,
      ...none,
      gateway: "local",
      count: 1,
      max: 8,
      ...left,
    },
    { limit: "tokensPerUser", user: "ann", address: null, ...none, count: 1, max: 9, ...left },
  ]);
  const [first] = await list({ user: "ann" });
  expect(await list({ user: "ann", after: first })).toMatchObject([{ limit: "tokensPerUser" }]);
  expect(await list({ limit: 1 })).toMatchObject([{ user: "bob" }]);
  expect(await list({ user: "bob", address: "127.0.0.1" })).toMatchObject([
    { user: "bob" },
    { address: "127.0.0.1" },
  ]);
});

test.each([IPV6, "2001:db8:1:2::", "2001:db8:1:2:3:4:5:6"])("finds the windows of %s", async (address) => {
  await addWindow(["connectsPerIp", IPV6, "g", null], 4);
  await addWindow(["connectsPerIp", "2001:db8:1:3::/64", "g", null], 4);
  expect(await list({ address })).toMatchObject([{ address: IPV6 }]);
  expect(await access().limits.clear({ address })).toBe(1);
  expect(await list()).toMatchObject([{ address: "2001:db8:1:3::/64" }]);
});

test.each(["", "localhost", "127.0.0.1:80", "2001:db8:1:2::/64x", "2001:db8:1:2::/64ab", "10.0.0.0/8", 7])(
  "rejects %j, which is not an address",
  async (address) => {
    const filter = { address } as { address: string };
    await expect(list(filter)).rejects.toThrow(ConfigurationError);
    await expect(access().limits.clear(filter)).rejects.toThrow(ConfigurationError);
  },
);

test("clears the selected windows and records the actor and the count in the audit log", async () => {
  await world.connect("ann");
  await world.connect("bob");
  expect(await access().limits.clear({ user: "ann" }, { by: "eve", reason: "asked" })).toBe(2);
  expect((await list()).map(({ user, address }) => user ?? address)).toEqual(["127.0.0.1", "bob", "bob"]);
  expect(await access().limits.clear({ address: "127.0.0.1" })).toBe(1);
  expect(await access().limits.clear({ all: true })).toBe(2);
  expect(await list()).toEqual([]);
  const audit = (await access().audit.list()).filter(({ action }) => action === "clear-limits");
  expect(audit).toMatchObject([
    { user: null, details: { cleared: 2 } },
    { user: null, details: { cleared: 1, address: "127.0.0.1" } },
    { user: "ann", by: "eve", reason: "asked", details: { cleared: 2 } },
  ]);
});

test.each([
  [undefined],
  [null],
  [{}],
  [{ all: false }],
  [{ all: 1 }],
  [{ user: "ann", all: true }],
  [{ user: "ann", address: "127.0.0.1" }],
  [{ all: true, view: "/ws/chat" }],
  [{ usr: "ann" }],
  [{ user: "" }],
  [{ user: undefined }],
])("rejects %j without clearing a window", async (which) => {
  await world.connect("ann");
  await expect(access().limits.clear(which as never)).rejects.toThrow(ConfigurationError);
  expect(await list()).toHaveLength(3);
});
