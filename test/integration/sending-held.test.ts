import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  DeliveryError,
  type DeliveryReport,
  defineChannel,
  handler,
  WebSocketView,
} from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { changedStorage, NOW, observedStorageAt, storageAt, withHeldLooks } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { World, type WorldOptions } from "./world.ts";

const never = new Promise<never>(() => undefined);
/** The hooks of the two channels, as the current test defines them. */
let authorizeManyHook: (userIds: readonly string[]) => Iterable<string> | Promise<Iterable<string>>;
let authorizeHook: (userId: string) => boolean | Promise<boolean>;

const club = defineChannel("club", { authorizeMany: ({ userIds }) => authorizeManyHook(userIds) });
const hall = defineChannel("hall", { authorize: ({ user }) => authorizeHook(user.id ?? "") });

let reports: DeliveryReport[];
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  ping = handler(async () => "pong");
  ended = handler(async ({ to }) => {
    reports.push(await to("everyone").send("news", { signal: AbortSignal.abort() }));
  });
  misspelt = handler(async ({ to }) => {
    await to("everyone").send("news", { signals: 1 } as never);
  });
  three = handler(async ({ to }) => {
    await Promise.all(["a", "b", "c"].map((word) => to({ channel: "hall" }).send(word)));
  });
}

let gateway: GatewayServer;
let world: World;
async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels: [club, hall],
    views: { "/ws/chat": ChatView },
    apiGateway: { concurrency: 32, maxRequestsPerSecond: false },
    limits: { connectionsPerUser: false },
    ...options,
  });
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
}
beforeEach(async () => {
  [authorizeManyHook, authorizeHook, reports] = [(userIds) => userIds, () => true, []];
  gateway = await GatewayServer.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  await gateway.close();
});

const member = (channel: string) =>
  world.sql(`insert into sallyport_memberships select id, '${channel}', 1 from sallyport_connections`);
const received = (body: string) => gateway.calls.filter((call) => call.body === `"${body}"`);

/**
 * Stops the clock for the timeouts of hooks and pages, so that no hook times out unless a test advances the clock:
 * with `vi.advanceTimersByTimeAsync`, or by the interval of expect.poll().
 */
const stopTimers = () => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
/** The time in milliseconds after which a hook that has not returned denies access. */
const HOOK_TIMEOUT_MS = 5000;
/** Advances the stopped clock beyond the hook timeout, and then until the work is done. */
async function afterHookTimeout(work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const done = work.then(() => {
    isDone = true;
  });
  await vi.advanceTimersByTimeAsync(HOOK_TIMEOUT_MS);
  await expect.poll(() => isDone).toBe(true);
  await done;
}

describe("a handler's send", () => {
  test("accepts the options of a send", async () => {
    await open();
    const ann = await world.connect("ann");
    await ann.result("ended");
    expect(reports).toMatchObject([{ recipients: 1, sent: 0, unsent: 1, cursor: "" }]);
    expect(await ann.call("misspelt")).toMatchObject({ ok: false, status: 500 });
    expect(world.errors.map(String).join()).toContain("signals");
  });

  test("keeps the order of unawaited sends when the hook is slower for earlier ones", async () => {
    await open();
    let turns = 0;
    authorizeHook = async () => {
      turns -= 20;
      for (let turn = 0; turn < turns; turn++) await nextTurn();
      return true;
    };
    const ann = await world.connect("ann", { channel: "hall" });
    turns = 80;
    await ann.result("three");
    expect(ann.received.filter((frame) => typeof frame === "string")).toEqual(["a", "b", "c"]);
  });
});

describe("a full send queue", () => {
  /** A message of which eight fit into the smallest queue of 1 MiB. */
  const LARGE = "x".repeat(120 * 1024);
  const QUEUE_BYTES = 1024 * 1024;

  test("rejects a send after ten seconds, and accepts it when there is space again", async () => {
    await open({
      apiGateway: { concurrency: 32, maxRequestsPerSecond: false, maxQueuedBytes: QUEUE_BYTES },
      instances: 1,
    });
    await gateway.open(world, "g", "ann", 1, 9);
    let release: (status: number) => void = () => undefined;
    const held = new Promise<number>((resolve) => {
      release = resolve;
    });
    gateway.answer = () => held;
    const send = (n: number) => world.sallyport.to({ connection: `0000${n}` }).send(LARGE);
    const sending = [1, 2, 3, 4, 5, 6, 7, 8].map(send);
    await expect.poll(() => gateway.calls.length).toBe(8);
    stopTimers();
    const waiting = send(9).catch((error: unknown) => error);
    let isRejected = false;
    void waiting.then(() => {
      isRejected = true;
    });
    await vi.advanceTimersByTimeAsync(9999);
    expect(isRejected).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    const error = await waiting;
    expect(error).toBeInstanceOf(DeliveryError);
    expect(error).toMatchObject({ code: "SALLYPORT_QUEUE_FULL", status: 503 });
    expect(gateway.calls.length).toBe(8);
    vi.useRealTimers();
    release(200);
    for (const report of await Promise.all(sending)) expect(report).toMatchObject({ sent: 1 });
    expect(await send(9)).toMatchObject({ sent: 1 });
    expect(world.errors).toEqual([]);
  });
});

describe("a revocation", () => {
  test("does not wait for messages to the same connection that are being retried", async () => {
    await open();
    await gateway.open(world, "g", "bob", 1, 1);
    gateway.answer = ({ body }) => (body === '"news"' ? 500 : 200);
    const sends = Array.from({ length: 5 }, () => world.sallyport.to({ user: "bob" }).send("news"));
    await expect.poll(() => received("news").length).toBeGreaterThan(0);
    const before = received("news").length;
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    expect(gateway.calls.map(({ method }) => method)).toContain("DELETE");
    expect(received("news").length - before).toBeLessThanOrEqual(1);
    const results = await Promise.all(sends);
    expect(results.every(({ sent }) => sent === 0)).toBe(true);
  });

  test("does not wait for a hook that does not return for another recipient", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 32);
    await gateway.open(world, "g", "bob", 33, 1);
    await member("club");
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    gateway.answer = async ({ body }) => {
      if (body === '"news"') await held;
      return 200;
    };
    const sending = world.sallyport.to({ channel: "club" }).send("news");
    await expect.poll(() => received("news").length).toBe(32);
    stopTimers();
    let hookCalls = 0;
    authorizeManyHook = () => {
      hookCalls++;
      return never;
    };
    const rechecking = world.sallyport.access.recheck({ user: "bob" });
    await expect.poll(() => hookCalls).toBe(1);
    release();
    // The send calls the hook as well, because the recheck marked Bob as changed.
    await expect.poll(() => hookCalls).toBe(2);
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    expect(gateway.calls.some((call) => call.method === "DELETE" && call.connection === "00033=")).toBe(true);
    await afterHookTimeout(Promise.all([rechecking, sending]));
    expect(await sending).toMatchObject({ sent: 32, denied: 1 });
  });

  test("of several pages closes other connections while a gateway hangs, and renews its claim", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 500);
    const last = await world.connect("ann");
    let release = (_status: number) => {};
    const held = new Promise<number>((resolve) => {
      release = resolve;
    });
    gateway.answer = () => held;
    const revoking = world.sallyport.access.revoke("ann", chat.can_use_chat);
    expect((await last.closed).code).toBe(1000);
    // No call was repeated, so none had to time out first.
    const called = gateway.calls.map(({ connection }) => connection);
    expect(called).toHaveLength(new Set(called).size);
    const lease = async () => {
      const [row] = (await world.sql(
        `select claimed_until - ${NOW} as "left" from sallyport_revocations`,
      )) as {
        left: number;
      }[];
      return row?.left;
    };
    expect(await lease()).toBeLessThanOrEqual(15_000);
    await world.sql("update sallyport_revocations set claimed_until = claimed_until - 5000");
    // Ten seconds are left. Only a renewal makes the claim last longer.
    await expect.poll(lease).toBeGreaterThan(10_000);
    release(410);
    await revoking;
    expect(await lease()).toBeUndefined();
    expect(world.errors).toEqual([]);
  });

  test("of several pages closes other connections while the hook hangs for one page", async () => {
    await open();
    const { access } = world.sallyport;
    for (const user of ["ann", "cat"]) await access.users.addToGroup(user, "Crew");
    await access.grant({ group: "Crew" }, chat.can_use_chat);
    await gateway.open(world, "g", "ann", 1, 500);
    await member("hall");
    const last = await world.connect("cat");
    let times = 0;
    authorizeHook = () => {
      times++;
      return never;
    };
    stopTimers();
    const revoking = access.revoke({ group: "Crew" }, chat.can_use_chat);
    await expect.poll(() => last.isClosed).toBe(true);
    // No hook has timed out yet.
    expect(world.errors).toEqual([]);
    await afterHookTimeout(revoking);
    expect(times).toBe(500);
    expect(await world.sql("select connection_key from sallyport_memberships")).toEqual([]);
  });

  test("by another process stops a send in progress in a process that only sends", async () => {
    await open();
    await gateway.open(world, "g", "bob", 1, 120);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    gateway.answer = async ({ body }) => {
      if (body === '"news"' && received("news").length > 10) await held;
      return 200;
    };
    let polls = 0;
    const worker = world.sallyport[INTERNAL].with({
      storage: observedStorageAt(world.database, () => polls++),
      apiGateway: { concurrency: 1, maxRequestsPerSecond: false },
    });
    const sending = worker.to({ user: "bob" }).send("news");
    await expect.poll(() => received("news").length).toBe(11);
    await world.sql("delete from sallyport_user_permissions where user_id = 'bob'");
    await world.sallyport.access.recheck({ user: "bob" });
    // The first poll after the change has finished when the second one begins.
    const before = polls;
    await expect.poll(() => polls).toBeGreaterThan(before + 1);
    release();
    expect(await sending).toMatchObject({ sent: 11, denied: 109, failed: 0 });
    expect(received("news")).toHaveLength(11);
    await worker.close();
  });
});

describe("a send with a hook that does not return", () => {
  test("can be aborted, and the next send to the channel proceeds", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 3);
    await member("club");
    let hookCalls = 0;
    authorizeManyHook = () => {
      hookCalls++;
      return never;
    };
    const ending = new AbortController();
    const silent = world.sallyport.to({ channel: "club" }).send("one", { signal: ending.signal });
    await expect.poll(() => hookCalls).toBe(1);
    authorizeManyHook = (userIds) => userIds;
    const next = world.sallyport.to({ channel: "club" }).send("two");
    ending.abort();
    expect(await silent).toMatchObject({ sent: 0, unsent: 3, cursor: "" });
    expect(await next).toMatchObject({ sent: 3 });
  });

  test("is denied to users that the hook does not return within five seconds", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 3);
    await member("club");
    stopTimers();
    let isCalled = false;
    authorizeManyHook = () => {
      isCalled = true;
      return never;
    };
    const sending = world.sallyport.to({ channel: "club" }).send("one");
    await expect.poll(() => isCalled).toBe(true);
    await afterHookTimeout(sending);
    expect(await sending).toMatchObject({ denied: 3 });
    expect(world.errors.map(String).join()).toContain("authorizeMany did not return within 5000 ms");
  });
});

test("closing the app ends a send in flight, which then sends nothing more", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 300);
  const worker = world.sallyport[INTERNAL].with({
    storage: storageAt(world.database),
    apiGateway: { maxRequestsPerSecond: 100, concurrency: 4 },
  });
  const sending = worker
    .to("everyone")
    .send("news")
    .catch((error: unknown) => error);
  await expect.poll(() => received("news").length).toBeGreaterThan(5);
  await worker.close();
  const then = received("news").length;
  await sending;
  // A send that was still running would send more messages during this one.
  await world.sallyport.to("everyone").send("later");
  expect(received("later")).toHaveLength(300);
  expect(received("news")).toHaveLength(then);
});

test("closing the app waits for connections that a revocation is closing", async () => {
  await open();
  await gateway.open(world, "g", "bob", 1, 3);
  const worker = world.sallyport[INTERNAL].with({ storage: storageAt(world.database) });
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  gateway.answer = async () => {
    await held;
    return 200;
  };
  const revoking = worker.access.revoke("bob", chat.can_use_chat);
  await expect.poll(() => gateway.calls.length).toBe(3);
  const closing = worker.close();
  release();
  await closing;
  expect(gateway.calls.filter(({ method }) => method === "DELETE")).toHaveLength(3);
  await revoking.catch(() => undefined);
});

describe("closing the app while a gateway hangs", () => {
  test.each([
    ["a call of its own", (worker: Sallyport) => worker.access.revoke("bob", chat.can_use_chat)],
    [
      "its loop",
      async (worker: Sallyport) => {
        await world.sql("delete from sallyport_user_permissions where user_id = 'bob'");
        await world.sql(
          "insert into sallyport_revocations (id, scope, subject, created_at) values ('left', 'user', 'bob', 1)",
        );
        worker[INTERNAL].start();
      },
    ],
  ])("leaves the revocation by %s to other processes, and reports it once", async (_by, revoke) => {
    // The poller of the world is paused, so that the record stays.
    const { storage, release } = withHeldLooks();
    await open({ storage });
    await gateway.open(world, "g", "bob", 1, 600);
    const failures: unknown[] = [];
    const worker = world.sallyport[INTERNAL].with({
      storage: storageAt(world.database),
      onError: (error, where) => failures.push(`${where}: ${error}`),
    });
    gateway.answer = () => never;
    const revoking = revoke(worker).catch(() => undefined);
    await expect.poll(() => gateway.calls.length).toBeGreaterThan(1);
    await worker.close();
    await revoking;
    expect(await world.sql("select id from sallyport_revocations")).toHaveLength(1);
    expect(failures).toEqual([
      "revoking access after a change of user bob: Error: The app was closed before all connections were " +
        "checked. Another process completes the revocation. Do not repeat the change.",
    ]);
    release();
  });
});

test("closing the app stops hook calls for further pages of connections", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 1500);
  await member("hall");
  let times = 0;
  authorizeHook = () => {
    times++;
    return never;
  };
  const worker = world.sallyport[INTERNAL].with({
    storage: storageAt(world.database),
    onError: () => undefined,
  });
  stopTimers();
  const rechecking = worker.access.recheck({ user: "ann" });
  await expect.poll(() => times).toBe(500);
  await worker.close();
  // The hooks of the next page would be called now.
  await afterHookTimeout(rechecking);
  expect(times).toBe(500);
});

test("a large revocation does not delay a small one at the same gateway", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 6000);
  await gateway.open(world, "g", "bob", 7001, 1);
  const held: (() => void)[] = [];
  let isHeld = false;
  let reportPage: () => void = () => undefined;
  const isInPage = new Promise<void>((resolve) => {
    reportPage = resolve;
  });
  gateway.answer = async () => {
    if (gateway.calls.length > 500) reportPage();
    await (isHeld ? new Promise<void>((resolve) => held.push(resolve)) : nextTurn());
    return 200;
  };
  stopTimers();
  const large = world.sallyport.access.revoke("ann", chat.can_use_chat);
  await isInPage;
  const before = gateway.calls.length;
  isHeld = true;
  let isDone = false;
  const small = world.sallyport.access.revoke("bob", chat.can_use_chat).finally(() => {
    isDone = true;
  });
  // Eight calls are answered per millisecond of the stopped clock. By the real clock, the gateway could seem to
  // hang on a busy machine, and then a page does not wait for the previous one.
  while (!isDone) {
    for (const answer of held.splice(0, 8)) answer();
    vi.advanceTimersByTime(1);
    await nextTurn();
  }
  await small;
  const callsDuringSmall = gateway.calls.length - before;
  isHeld = false;
  for (const answer of held) answer();
  // One page waits to send notices and another waits to close: 500 notices and 500 closes each.
  expect(callsDuringSmall).toBeLessThan(3000);
  await large;
  expect(gateway.calls.filter(({ method }) => method === "DELETE")).toHaveLength(6001);
});

test("a send succeeds and reports an error when rows of gone connections cannot be closed", async () => {
  let fails = false;
  const failing = (storage: Database) =>
    changedStorage(storage, {
      sharedTransaction: (work, options) =>
        fails ? Promise.reject(new Error("the disk is full")) : storage.sharedTransaction(work, options),
    });
  await open({ storage: (source) => failing(storageAt(source)) });
  await gateway.open(world, "g", "ann", 1, 3);
  gateway.answer = () => 410;
  fails = true;
  expect(await world.sallyport.to("everyone").send("news")).toMatchObject({ gone: 3, cursor: null });
  expect(world.errors.map(String)).toContain("Error: the disk is full");
  fails = false;
});

test("a rejection of an async onProgress is reported, and the send continues", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 3);
  const report = await world.sallyport.to("everyone").send("news", {
    onProgress: async () => {
      throw new Error("a bug in the app");
    },
  });
  expect(report).toMatchObject({ sent: 3 });
  await expect.poll(() => world.errors.map(String)).toEqual(["Error: a bug in the app"]);
});
