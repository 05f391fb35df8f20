import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DeliveryError } from "../errors.ts";
import { BoundedManagementApi } from "./bounded-api.ts";
import { Delivery, type Recipient } from "./delivery.ts";
import { encodeFrame } from "./frame.ts";
import { HttpManagementApi, type PostResult } from "./management-api.ts";
import { DeliveryTally } from "./report.ts";

/** The next statuses for each connection. A call without a status left is answered 200. */
let statuses: Map<string, number[]>;
let calls: { method: string; path: string; body: string }[];
let inFlight = 0;
let mostInFlight = 0;
let server: Server;
let api: HttpManagementApi;
let delivery: Delivery;
let endpoint: string;

beforeEach(async () => {
  statuses = new Map();
  calls = [];
  inFlight = 0;
  mostInFlight = 0;
  server = createServer(async (request, response) => {
    mostInFlight = Math.max(mostInFlight, ++inFlight);
    let body = "";
    for await (const chunk of request) body += chunk;
    const path = request.url ?? "";
    calls.push({ method: request.method ?? "", path, body });
    await new Promise((resolve) => setImmediate(resolve));
    inFlight--;
    const id = decodeURIComponent(path.split("/").at(-1) ?? "");
    response.writeHead(statuses.get(id)?.shift() ?? 200).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dev`;
  api = new HttpManagementApi();
  delivery = new Delivery(api, UNBOUNDED);
});
afterEach(async () => {
  vi.useRealTimers();
  await api.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const UNBOUNDED = { perSecond: Number.POSITIVE_INFINITY, concurrency: 128 };

const to = (connectionId: string, ageMs = 3_600_000): Recipient => ({
  connectionKey: connectionId,
  userId: "ann",
  connectionId,
  endpoint,
  connectedAt: Date.now() - ageMs,
});

test("settled() waits for calls in flight to one user, or without an argument to all users", async () => {
  let answer: (result: { kind: "ok" }) => void = () => undefined;
  const shared = new Promise<{ kind: "ok" }>((resolve) => {
    answer = resolve;
  });
  const batching = new Delivery(
    { post: () => shared, delete: () => shared, close: async () => undefined },
    UNBOUNDED,
  );
  const posts = ["ann", "bob"].map((userId) => batching.post({ ...to(userId), userId }, "x"));
  await Promise.resolve();
  const ended: string[] = [];
  const waits = [
    batching.settled("ann").then(() => ended.push("ann")),
    batching.settled("bob").then(() => ended.push("bob")),
    batching.settled().then(() => ended.push("anybody")),
  ];
  await batching.settled("eve");
  expect(ended).toEqual([]);
  answer({ kind: "ok" });
  await Promise.all([...posts, ...waits]);
  expect(ended.sort()).toEqual(["ann", "anybody", "bob"]);
});

describe("a post", () => {
  test("goes to the connection's percent-encoded path below the stage", async () => {
    expect(await delivery.post(to("L0SM9cOFvHcCIhw="), "{}")).toEqual({ kind: "sent" });
    expect(calls).toEqual([{ method: "POST", path: "/dev/@connections/L0SM9cOFvHcCIhw%3D", body: "{}" }]);
    expect(await delivery.close(to("L0SM9cOFvHcCIhw="))).toEqual({ kind: "sent" });
    expect(calls.at(-1)).toMatchObject({ method: "DELETE", body: "" });
  });

  test("B38 is retried on 429 and 5xx, and fails with the last status after four attempts", async () => {
    statuses.set("a", [429, 503]);
    expect(await delivery.post(to("a"), "{}")).toEqual({ kind: "sent" });
    statuses.set("b", [500, 500, 500, 500]);
    expect(await delivery.post(to("b"), "{}")).toEqual({ kind: "failed", reason: "status 500" });
    expect(calls.filter(({ path }) => path.endsWith("/b"))).toHaveLength(4);
  });

  test("is not retried on 403", async () => {
    statuses.set("a", [403]);
    expect(await delivery.post(to("a"), "{}")).toEqual({ kind: "failed", reason: "status 403" });
    expect(calls).toHaveLength(1);
  });

  test("is reported as gone on 410, but is retried if the connection is new", async () => {
    // The age of a connection is measured with this clock.
    vi.useFakeTimers({ toFake: ["performance"] });
    statuses.set("old", [410]);
    expect(await delivery.post(to("old"), "{}")).toEqual({ kind: "gone" });
    statuses.set("young", [410, 410]);
    expect(await delivery.post(to("young", 50), "{}")).toEqual({ kind: "sent" });
    statuses.set("lost", Array(1000).fill(410));
    const lost = delivery.post(to("lost", 50), "{}");
    await expect.poll(() => calls.filter(({ path }) => path.endsWith("/lost")).length).toBeGreaterThan(1);
    vi.advanceTimersByTime(3001);
    expect(await lost).toEqual({ kind: "failed", reason: "arriving" });
  });

  test("measures the age of a connection correctly when the wall clock is set back by an hour", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    statuses.set("lost", Array(1000).fill(410));
    statuses.set("old", [410]);
    const lost = delivery.post(to("lost", 50), "{}");
    const old = delivery.post(to("old"), "{}");
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(await old).toEqual({ kind: "gone" });
    await expect.poll(() => calls.filter(({ path }) => path.endsWith("/lost")).length).toBeGreaterThan(1);
    vi.advanceTimersByTime(3001);
    expect(await lost).toEqual({ kind: "failed", reason: "arriving" });
  });

  test("fails if the gateway is unreachable", async () => {
    const nowhere = { ...to("a"), endpoint: "http://127.0.0.1:9/dev" };
    expect(await delivery.post(nowhere, "{}")).toMatchObject({ kind: "failed" });
  });

  test("keeps the order of a connection, with at most 128 calls in flight", async () => {
    statuses.set("slow", [429]);
    const posts = Array.from({ length: 20 }, (_, n) => delivery.post(to("slow"), String(n)));
    const others = Array.from({ length: 400 }, (_, n) => delivery.post(to(`c${n}`), "{}"));
    await Promise.all([...posts, ...others]);
    const order = calls.filter(({ path }) => path.endsWith("/slow")).map(({ body }) => body);
    expect(order).toEqual(["0", ...Array.from({ length: 20 }, (_, n) => String(n))]);
    expect(mostInFlight).toBeLessThanOrEqual(128);
  });
});

test("the counts of a report add up to its recipients", () => {
  const tally = new DeliveryTally();
  tally.deny();
  for (let posts = 0; posts < 5; posts++) tally.begin();
  tally.count({ kind: "sent" });
  tally.count({ kind: "gone" });
  tally.count({ kind: "failed", reason: "arriving" });
  tally.count({ kind: "failed", reason: "arriving" });
  tally.leave(10);
  expect(tally.report("s7")).toEqual({
    recipients: 16,
    sent: 1,
    gone: 1,
    denied: 1,
    failed: 2,
    unsent: 11,
    failures: { arriving: 2 },
    cursor: "s7",
  });
});

test("B40 encodeFrame() rejects a message that is not JSON or exceeds 128 KB", () => {
  expect(encodeFrame({ a: new Date(0) })).toBe('{"a":"1970-01-01T00:00:00.000Z"}');
  expect(() => encodeFrame(undefined)).toThrow(DeliveryError);
  expect(() => encodeFrame({ big: 1n })).toThrow(/JSON cannot carry/);
  expect(encodeFrame("x".repeat(128 * 1024 - 2))).toHaveLength(128 * 1024);
  expect(() => encodeFrame("x".repeat(128 * 1024 - 1))).toThrow(/at most 131072/);
  expect(() => encodeFrame("é".repeat(70_000))).toThrow(DeliveryError);
});

/** A delivery to a gateway that answers with a function and records the order of its calls. */
function recordingDelivery(answer: (connection: string, frame: string | undefined) => unknown) {
  const order: string[] = [];
  const call = async (_endpoint: string, connection: string, frame?: string) => {
    order.push(`${connection} ${frame ?? "close"}`);
    return (await answer(connection, frame)) as PostResult;
  };
  const own = new Delivery({ post: call, delete: call, close: async () => undefined }, UNBOUNDED);
  return { own, order };
}

describe("an urgent call", () => {
  const never = new Promise<never>(() => undefined);

  test("is made before a waiting retry or an unfinished permission check of the same connection", async () => {
    const { own, order } = recordingDelivery((_connection, frame) =>
      frame === "again" ? { kind: "retry", reason: "status 500" } : { kind: "ok" },
    );
    const again = own.post(to("a"), "again");
    await expect.poll(() => order.length).toBe(1);
    expect(await own.close(to("a"), { urgent: true })).toEqual({ kind: "sent" });
    expect(order.slice(0, 2)).toEqual(["a again", "a close"]);
    expect(await again).toMatchObject({ kind: "failed" });

    own.post(to("b"), "asked", { shouldSend: () => never });
    expect(await own.close(to("b"), { urgent: true })).toEqual({ kind: "sent" });
    expect(order).not.toContain("b asked");
  });

  test("waits for a call in flight to the same connection, and keeps the order of urgent calls", async () => {
    let finish: (result: PostResult) => void = () => undefined;
    const { own, order } = recordingDelivery((_connection, frame) =>
      frame === "slow"
        ? new Promise((resolve) => {
            finish = resolve;
          })
        : { kind: "ok" },
    );
    const slow = own.post(to("a"), "slow");
    const [later, notice, close] = [
      own.post(to("a"), "later"),
      own.post(to("a"), "notice", { urgent: true }),
      own.close(to("a"), { urgent: true }),
    ];
    // Ten calls to another connection finish first, so a premature call to this one would have started.
    for (let n = 0; n < 10; n++) await own.post(to("other"), String(n));
    expect(order.filter((call) => call.startsWith("a "))).toEqual(["a slow"]);
    finish({ kind: "ok" });
    await Promise.all([slow, later, notice, close]);
    const calls = order.filter((call) => call.startsWith("a "));
    expect(calls).toEqual(["a slow", "a notice", "a close", "a later"]);
  });
});

test("normal messages keep their order although an urgent message is sent between them", async () => {
  let times = 0;
  const { own, order } = recordingDelivery((_connection, frame) =>
    frame === "first" && ++times < 2 ? { kind: "retry", reason: "status 500" } : { kind: "ok" },
  );
  const first = own.post(to("a"), "first");
  await expect.poll(() => order.length).toBe(1);
  const [urgent, second] = [own.post(to("a"), "urgent", { urgent: true }), own.post(to("a"), "second")];
  await Promise.all([first, urgent, second]);
  expect(order).toEqual(["a first", "a urgent", "a first", "a second"]);
});

test("a permission check that does not finish in time denies the message", async () => {
  vi.useFakeTimers();
  const { own, order } = recordingDelivery(() => ({ kind: "ok" }));
  const post = own.post(to("a"), "x", { shouldSend: () => new Promise(() => undefined) });
  await vi.advanceTimersByTimeAsync(6000);
  vi.useRealTimers();
  expect(await post).toEqual({ kind: "denied" });
  expect(await own.post(to("a"), "y")).toEqual({ kind: "sent" });
  expect(order).toEqual(["a y"]);
});

describe("a client of the app", () => {
  test.each<[what: string, thrown: unknown, reason: string]>([
    ["an error", new Error("no way"), "no way"],
    ["nothing", undefined, "undefined"],
    ["words", "no", "no"],
  ])("that rejects with %s fails the message, and later messages are sent", async (_what, thrown, reason) => {
    const { own } = recordingDelivery((_connection, frame) =>
      frame === "bad" ? Promise.reject(thrown) : { kind: "ok" },
    );
    const outcomes = await Promise.all([own.post(to("a"), "bad"), own.post(to("a"), "good")]);
    expect(outcomes).toEqual([{ kind: "failed", reason }, { kind: "sent" }]);
    expect(await own.post(to("a"), "good")).toEqual({ kind: "sent" });
  });

  test("that never answers fails the message with a timeout", async () => {
    const silent = () => new Promise<never>(() => undefined);
    const bounded = new BoundedManagementApi(
      { post: silent, delete: silent, close: async () => undefined },
      20,
    );
    const own = new Delivery(bounded, UNBOUNDED);
    const post = own.post(to("a"), "x");
    await own.settled("ann");
    expect(await post).toEqual({ kind: "failed", reason: "timeout" });
  });
});

test("fails all pending messages of a connection after one runs out of attempts, but not later ones", async () => {
  let reads = false;
  const { own, order } = recordingDelivery(() =>
    reads ? { kind: "ok" } : { kind: "retry", reason: "status 429", isThrottled: true },
  );
  const outcomes = await Promise.all(["1", "2", "3", "4", "5"].map((frame) => own.post(to("a"), frame)));
  expect(outcomes).toEqual(Array(5).fill({ kind: "failed", reason: "status 429" }));
  // Only the first message was tried four times.
  expect(order).toEqual(Array(4).fill("a 1"));
  reads = true;
  expect(await own.post(to("a"), "6")).toEqual({ kind: "sent" });
});

test("closes a connection that is throttled for three seconds while another one is served", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const slow: string[] = [];
  const own = new Delivery(
    {
      post: async (_endpoint, connection) =>
        connection === "silent" ? { kind: "retry", reason: "status 429", isThrottled: true } : { kind: "ok" },
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    },
    UNBOUNDED,
    ({ connectionId }) => slow.push(connectionId),
  );
  let isDone = false;
  const posts = Promise.all(["1", "2", "3"].map((frame) => own.post(to("silent"), frame)));
  void posts.then(() => {
    isDone = true;
  });
  await expect
    .poll(async () => {
      await own.post(to("other"), "x");
      vi.advanceTimersByTime(100);
      return isDone;
    })
    .toBe(true);
  expect(await posts).toEqual(Array(3).fill({ kind: "failed", reason: "slow" }));
  expect(slow).toEqual(["silent"]);
});

test("closes a connection that is throttled for three seconds although other sends use the entire rate", async () => {
  const slow: string[] = [];
  let served = 0;
  const own = new Delivery(
    {
      post: async (_endpoint, connection) => {
        if (connection === "silent") return { kind: "retry", reason: "status 429", isThrottled: true };
        served++;
        return { kind: "ok" };
      },
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    },
    { perSecond: 200, concurrency: 128 },
    ({ connectionId }) => slow.push(connectionId),
  );
  const outcomes: unknown[] = [];
  void own.post(to("silent"), "x").then((outcome) => outcomes.push(outcome));
  // For 15 seconds, a call always waits for the rate limit.
  const others = 3000;
  const sending = Array.from({ length: 20 }, async (_, other) => {
    while (served < others && !own.isNormalStopped) await own.post(to(`other ${other}`), "x");
  });
  await expect.poll(() => outcomes.length > 0 || served >= others).toBe(true);
  expect([outcomes, slow]).toEqual([[{ kind: "failed", reason: "slow" }], ["silent"]]);
  expect(served).toBeLessThan(others);
  own.stopNormal();
  await Promise.all(sending);
});

test("fails a message after ten seconds although no further retry was possible", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  let tries = 0;
  const own = new Delivery(
    {
      post: async (_endpoint, connection) => {
        if (connection !== "silent") return { kind: "ok" };
        tries++;
        return { kind: "retry", reason: "status 429", isThrottled: true };
      },
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    },
    { perSecond: 1000, concurrency: 128 },
  );
  const outcomes: unknown[] = [];
  const post = own.post(to("silent"), "x").then((outcome) => outcomes.push(outcome));
  // Urgent calls use the rate in advance, so no normal call is made.
  await expect
    .poll(async () => {
      for (let call = 0; call < 100; call++) void own.post(to(`${call}`), "x", { urgent: tries > 1 });
      await vi.advanceTimersByTimeAsync(50);
      return outcomes.length;
    })
    .toBe(1);
  await post;
  expect(outcomes).toEqual([{ kind: "failed", reason: "status 429" }]);
  expect(tries).toBeLessThan(4);
});

test("rejects a message to a full queue while the whole gateway fails, and closes no connection", async () => {
  const slow: string[] = [];
  let fails = true;
  const own = new Delivery(
    {
      post: async () => (fails ? { kind: "retry", reason: "status 500" } : { kind: "ok" }),
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    },
    UNBOUNDED,
    ({ connectionId }) => slow.push(connectionId),
  );
  const calls: Promise<unknown>[] = [];
  const last = async () => {
    const outcome = own.post(to("a"), "x");
    calls.push(outcome);
    return Promise.race([outcome, new Promise((resolve) => setImmediate(() => resolve("waits")))]);
  };
  // Calls that failed four times leave the queue, so each poll fills it again.
  const fillUp = () => {
    for (let n = 0; n < 256; n++) void last();
    return last();
  };
  await expect.poll(fillUp).toEqual({ kind: "failed", reason: "queue full" });
  fails = false;
  await Promise.all(calls);
  expect(await own.post(to("a"), "later")).toEqual({ kind: "sent" });
  expect(slow).toEqual([]);
});

test("a sender that waits for a place is woken, although others stopped waiting before it", async () => {
  let answer: (result: PostResult) => void = () => undefined;
  const closed: string[] = [];
  const own = new Delivery(
    {
      post: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
      delete: async () => ({ kind: "ok" }),
      close: async () => undefined,
    },
    UNBOUNDED,
    ({ connectionId }) => closed.push(connectionId),
  );
  const posts = Array.from({ length: 8 }, () => own.post(to("a"), "x".repeat(128 * 1024)));
  for (let stale = 0; stale < 20; stale++) own.waitForCapacity(endpoint, "a")?.leave();
  let isWoken = false;
  void own.waitForCapacity(endpoint, "a")?.ready.then(() => {
    isWoken = true;
  });
  expect(isWoken).toBe(false);
  const late = Promise.all(posts);
  let isDone = false;
  void late.then(() => {
    isDone = true;
  });
  await expect
    .poll(() => {
      answer({ kind: "ok" });
      return isDone;
    })
    .toBe(true);
  expect([isWoken, closed]).toEqual([true, []]);
  expect(own.waitForCapacity(endpoint, "a")).toBeUndefined();
});

test("stop() fails waiting and later messages, and lets the call in flight finish", async () => {
  let finish: (result: PostResult) => void = () => undefined;
  const { own, order } = recordingDelivery(
    () =>
      new Promise((resolve) => {
        finish = resolve;
      }),
  );
  const posts = ["1", "2", "3"].map((frame) => own.post(to("a"), frame));
  await Promise.resolve();
  own.stopNormal();
  finish({ kind: "ok" });
  expect(await Promise.all(posts)).toEqual([
    { kind: "sent" },
    { kind: "failed", reason: "closed" },
    { kind: "failed", reason: "closed" },
  ]);
  expect(await own.post(to("b"), "4")).toEqual({ kind: "failed", reason: "closed" });
  expect(order).toEqual(["a 1"]);
});

test("makes urgent calls after stop(), and no calls after stopAll()", async () => {
  const { own, order } = recordingDelivery(() => ({ kind: "ok" }));
  expect([own.isNormalStopped, own.isAllStopped]).toEqual([false, false]);
  expect(own.waitForCapacity(endpoint)).toBeUndefined();
  own.stopNormal();
  expect([own.isNormalStopped, own.isAllStopped]).toEqual([true, false]);
  expect(await own.post(to("a"), "notice", { urgent: true })).toEqual({ kind: "sent" });
  own.stopAll();
  expect(own.isAllStopped).toBe(true);
  expect(await own.post(to("a"), "notice", { urgent: true })).toEqual({ kind: "failed", reason: "closed" });
  expect(order).toEqual(["a notice"]);
});

test("retries more than four times while a gateway throttles many calls, unless the call is urgent", async () => {
  const tooMany: PostResult = { kind: "retry", reason: "status 429", isThrottled: true };
  // The clock is stopped, so the limit of ten seconds is not reached.
  vi.useFakeTimers({ toFake: ["performance"] });
  let isOver = false;
  const tries = new Map<string, number>();
  const { own } = recordingDelivery((connection) => {
    tries.set(connection, (tries.get(connection) ?? 0) + 1);
    return isOver ? { kind: "ok" } : tooMany;
  });
  const ordinary = Promise.all(Array.from({ length: 30 }, (_, n) => own.post(to(`c${n}`), "news")));
  await expect.poll(() => Math.max(...tries.values())).toBeGreaterThan(1);
  expect(await own.post(to("urgent"), "notice", { urgent: true })).toEqual({
    kind: "failed",
    reason: "status 429",
  });
  expect(tries.get("urgent")).toBe(4);
  await expect.poll(() => Math.max(...tries.values())).toBeGreaterThan(5);
  isOver = true;
  expect(new Set((await ordinary).map(({ kind }) => kind))).toEqual(new Set(["sent"]));
});

test("a permission check that resolves asynchronously is repeated right before the call", async () => {
  const { own, order } = recordingDelivery(() => ({ kind: "ok" }));
  const answers = [true, false].map((yes) => {
    const given: (true | Promise<boolean>)[] = [Promise.resolve(yes), true];
    return own.post(to(`${yes}`), "x", { shouldSend: () => given.shift() ?? Promise.resolve(false) });
  });
  expect(await Promise.all(answers)).toEqual([{ kind: "sent" }, { kind: "denied" }]);
  expect(order).toEqual(["true x"]);
});
