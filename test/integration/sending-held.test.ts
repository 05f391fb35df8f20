import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type DeliveryReport, defineChannel, handler, WebSocketView } from "../../src/index.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { changedStorage, NOW, observedStorageAt, storageAt, withHeldLooks } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { World, type WorldOptions } from "./world.ts";

const never = new Promise<never>(() => undefined);
/** What the channel's hook answers. */
let named: (userIds: readonly string[]) => Iterable<string> | Promise<Iterable<string>>;
let asked: (message: string) => boolean | Promise<boolean>;

const club = defineChannel("club", { authorizeMany: ({ userIds }) => named(userIds) });
const hall = defineChannel("hall", { authorize: ({ user }) => asked(user.id ?? "") });

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
  [named, asked, reports] = [(userIds) => userIds, () => true, []];
  gateway = await GatewayServer.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  await gateway.close();
});

const member = (channel: string) =>
  world.sql(`insert into sallyport_memberships select id, '${channel}', 1 from sallyport_sessions`);
const received = (body: string) => gateway.calls.filter((call) => call.body === `"${body}"`);

/**
 * Stops the clock by which hooks and pages are given up: what happens then does not wait for a hook that is silent. Only
 * `vi.advanceTimersByTimeAsync` moves it, and expect.poll() by its interval.
 */
const stopTimers = () => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
/** The time after which a silent hook counts as a no, in milliseconds. */
const HOOK_TIMEOUT_MS = 5000;
/** Moves the stopped clock past the time for hooks, and then on until the work is done. */
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
  test("takes the options of a send", async () => {
    await open();
    const ann = await world.connect("ann");
    await ann.result("ended");
    expect(reports).toMatchObject([{ recipients: 1, sent: 0, unsent: 1, cursor: "" }]);
    expect(await ann.call("misspelt")).toMatchObject({ ok: false, status: 500 });
    expect(world.errors.map(String).join()).toContain("signals");
  });

  test("keeps the order of sends that are not awaited, although the hook is slower for earlier ones", async () => {
    await open();
    let turns = 0;
    asked = async () => {
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

describe("a revocation", () => {
  test("does not wait for messages to the same socket that the gateway refuses for now", async () => {
    await open();
    await gateway.open(world, "g", "bob", 1, 1);
    gateway.answer = ({ body }) => (body === '"news"' ? 500 : 200);
    const sends = Array.from({ length: 5 }, () => world.sallyport.to({ user: "bob" }).send("news"));
    await expect.poll(() => received("news").length).toBeGreaterThan(0);
    const before = received("news").length;
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    expect(gateway.calls.map(({ method }) => method)).toContain("DELETE");
    expect(received("news").length - before).toBeLessThanOrEqual(1);
    const told = await Promise.all(sends);
    expect(told.every(({ sent }) => sent === 0)).toBe(true);
  });

  test("does not wait for a hook that does not answer about the next recipient", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 32);
    await gateway.open(world, "g", "bob", 33, 1);
    await member("club");
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    gateway.answer = async ({ body }) => {
      if (body === '"news"') await held;
      return 200;
    };
    const sending = world.sallyport.to({ channel: "club" }).send("news");
    await expect.poll(() => received("news").length).toBe(32);
    stopTimers();
    let questions = 0;
    named = () => {
      questions++;
      return never;
    };
    const rechecking = world.sallyport.access.recheck({ user: "bob" });
    await expect.poll(() => questions).toBe(1);
    letGo();
    // The send calls the hook as well, because the recheck marked Bob as changed.
    await expect.poll(() => questions).toBe(2);
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    expect(gateway.calls.some((call) => call.method === "DELETE" && call.connection === "00033=")).toBe(true);
    await afterHookTimeout(Promise.all([rechecking, sending]));
    expect(await sending).toMatchObject({ sent: 32, withheld: 1 });
  });

  test("of more than one page of sockets closes the others while a gateway does not answer, and renews its claim", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 500);
    const last = await world.connect("ann");
    let letGo = (_status: number) => {};
    const held = new Promise<number>((resolve) => {
      letGo = resolve;
    });
    gateway.answer = () => held;
    const revoking = world.sallyport.access.revoke("ann", chat.can_use_chat);
    expect((await last.closed).code).toBe(1000);
    // No call has been repeated: none of them had to time out first.
    const called = gateway.calls.map(({ connection }) => connection);
    expect(called).toHaveLength(new Set(called).size);
    const lease = async () => {
      const [row] = (await world.sql(`select claimed_until - ${NOW} as "left" from sallyport_evictions`)) as {
        left: number;
      }[];
      return row?.left;
    };
    expect(await lease()).toBeLessThanOrEqual(15_000);
    await world.sql("update sallyport_evictions set claimed_until = claimed_until - 5000");
    // Only a renewal makes the claim last longer than the ten seconds that are left now.
    await expect.poll(lease).toBeGreaterThan(10_000);
    letGo(410);
    await revoking;
    expect(await lease()).toBeUndefined();
    expect(world.errors).toEqual([]);
  });

  test("of more than one page of sockets closes the others while the hook does not answer about one page", async () => {
    await open();
    const { access } = world.sallyport;
    for (const user of ["ann", "cat"]) await access.addToGroup(user, "Crew");
    await access.grant({ group: "Crew" }, chat.can_use_chat);
    await gateway.open(world, "g", "ann", 1, 500);
    await member("hall");
    const last = await world.connect("cat");
    let times = 0;
    asked = () => {
      times++;
      return never;
    };
    stopTimers();
    const revoking = access.revoke({ group: "Crew" }, chat.can_use_chat);
    await expect.poll(() => last.isClosed).toBe(true);
    // No hook has been given up by now.
    expect(world.errors).toEqual([]);
    await afterHookTimeout(revoking);
    expect(times).toBe(500);
    expect(await world.sql("select session_id from sallyport_memberships")).toEqual([]);
  });

  test("made by another process reaches a process that only sends, before it has sent to everyone", async () => {
    await open();
    await gateway.open(world, "g", "bob", 1, 120);
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    gateway.answer = async ({ body }) => {
      if (body === '"news"' && received("news").length > 10) await held;
      return 200;
    };
    let looks = 0;
    const worker = world.sallyport.with({
      storage: observedStorageAt(world.database, () => looks++),
      apiGateway: { concurrency: 1, maxRequestsPerSecond: false },
    });
    const sending = worker.to({ user: "bob" }).send("news");
    await expect.poll(() => received("news").length).toBe(11);
    await world.sql("delete from sallyport_user_permissions where user_id = 'bob'");
    await world.sallyport.access.recheck({ user: "bob" });
    // The first look after the change has finished when the second one after it begins.
    const before = looks;
    await expect.poll(() => looks).toBeGreaterThan(before + 1);
    letGo();
    expect(await sending).toMatchObject({ sent: 11, withheld: 109, failed: 0 });
    expect(received("news")).toHaveLength(11);
    await worker.close();
  });
});

describe("a send whose hook says nothing", () => {
  test("can be ended, and the next one to the channel goes ahead", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 3);
    await member("club");
    let questions = 0;
    named = () => {
      questions++;
      return never;
    };
    const ending = new AbortController();
    const silent = world.sallyport.to({ channel: "club" }).send("one", { signal: ending.signal });
    await expect.poll(() => questions).toBe(1);
    named = (userIds) => userIds;
    const next = world.sallyport.to({ channel: "club" }).send("two");
    ending.abort();
    expect(await silent).toMatchObject({ sent: 0, unsent: 3, cursor: "" });
    expect(await next).toMatchObject({ sent: 3 });
  });

  test("denies the message to users that the hook does not name within five seconds", async () => {
    await open();
    await gateway.open(world, "g", "ann", 1, 3);
    await member("club");
    stopTimers();
    let isAsked = false;
    named = () => {
      isAsked = true;
      return never;
    };
    const sending = world.sallyport.to({ channel: "club" }).send("one");
    await expect.poll(() => isAsked).toBe(true);
    await afterHookTimeout(sending);
    expect(await sending).toMatchObject({ withheld: 3 });
    expect(world.errors.map(String).join()).toContain("authorizeMany has not answered for 5000 ms");
  });
});

test("closing the app ends a send in flight, after which it sends nothing", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 300);
  const worker = world.sallyport.with({
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
  // Time in which a send that still ran would have sent more.
  await world.sallyport.to("everyone").send("later");
  expect(received("later")).toHaveLength(300);
  expect(received("news")).toHaveLength(then);
});

test("closing the app while it enforces closes the sockets first", async () => {
  await open();
  await gateway.open(world, "g", "bob", 1, 3);
  const worker = world.sallyport.with({ storage: storageAt(world.database) });
  let letGo = () => {};
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  gateway.answer = async () => {
    await held;
    return 200;
  };
  const revoking = worker.access.revoke("bob", chat.can_use_chat);
  await expect.poll(() => gateway.calls.length).toBe(3);
  const closing = worker.close();
  letGo();
  await closing;
  expect(gateway.calls.filter(({ method }) => method === "DELETE")).toHaveLength(3);
  await revoking.catch(() => undefined);
});

describe("closing it while a gateway says nothing", () => {
  test.each([
    ["a call of its own", (worker: Sallyport) => worker.access.revoke("bob", chat.can_use_chat)],
    [
      "its loop",
      async (worker: Sallyport) => {
        await world.sql("delete from sallyport_user_permissions where user_id = 'bob'");
        await world.sql(
          "insert into sallyport_evictions (id, scope, subject, created_at) values ('left', 'user', 'bob', 1)",
        );
        worker.start();
      },
    ],
  ])("leaves the record that %s has in hand to others, and tells of no socket", async (_whose, revoke) => {
    // The world's own process leaves the record alone meanwhile.
    const { storage, release } = withHeldLooks();
    await open({ storage });
    await gateway.open(world, "g", "bob", 1, 600);
    const failures: unknown[] = [];
    const worker = world.sallyport.with({
      storage: storageAt(world.database),
      onError: (error, where) => failures.push(`${where}: ${error}`),
    });
    gateway.answer = () => never;
    const revoking = revoke(worker).catch(() => undefined);
    await expect.poll(() => gateway.calls.length).toBeGreaterThan(1);
    await worker.close();
    await revoking;
    expect(await world.sql("select id from sallyport_evictions")).toHaveLength(1);
    expect(failures).toEqual(["enforcing a change of user bob: Error: The app was closed meanwhile."]);
    release();
  });
});

test("closing the app while hooks run for thousands of connections calls them for no more connections", async () => {
  await open();
  await gateway.open(world, "g", "ann", 1, 1500);
  await member("hall");
  let times = 0;
  asked = () => {
    times++;
    return never;
  };
  const worker = world.sallyport.with({ storage: storageAt(world.database), onError: () => undefined });
  stopTimers();
  const rechecking = worker.access.recheck({ user: "ann" });
  await expect.poll(() => times).toBe(500);
  await worker.close();
  // The hooks of the next page would be called now.
  await afterHookTimeout(rechecking);
  expect(times).toBe(500);
});

test("a large revocation does not hold up a small one at the same gateway", async () => {
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
  let isOver = false;
  const small = world.sallyport.access.revoke("bob", chat.can_use_chat).finally(() => {
    isOver = true;
  });
  // Eight calls are answered in a millisecond of the stopped clock. On a busy machine a gateway could seem to have stopped answering,
  // and then one page does not wait for the one before.
  while (!isOver) {
    for (const answer of held.splice(0, 8)) answer();
    vi.advanceTimersByTime(1);
    await nextTurn();
  }
  await small;
  const meanwhile = gateway.calls.length - before;
  isHeld = false;
  for (const answer of held) answer();
  // One page waits in front of its notice, and one in front of its close: 500 notices and 500 closes each.
  expect(meanwhile).toBeLessThan(3000);
  await large;
  expect(gateway.calls.filter(({ method }) => method === "DELETE")).toHaveLength(6001);
});

test("rows of those who are gone that cannot be closed are told, and the send has succeeded", async () => {
  let fails = false;
  const failing = (storage: Database) =>
    changedStorage(storage, {
      writeBeside: (work, options) =>
        fails ? Promise.reject(new Error("the disk is full")) : storage.writeBeside(work, options),
    });
  await open({ storage: (source) => failing(storageAt(source)) });
  await gateway.open(world, "g", "ann", 1, 3);
  gateway.answer = () => 410;
  fails = true;
  expect(await world.sallyport.to("everyone").send("news")).toMatchObject({ gone: 3, cursor: null });
  expect(world.errors.map(String)).toContain("Error: the disk is full");
  fails = false;
});

test("whoever is told of progress may be async, and may fail", async () => {
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
