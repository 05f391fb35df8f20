import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ClockedDatabase } from "../../src/storage/sql/clocked-database.ts";
import { searching, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
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
