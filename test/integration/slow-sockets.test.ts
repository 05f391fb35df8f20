import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { DeliveryReport } from "../../src/index.ts";
import type { Database } from "../../src/storage/database.ts";
import { watchedStorageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { World, type WorldOptions } from "./world.ts";

let gateway: GatewayServer;
let world: World;
let storage: (Database & AsyncDisposable) | undefined;

async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    apiGateway: { concurrency: 32, maxRequestsPerSecond: false },
    ...options,
  });
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
}

beforeEach(async () => {
  storage = undefined;
  gateway = await GatewayServer.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  await gateway.close();
  await storage?.[Symbol.asyncDispose]();
});

/** Stops the clock. Each check of expect.poll() advances it by the poll interval. */
const stopClock = () => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });

const id = (n: number) => `${String(n).padStart(5, "0")}=`;
const bodiesOf = (connection: string) =>
  gateway.calls
    .filter((call) => call.connection === connection && call.method === "POST")
    .map(({ body }) => body);

describe("connections that do not read", () => {
  test("are closed as too slow, and the others receive every message in order", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 20);
    await gateway.open(world, "g", "bob", 21, 20);
    gateway.answer = ({ connection, method }) => (method === "POST" && connection > id(20) ? 429 : 200);
    stopClock();
    const reports: DeliveryReport[] = [];
    let sends = 0;
    const closed = () => gateway.calls.filter(({ method }) => method === "DELETE").length;
    // One message per step of the clock, until the last slow connection is closed.
    await expect
      .poll(() => {
        if (sends < 200 && closed() < 20) {
          void world.sallyport
            .to("everyone")
            .send(++sends)
            .then((report) => reports.push(report));
        }
        return closed();
      })
      .toBe(20);
    await expect.poll(() => reports.length).toBe(sends);
    vi.useRealTimers();
    for (let n = 1; n <= 20; n++) {
      expect(bodiesOf(id(n))).toEqual(Array.from({ length: sends }, (_, send) => `${send + 1}`));
    }
    expect(reports[0]).toMatchObject({ recipients: 40, sent: 20, failed: 20, failures: { slow: 20 } });
    expect(new Set(reports.flatMap(({ failures }) => Object.keys(failures)))).toEqual(new Set(["slow"]));
    expect(
      await world.sql("select close_reason from sallyport_connections where closed_at is not null"),
    ).toEqual(Array(20).fill({ close_reason: "too slow" }));
    expect(await world.sallyport.to("everyone").send("later")).toMatchObject({ recipients: 20, sent: 20 });
    expect(world.errors).toEqual([]);
  });

  test("are closed when too many messages are queued, even within three seconds", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 1);
    await gateway.open(world, "g", "bob", 2, 1);
    gateway.answer = ({ connection, method }) => (method === "POST" && connection === id(2) ? 429 : 200);
    stopClock();
    const sends = Array.from({ length: 300 }, (_, n) => world.sallyport.to("everyone").send(n));
    let isDone = false;
    const done = Promise.all(sends).finally(() => {
      isDone = true;
    });
    await expect.poll(() => isDone).toBe(true);
    const reports = await done;
    expect(reports.every(({ sent }) => sent === 1)).toBe(true);
    // The last sends read their recipients after the row was closed.
    expect(reports.filter(({ failures }) => failures.slow === 1).length).toBeGreaterThan(256);
    expect(bodiesOf(id(1))).toHaveLength(300);
    expect(
      gateway.calls.filter(({ method }) => method === "DELETE").map(({ connection }) => connection),
    ).toEqual([id(2)]);
  });

  test("stay open while the gateway throttles every connection", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 40);
    let throttles = true;
    gateway.answer = () => (throttles ? 429 : 200);
    stopClock();
    let isDone = false;
    const sending = world.sallyport
      .to("everyone")
      .send("news")
      .finally(() => {
        isDone = true;
      });
    await expect.poll(() => gateway.calls.length).toBeGreaterThan(300);
    throttles = false;
    await expect.poll(() => isDone).toBe(true);
    vi.useRealTimers();
    expect(await sending).toMatchObject({ sent: 40, failed: 0 });
    expect(gateway.calls.every(({ method }) => method === "POST")).toBe(true);
  });
});

test("a slow connection that accepts messages receives every message of a burst", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 1);
  gateway.answer = async () => {
    for (let turn = 0; turn < 5; turn++) await nextTurn();
    return 200;
  };
  const sends = Array.from({ length: 600 }, (_, n) => world.sallyport.to({ user: "ann" }).send(n));
  for (const report of await Promise.all(sends)) expect(report).toMatchObject({ sent: 1, failed: 0 });
  expect(bodiesOf(id(1))).toEqual(Array.from({ length: 600 }, (_, n) => `${n}`));
});

describe("queued sends", () => {
  test("read their recipients only when it is their turn", async () => {
    let reads = 0;
    await open({
      storage: (source) => {
        storage = watchedStorageAt(source, (sql) => {
          if (/^select.*order by.*limit/s.test(sql) && sql.includes("sallyport_connections")) reads++;
        });
        return storage;
      },
    });
    await gateway.open(world, "g", "ann", 1, 600);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    gateway.answer = async () => {
      await held;
      return 200;
    };
    reads = 0;
    const sends = Array.from({ length: 20 }, (_, n) => world.sallyport.to({ user: "ann" }).send(n));
    await expect.poll(() => gateway.calls.length).toBe(32);
    for (let turn = 0; turn < 100; turn++) await nextTurn();
    expect(reads).toBe(1);
    release();
    for (const report of await Promise.all(sends)) expect(report).toMatchObject({ sent: 600 });
    expect(reads).toBe(40);
  });

  test("do not delay a send to another audience", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 600);
    await gateway.open(world, "g", "bob", 601, 5);
    gateway.answer = async () => {
      for (let turn = 0; turn < 5; turn++) await nextTurn();
      return 200;
    };
    const large = Array.from({ length: 10 }, (_, n) => world.sallyport.to({ user: "ann" }).send(n));
    await expect.poll(() => gateway.calls.length).toBeGreaterThan(100);
    const before = gateway.calls.length;
    expect(await world.sallyport.to({ user: "bob" }).send("small")).toMatchObject({ sent: 5 });
    // Of the 6 000 calls of the large sends, those in flight and about one per call of the small send ran.
    expect(gateway.calls.length - before).toBeLessThan(150);
    for (const report of await Promise.all(large)) expect(report).toMatchObject({ sent: 600 });
  });
});
