import { describe, expect, test } from "vitest";
import { ManualClock } from "../../../src/local/emulator.ts";
import {
  arriving,
  at,
  connected,
  handshake,
  headerOf,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  say,
} from "./desk.ts";

const KB = 1024;
const MINUTE_MS = 60_000;

describe("4 sizes", () => {
  test("4 a message of 128 KB in frames of 32 KB arrives whole", async () => {
    const arrived = await connected(await openDesk());
    const text = JSON.stringify({ answer: { body: "got it" }, filler: "" });
    const whole = `${text.slice(0, -2)}${"x".repeat(128 * KB - text.length)}"}`;
    expect(whole).toHaveLength(128 * KB);
    for (let start = 0; start < whole.length; start += 32 * KB)
      arrived.client.socket.send(whole.slice(start, start + 32 * KB), {
        fin: start + 32 * KB >= whole.length,
      });
    expect(await arrived.client.text()).toBe("got it");
    expect((await arrived.called("default")).body).toBe(whole);
  });

  test("4 a frame over 32 KB closes the socket with 1009", async () => {
    const { client } = await connected(await openDesk());
    client.socket.send("x".repeat(32 * KB + 1));
    expect((await client.closed).code).toBe(1009);
  });

  test("4 a message over 128 KB, however it is cut, closes the socket with 1009", async () => {
    const { client } = await connected(await openDesk());
    for (let count = 0; count < 5; count++) client.socket.send("x".repeat(32 * KB), { fin: count === 4 });
    expect((await client.closed).code).toBe(1009);
  });

  onDesk("4 an URL of more than 4096 characters is refused", async () => {
    const desk = await openDesk();
    expect(await handshake(desk, {}, { query: { filler: "x".repeat(4096) } })).toBe(414);
  });
});

describe("4 time", () => {
  onDesk("4 ten minutes of silence end a connection with 1001 Going away", async () => {
    const clock = new ManualClock();
    const desk = await openDesk({ clock });
    const arrived = await connected(desk);
    clock.advance(10 * MINUTE_MS - 1);
    expect(desk.local.connectionCount).toBe(1);
    clock.advance(1);
    expect(await arrived.client.closed).toEqual({ code: 1001, reason: "Going away" });
    const gone = await arrived.called("disconnect");
    expect([
      headerOf(gone, "x-sallyport-disconnect-code"),
      headerOf(gone, "x-sallyport-disconnect-reason"),
    ]).toEqual(["1001", "Going away"]);
  });

  onDesk("4 data in either direction keeps it open, and pings do not", async () => {
    const clock = new ManualClock();
    const desk = await openDesk({ clock });
    const arrived = await connected(desk);
    const id = await idOf(arrived);
    clock.advance(9 * MINUTE_MS);
    say(arrived, { body: "ok" });
    await arrived.client.text();
    clock.advance(9 * MINUTE_MS);
    expect((await manage(desk, "POST", at(id), "hello")).status).toBe(200);
    expect(await arrived.client.text()).toBe("hello");
    clock.advance(9 * MINUTE_MS);
    const ponged = new Promise<void>((resolve) => arrived.client.socket.once("pong", () => resolve()));
    arrived.client.socket.ping();
    await ponged;
    expect(desk.local.connectionCount).toBe(1);
    clock.advance(MINUTE_MS);
    expect((await arrived.client.closed).code).toBe(1001);
  });

  onDesk("4 two hours end it, however busy it is", async () => {
    const clock = new ManualClock();
    const desk = await openDesk({ clock });
    const arrived = await connected(desk);
    for (let minutes = 0; minutes < 119; minutes += 7) {
      clock.advance(7 * MINUTE_MS);
      say(arrived, { body: "ok" });
      await arrived.client.text();
    }
    clock.advance(MINUTE_MS);
    expect((await arrived.client.closed).code).toBe(1001);
  });
});

describe("4 throttling", () => {
  /** An API whose stage takes two at once and one a second, of each route. */
  async function throttled(onThrottledMessage?: "errorFrame") {
    const clock = new ManualClock();
    const backend = await openBackend();
    const route = (kind: string) => ({
      integration: {
        type: "HTTP_PROXY" as const,
        uri: `${backend.origin}/ws/${kind}`,
        requestParameters: { "integration.request.header.connectionId": "context.connectionId" },
      },
      routeResponse: true,
    });
    const desk = await openDesk({
      clock,
      ...(onThrottledMessage ? { onThrottledMessage } : {}),
      apis: [
        {
          routes: { $connect: route("connect"), $default: route("default") },
          stages: { dev: { throttling: { ratePerSecond: 1, burst: 2 } } },
        },
      ],
    });
    return { clock, desk: { ...desk, backend: backend.origin } };
  }

  onDesk("4 more connects than a stage takes are 429, until there is room again", async () => {
    const { clock, desk } = await throttled();
    expect(await handshake(desk)).toBe(101);
    expect(await handshake(desk)).toBe(101);
    expect(await handshake(desk)).toBe(429);
    clock.advance(1000);
    expect(await handshake(desk)).toBe(101);
    expect(await handshake(desk)).toBe(429);
  });

  onDesk(
    "4, §9.5 a message too many is lost without a word and never closes, or gets a frame by the switch",
    async () => {
      const quiet = await throttled();
      const one = await connected(quiet.desk);
      for (let count = 0; count < 3; count++) say(one, { body: String(count) });
      expect([await one.client.text(), await one.client.text()].sort()).toEqual(["0", "1"]);
      quiet.clock.advance(1000);
      say(one, { body: "later" });
      expect(await one.client.text()).toBe("later");
      expect((await one.calls()).filter(({ kind }) => kind === "default")).toHaveLength(3);
      const loud = await throttled("errorFrame");
      const other = await connected(loud.desk);
      for (let count = 0; count < 3; count++) other.client.socket.send("");
      const texts = [await other.client.text(), await other.client.text(), await other.client.text()];
      expect(
        texts.filter((text) => text.startsWith('{"message": "Too Many Requests", "connectionId":')),
      ).toHaveLength(1);
    },
  );

  onDesk("5.3 the Management API says 429 LimitExceeded when it has had enough", async () => {
    const clock = new ManualClock();
    const desk = await openDesk({ clock, managementThrottling: { ratePerSecond: 1, burst: 1 } });
    const id = await idOf(await connected(desk));
    expect((await manage(desk, "POST", at(id), "a")).status).toBe(200);
    const refused = await manage(desk, "POST", at(id), "b");
    expect([refused.status, refused.headers["x-amzn-errortype"], refused.body]).toEqual([
      429,
      "LimitExceededException",
      "",
    ]);
    clock.advance(1000);
    expect((await manage(desk, "POST", at(id), "c")).status).toBe(200);
  });
});

test("1.1 the first message of a client is routed after its $connect was answered", async () => {
  const arrived = arriving(await openDesk(), { delayMs: 100 });
  await arrived.client.opened;
  say(arrived, { body: "ok" });
  await arrived.client.text();
  expect((await arrived.calls()).map(({ kind }) => kind)).toEqual(["connect", "default"]);
});
