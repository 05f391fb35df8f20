import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type DeliveryReport, SendInterruptedError } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import type { Database } from "../../src/storage/database.ts";
import { watchedStorageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { World, type WorldOptions } from "./world.ts";

let gateway: GatewayServer;
let world: World;
let sent: string[] = [];
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
  sent = [];
  storage = undefined;
  gateway = await GatewayServer.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  await gateway.close();
  await storage?.[Symbol.asyncDispose]();
});

const received = (body: string) =>
  gateway.calls.filter((call) => call.body === JSON.stringify(body)).map(({ connection }) => connection);

const parts = ({ sent: accepted, gone, denied, failed, unsent }: DeliveryReport) =>
  accepted + gone + denied + failed + unsent;

describe("an aborted send", () => {
  test("continues from its cursor and reaches each permitted connection exactly once", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 900);
    await gateway.open(world, "g", "bob", 901, 300);
    await gateway.open(world, "g", "nobody", 1201, 300);
    let afterCall = () => {};
    gateway.answer = async ({ connection }) => {
      afterCall();
      await nextTurn();
      return connection.endsWith("7=") ? 410 : 200;
    };
    const reports: DeliveryReport[] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const ending = new AbortController();
      const enough = received("news").length + 350;
      afterCall = () => {
        if (received("news").length >= enough) ending.abort();
      };
      const report: DeliveryReport = await world.sallyport
        .to("everyone")
        .send("news", { signal: ending.signal, after: cursor });
      reports.push(report);
      expect(parts(report)).toBe(report.recipients);
      cursor = report.cursor ?? undefined;
    }
    expect(reports.length).toBeGreaterThan(2);
    const [first] = reports;
    expect(first).toMatchObject({ recipients: 1500, failed: 0 });
    expect(first?.unsent).toBeGreaterThan(500);
    expect(reports.at(-1)).toMatchObject({ unsent: 0, cursor: null });
    const sum = (of: (report: DeliveryReport) => number) => reports.reduce((all, one) => all + of(one), 0);
    expect(sum((one) => one.sent)).toBe(1080);
    expect(sum((one) => one.gone)).toBe(120);
    expect(sum((one) => one.denied)).toBe(300);
    expect(new Set(received("news")).size).toBe(received("news").length);
    expect(received("news")).toHaveLength(1200);
  });

  test("sends nothing if aborted before it starts, and is complete if aborted at the last recipient", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 3);
    const report = await world.sallyport.to("everyone").send("news", { signal: AbortSignal.abort() });
    expect(report).toMatchObject({ recipients: 3, unsent: 3, cursor: "" });
    expect(gateway.calls).toEqual([]);
    const ending = new AbortController();
    gateway.answer = ({ connection }) => {
      if (connection === "00003=") ending.abort();
      return 200;
    };
    const whole = await world.sallyport
      .to("everyone")
      .send("news", { signal: ending.signal, after: report.cursor ?? "wrong" });
    expect(whole).toMatchObject({ recipients: 3, sent: 3, unsent: 0, cursor: null });
    expect(
      await world.sallyport.to({ user: "nobody" }).send("news", { signal: AbortSignal.abort() }),
    ).toMatchObject({ recipients: 0, cursor: null });
  });

  test("to a channel counts the remaining members as unsent", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 700);
    await world.sql(
      "insert into sallyport_memberships select id, 'rooms/a', 1 from sallyport_connections where id <= '00600'",
    );
    const ending = new AbortController();
    const report = await world.sallyport.to({ channel: "rooms/a" }).send("news", {
      signal: ending.signal,
      onProgress: () => ending.abort(),
    });
    expect(report).toMatchObject({ recipients: 600, sent: 500, unsent: 100, cursor: "00500" });
  });
});

describe("a send to many connections", () => {
  test("reports its progress, and the parts of each report add up to its recipients", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 1200);
    await gateway.open(world, "g", "nobody", 1201, 100);
    const seen: DeliveryReport[] = [];
    const report = await world.sallyport.to("everyone").send("news", { onProgress: (one) => seen.push(one) });
    expect(seen.map(({ recipients }) => recipients)).toEqual([500, 1000, 1300]);
    for (const one of seen) expect(parts(one)).toBe(one.recipients);
    expect(seen[0]?.cursor).toBe("00500");
    expect(report).toMatchObject({ recipients: 1300, sent: 1200, denied: 100, unsent: 0, cursor: null });
  });

  test("continues when onProgress throws", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 600);
    const report = await world.sallyport.to("everyone").send("news", {
      onProgress: () => {
        throw new Error("a bug in the app");
      },
    });
    expect(report).toMatchObject({ sent: 600 });
    await world.sallyport.flush();
    expect(world.errors.map(String)).toEqual(["Error: a bug in the app", "Error: a bug in the app"]);
  });

  test("reads each page in one statement and closes all gone connections in one", async () => {
    await open({
      storage: (source) => {
        storage = watchedStorageAt(source, (sql) => sent.push(sql));
        return storage;
      },
    });
    await gateway.open(world, "g", "ann", 1, 1100);
    gateway.answer = ({ connection }) => (connection.endsWith("1=") ? 410 : 200);
    sent = [];
    expect(await world.sallyport.to("everyone").send("news")).toMatchObject({ sent: 990, gone: 110 });
    const about = (verb: string) =>
      sent.filter((sql) => sql.startsWith(verb) && sql.includes("sallyport_connections"));
    expect(about("select")).toHaveLength(3);
    expect(about("update")).toHaveLength(1);
    expect(await world.sql("select id from sallyport_connections where closed_at is not null")).toHaveLength(
      110,
    );
  });

  test("reports its progress when the database fails, and can continue from there", async () => {
    const failing = { after: Number.POSITIVE_INFINITY };
    await open({
      storage: (source) => {
        storage = watchedStorageAt(source, (sql) => {
          if (sql.startsWith("select") && sql.includes("sallyport_connections") && --failing.after < 0) {
            throw new Error("the disk is on fire");
          }
        });
        return storage;
      },
    });
    await gateway.open(world, "g", "ann", 1, 1200);
    failing.after = 2;
    const broken = await world.sallyport
      .to("everyone")
      .send("news")
      .catch((error: unknown) => error);
    expect(broken).toBeInstanceOf(SendInterruptedError);
    const { report, message, status } = broken as SendInterruptedError;
    expect(message).toContain("the disk is on fire");
    expect(status).toBe(503);
    expect(report).toMatchObject({ recipients: 1000, sent: 1000, unsent: 0, cursor: "01000" });
    failing.after = Number.POSITIVE_INFINITY;
    const rest = await world.sallyport.to("everyone").send("news", { after: report.cursor ?? "wrong" });
    expect(rest).toMatchObject({ recipients: 200, sent: 200, cursor: null });
    expect(new Set(received("news")).size).toBe(1200);
    expect(received("news")).toHaveLength(1200);
  });

  test("keeps the message order of each connection despite retries", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 100);
    const tried = new Set<string>();
    gateway.answer = ({ connection, body }) => {
      const key = `${connection} ${body}`;
      const isFirst = !tried.has(key);
      tried.add(key);
      return isFirst && Math.random() < 0.3 ? 500 : 200;
    };
    const words = ["one", "two", "three"];
    await Promise.all(words.map((word) => world.sallyport.to("everyone").send(word)));
    for (let n = 1; n <= 100; n++) {
      const connection = `${String(n).padStart(5, "0")}=`;
      const bodies = gateway.calls.filter((call) => call.connection === connection).map(({ body }) => body);
      expect([...new Set(bodies)]).toEqual(words.map((word) => JSON.stringify(word)));
    }
  });

  test("reaches all connections of a gateway that throttles concurrent requests", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 600);
    let inFlight = 0;
    gateway.answer = async () => {
      const isTooMany = ++inFlight > 16;
      for (let turn = 0; turn < 5; turn++) await nextTurn();
      inFlight--;
      return isTooMany ? 429 : 200;
    };
    expect(await world.sallyport.to("everyone").send("news")).toMatchObject({ sent: 600, failed: 0 });
  });

  test("does not exceed maxRequestsPerSecond, apart from a burst of 50 ms", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    await open({ apiGateway: { maxRequestsPerSecond: 400 } });
    await gateway.open(world, "g", "ann", 1, 400);
    let excess = 0;
    const from = performance.now();
    gateway.answer = () => {
      const allowed = 20 + Math.ceil((performance.now() - from) * 0.4);
      excess = Math.max(excess, received("news").length - allowed);
      return 200;
    };
    let isSent = false;
    const sending = world.sallyport
      .to("everyone")
      .send("news")
      .finally(() => {
        isSent = true;
      });
    // Each poll moves the stopped clock by its interval.
    await expect.poll(() => isSent).toBe(true);
    expect(await sending).toMatchObject({ sent: 400 });
    expect(excess).toBe(0);
    expect(performance.now() - from).toBeGreaterThanOrEqual(900);
  });
});

describe("while a send occupies a slow gateway", () => {
  test("a revocation closes connections before the send continues", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 200);
    await gateway.open(world, "g", "bob", 201, 5);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    gateway.answer = async ({ body }) => {
      if (body === '"news"') await held;
      return 200;
    };
    const sending = world.sallyport.to({ user: "ann" }).send("news");
    await expect.poll(() => received("news").length).toBe(32);
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    expect(gateway.calls.filter(({ method }) => method === "DELETE")).toHaveLength(5);
    expect(received("news")).toHaveLength(32);
    release();
    expect(await sending).toMatchObject({ sent: 200 });
  });

  test("a send to another user finishes first, and sends to the same user keep their order", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 600);
    await gateway.open(world, "g", "bob", 601, 5);
    gateway.answer = async () => {
      for (let turn = 0; turn < 20; turn++) await nextTurn();
      return 200;
    };
    const ended: string[] = [];
    const sends = [
      world.sallyport
        .to({ user: "ann" })
        .send("one")
        .then(() => ended.push("one")),
      world.sallyport
        .to({ user: "ann" })
        .send("two")
        .then(() => ended.push("two")),
      world.sallyport
        .to({ user: "bob" })
        .send("three")
        .then(() => ended.push("three")),
    ];
    await Promise.all(sends);
    expect(ended).toEqual(["three", "one", "two"]);
    const at = (body: string, connection: string) =>
      gateway.calls.findIndex((call) => call.body === `"${body}"` && call.connection === connection);
    for (const connection of received("one")) {
      expect(at("one", connection)).toBeLessThan(at("two", connection));
    }
  });

  test("a send can be aborted while it waits for another send or for capacity", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 100);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    gateway.answer = async () => {
      await held;
      return 200;
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const waitsForCapacity = world.sallyport.to("everyone").send("one", { signal: first.signal });
    await expect.poll(() => received("one").length).toBe(32);
    const waitsForSend = world.sallyport.to("everyone").send("two", { signal: second.signal });
    second.abort();
    expect(await waitsForSend).toMatchObject({ sent: 0, unsent: 100, cursor: "" });
    first.abort();
    release();
    expect(await waitsForCapacity).toMatchObject({ sent: 32, unsent: 68, cursor: "00032" });
    expect(await world.sallyport.to("everyone").send("three")).toMatchObject({ sent: 100 });
  });

  test("a send to another gateway is not delayed", async () => {
    await open();
    const other = await GatewayServer.start();
    try {
      await gateway.open(world, "g", "ann", 1, 200);
      await other.open(world, "other", "bob", 201, 200);
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      gateway.answer = async () => {
        await held;
        return 200;
      };
      const sending = world.sallyport.to({ user: "ann" }).send("news");
      expect(await world.sallyport.to({ user: "bob" }).send("news")).toMatchObject({ sent: 200 });
      release();
      expect(await sending).toMatchObject({ sent: 200 });
    } finally {
      await other.close();
    }
  });
});

test("invalid options are rejected, and nothing is sent", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 1);
  const sender = world.sallyport.to("everyone");
  for (const options of [{ signal: {} }, { onProgress: "x" }, { after: 7 }, { cursor: "x" }]) {
    await expect(sender.send("news", options as never), JSON.stringify(options)).rejects.toThrow(
      /^send\(\): /,
    );
  }
  expect(() => world.sallyport[INTERNAL].with({ apiGateway: { maxRequestsPerSecond: 0 } })).toThrow(
    /apiGateway\.maxRequestsPerSecond must be a number of at least 1, or false/,
  );
  expect(() => world.sallyport[INTERNAL].with({ apiGateway: { concurrency: 1.5 } })).toThrow(
    /apiGateway\.concurrency must be a whole number/,
  );
  expect(() => world.sallyport[INTERNAL].with({ apiGateway: { rate: 5 } as never })).toThrow(
    /apiGateway\.rate is not an option/,
  );
  await expect(sender.send("x".repeat(131_073))).rejects.toThrow(/at most 131072/);
  expect(gateway.calls).toEqual([]);
});
