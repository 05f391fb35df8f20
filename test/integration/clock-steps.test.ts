import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { INTERNAL } from "../../src/internal.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import { ClockedDatabase } from "../../src/storage/sql/clocked-database.ts";
import { changedStorage, databaseTime, searching, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { statusOf, World, type WorldOptions } from "./world.ts";

const HOUR_MS = 3_600_000;
const DIRECTIONS: readonly (readonly [string, number])[] = [
  ["back", -HOUR_MS],
  ["forward", HOUR_MS],
];

let world: World;

/** Opens an app with its database and processes on one machine, so that they use the same clock. */
async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    storage: (source) => new ClockedDatabase(storageAt(searching(source))),
    ...options,
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
}
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  expect(world.errors).toEqual([]);
});

/** Moves the clock of the machine. The monotonic clocks of the processes do not change. */
async function step(ms: number): Promise<void> {
  vi.setSystemTime(Date.now() + ms);
  await world.sql(`update sallyport_test_clock set offset_ms = offset_ms + (${ms})`);
}

/** Returns by how much the clock was moved so far, in milliseconds. */
async function offset(): Promise<number> {
  const [row] = (await world.sql("select offset_ms from sallyport_test_clock")) as { offset_ms: number }[];
  return Number(row?.offset_ms);
}

describe.each(DIRECTIONS)("a clock that is set %s by one hour", (_direction, ms) => {
  test("closes no connection and accepts new ones", async () => {
    await open();
    const ann = await world.connect("ann", { channel: "rooms/a" });
    await step(ms);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    const other = await world.connect("ann", { channel: "rooms/a" });
    await other.result("send_message", { message: "hello" });
    await ann.message("chat_message");
    expect(ann.isClosed).toBe(false);
  });

  test("does not extend a limit beyond one minute", async () => {
    await open({ limits: { connectsPerUser: 2, tokensPerUser: 3 } });
    for (let n = 0; n < 2; n++) await world.connect("ann");
    expect(await statusOf(world.connect("ann"))).toBe(429);
    expect((await world.requestToken("ann")).status).toBe(429);
    await step(ms);
    await world.connect("ann");
    await world.connect("ann");
    const denied = await world.requestToken("ann").then(() => world.requestToken("ann"));
    expect(denied.status).toBe(429);
    expect(Number(denied.headers.get("retry-after"))).toBeLessThanOrEqual(60);
  });

  test("expires tokens that were issued before", async () => {
    await open();
    const token = await world.token("ann");
    await step(ms);
    expect(await statusOf(world.connect("ann", { token }))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-expired" });
    await world.connect("ann");
  });

  test("does not delay a revocation", async () => {
    await open();
    const ann = await world.connect("ann");
    await step(ms);
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    await ann.closed;
  });
});

describe.each(DIRECTIONS)("after a clock was set %s by one hour", (_direction, ms) => {
  /** The number of polls for changes of other processes that the app has begun. */
  let polls: number;
  /** Whether a poll returns that another process may have written. */
  let isChangeSeen: boolean;
  /** An app in another process. It serves no events, so its own poller does not run. */
  let other: Sallyport;
  let gateway: GatewayServer;

  const clocked = (source: string) => {
    const storage = storageAt(searching(source));
    return new ClockedDatabase(
      changedStorage(storage, {
        pollExternalChanges: async () => {
          polls++;
          return (await storage.pollExternalChanges()) && isChangeSeen;
        },
      }),
    );
  };

  beforeEach(async () => {
    [polls, isChangeSeen] = [0, true];
    gateway = await GatewayServer.start();
    await open({
      instances: 1,
      storage: clocked,
      apiGateway: { concurrency: 4, maxRequestsPerSecond: false },
      limits: { connectionsPerUser: false },
    });
    other = world.sallyport[INTERNAL].with({
      storage: new ClockedDatabase(storageAt(searching(world.database))),
    });
  });
  afterEach(async () => {
    await other.close();
    await gateway.close();
  });

  /** Waits until a poll that began after this call has finished. */
  async function polled(): Promise<void> {
    const before = polls;
    await expect.poll(() => polls).toBeGreaterThan(before + 1);
  }

  test("a grant whose end another process has written ends at that time", async () => {
    const ann = await world.connect("ann", { channel: "rooms/a" });
    await polled();
    // Without a change, the poller looks for expired grants at an interval.
    isChangeSeen = false;
    await step(ms);
    const until = (await databaseTime(world.database)) + (await offset()) + 60_000;
    await other.access.grant("ann", chat.can_use_chat, { until });
    await polled();
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    // The clock reaches the end.
    await step(60_001);
    await ann.closed;
  });

  test("a revocation of another process reaches a send that is in flight", async () => {
    await gateway.open(world, "g", "ann", 1, 4);
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    await gateway.open(world, "g", "bob", 5, 20);
    let release: (status: number) => void = () => undefined;
    const held = new Promise<number>((resolve) => {
      release = resolve;
    });
    gateway.answer = ({ connection }) => (connection <= "00004=" ? held : 200);
    world.sallyport[INTERNAL].start();
    await polled();
    const sending = world.sallyport.to("everyone").send("news");
    await expect.poll(() => gateway.calls.length).toBe(4);
    await step(ms);
    await other.access.revoke("bob", chat.can_use_chat);
    await polled();
    release(200);
    expect(await sending).toMatchObject({ sent: 4 });
    const received = gateway.calls.filter(({ body }) => body === '"news"');
    expect(received.map(({ connection }) => connection).sort()).toEqual([
      "00001=",
      "00002=",
      "00003=",
      "00004=",
    ]);
  });

  test("the lease of a process that has exited does not delay a revocation by an hour", async () => {
    const ann = await world.connect("ann");
    // The process exits after its commit, and nothing renews its lease.
    await other.close();
    await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
    const now = (await databaseTime(world.database)) + (await offset());
    await world.sql(`insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('left', 'user', 'ann', ${now}, 'exited', ${now} + 15000)`);
    await polled();
    expect(ann.isClosed).toBe(false);
    await step(ms);
    await ann.closed;
    await expect.poll(() => world.sql("select id from sallyport_revocations")).toEqual([]);
  });
});

test("a cleanup with the clock 30 hours ahead closes connections, which can connect again", async () => {
  await open();
  const ann = await world.connect("ann");
  await step(30 * HOUR_MS);
  await world.sallyport.cleanup();
  await step(-30 * HOUR_MS);
  // The clock is correct again, and the connection is old enough to be closed as orphaned.
  await step(HOUR_MS);
  ann.send({ id: 1, handler: "whoami" });
  await ann.closed;
  expect(await (await world.connect("ann")).result("whoami")).toMatchObject({ user: "ann" });
});
