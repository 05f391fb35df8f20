import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ChatView, channels, chat } from "./chat.ts";
import { ORIGIN, World, type WorldOptions } from "./world.ts";

const views = { "/ws/chat": ChatView };
let world: World;

async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  await world?.close();
  world = await World.open({ permissions: [chat], channels, views, ...options });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await world.sallyport.access.grant("bob", chat.can_use_chat);
}

beforeEach(() => open());
afterEach(() => world.close());

/** Moves the start of every window of a limit back. */
const age = (ms: number) =>
  world.sql(`update sallyport_counters set window_started_at = window_started_at - ${ms}`);

/** A `$connect` as the gateway makes it, for tests that read the headers of its answer. */
const connectEvent = (token: string, user: string, connectionId: string) =>
  world.event(`/ws/chat/connect?ws_token=${token}`, {
    connectionId,
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "203.0.113.5",
    origin: ORIGIN,
    cookie: `login=${user}:login-of-${user}`,
  });

describe("Retry-After", () => {
  test("is the time until the window of tokensPerUser ends", async () => {
    await open({ limits: { tokensPerUser: 1 } });
    await world.token("ann");
    await age(20_000);
    const response = await world.requestToken("ann");
    expect(response.status).toBe(429);
    const seconds = Number(response.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(1);
    expect(seconds).toBeLessThanOrEqual(40);
  });

  test("is the time until the window of connectsPerUser ends", async () => {
    await open({ limits: { connectsPerUser: 1 } });
    expect((await connectEvent(await world.token("ann"), "ann", "AAAAAAAAAAAAAAA=")).status).toBe(200);
    await age(20_000);
    const response = await connectEvent(await world.token("ann"), "ann", "BBBBBBBBBBBBBBB=");
    expect(response.status).toBe(429);
    const seconds = Number(response.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(1);
    expect(seconds).toBeLessThanOrEqual(40);
  });

  test("can be read by a page on another origin, on success and on denial", async () => {
    await open({ limits: { tokensPerUser: 1 } });
    for (const status of [200, 429]) {
      const response = await world.requestToken("ann");
      expect(response.status).toBe(status);
      expect(response.headers.get("access-control-expose-headers")).toBe("retry-after");
    }
    const foreign = await world.requestToken("ann", undefined, "https://evil.test");
    expect(foreign.status).toBe(403);
    expect(foreign.headers.get("access-control-expose-headers")).toBeNull();
  });
});
