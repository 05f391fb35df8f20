import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { type LocalGatewayOptions, ManualClock } from "../../../src/local/emulator.ts";
import { frameOf, RawClient } from "../../local/rig.ts";
import {
  at,
  type Connected,
  connected,
  type Desk,
  echo,
  expectErrorFrame,
  handshake,
  headerOf,
  idOf,
  manage,
  onDesk,
  openBackend,
  openDesk,
  route,
  say,
  write,
} from "./desk.ts";

const KB = 1024;
const MINUTE_MS = 60_000;

/** A message that asks to be answered, of just so many bytes. */
function filled(bytes: number): string {
  const start = '{"answer":{"body":"got it"},"filler":"';
  return `${start}${"x".repeat(bytes - start.length - 2)}"}`;
}

/** Sends a message in frames of so many bytes. */
function sendCut({ client }: Connected, text: string, frameBytes: number): void {
  for (let start = 0; start < text.length; start += frameBytes) {
    const end = start + frameBytes;
    client.socket.send(text.slice(start, end), { fin: end >= text.length });
  }
}

/** How a client was closed, and that its $disconnect said so and no message was heard of. */
async function expectClosed(arrived: Connected, code: number): Promise<void> {
  expect((await arrived.client.closed).code).toBe(code);
  expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe(`${code}`);
  expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
}

describe("4 sizes", () => {
  test("4 a frame of 32 KB arrives", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send(filled(32 * KB));
    expect(await arrived.client.text()).toBe("got it");
  });

  test("4 a frame of one byte more closes the socket with 1009", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send(filled(32 * KB + 1));
    await expectClosed(arrived, 1009);
  });

  test("4 so does a later frame of a message", async () => {
    const arrived = await connected(await openDesk());
    arrived.client.socket.send("x", { fin: false });
    arrived.client.socket.send("x".repeat(32 * KB + 1), { fin: true });
    await expectClosed(arrived, 1009);
  });

  test("4 a message of 128 KB in frames of 32 KB arrives whole", async () => {
    const arrived = await connected(await openDesk());
    const text = filled(128 * KB);
    sendCut(arrived, text, 32 * KB);
    expect(await arrived.client.text()).toBe("got it");
    expect((await arrived.called("default")).body).toBe(text);
  });

  test("4 a message of one byte more, however it is cut, closes the socket with 1009", async () => {
    for (const frameBytes of [32 * KB, 1000]) {
      const arrived = await connected(await openDesk());
      sendCut(arrived, filled(128 * KB + 1), frameBytes);
      await expectClosed(arrived, 1009);
    }
  });

  onDesk("4 a message may come in any number of frames, and 1008 is never seen", "patience", async () => {
    const arrived = await connected(await openDesk());
    const text = filled(20_000);
    const empty = frameOf("", { opcode: 0, fin: false });
    const frames = [...text].map((character, index) =>
      frameOf(character, { opcode: index === 0 ? 1 : 0, fin: index === text.length - 1 }),
    );
    write(
      arrived,
      Buffer.concat([...frames.slice(0, -1), ...Array(20_000).fill(empty), ...frames.slice(-1)]),
    );
    expect(await arrived.client.text()).toBe("got it");
    expect((await arrived.called("default")).body).toBe(text);
  });

  onDesk("4 one that is too long in such frames closes the socket with 1009", "patience", async () => {
    const arrived = await connected(await openDesk());
    const more = Array(128 * KB).fill(frameOf("x", { opcode: 0, fin: false }));
    write(arrived, Buffer.concat([frameOf("x", { fin: false }), ...more]));
    await expectClosed(arrived, 1009);
  });

  test("4 an answer of 128 KB arrives whole", async () => {
    const arrived = await connected(await openDesk());
    // What is asked for must fit into a message itself, so each of these characters is two bytes of the answer.
    const body = "ü".repeat(64 * KB - 32);
    sendCut(arrived, JSON.stringify({ answer: { body } }), 8 * KB);
    expect(await arrived.client.text()).toBe(body);
  });

  test("4 a URL of 4096 characters is taken, and a longer one refused", async () => {
    const desk = await openDesk();
    const { pathname, href } = new URL(desk.url);
    const spare = 4096 - `${pathname}?filler=&case=0123456789abcdef`.length;
    const statusOf = async (characters: number) => {
      const url = `${href}?filler=${"x".repeat(characters)}`;
      return (await handshake({ url, backend: desk.backend })).status;
    };
    expect([await statusOf(spare), await statusOf(spare + 1)]).toEqual([101, 414]);
  });
});

describe("4 headers", () => {
  onDesk("4 headers of 10 240 bytes are taken, and more are 431", "bytes that are counted", async () => {
    const desk = await openDesk();
    const statusOf = async (bytes: number) => {
      const raw = new RawClient(desk.local.port);
      // Names and values of those that every upgrade request here has.
      const others = 110;
      raw.upgrade("/dev", [`x-filler: ${"x".repeat(bytes - others - "x-filler".length)}`]);
      return /^HTTP\/1\.1 (\d+)/.exec(await raw.head())?.[1];
    };
    expect([await statusOf(10_240), await statusOf(10_241)]).toEqual(["101", "431"]);
  });
});

describe("4 frames that break the protocol", () => {
  test("4 text that is no UTF-8 closes the socket with 1007", async () => {
    const arrived = await connected(await openDesk());
    write(arrived, frameOf(Buffer.from([0xc3, 0x28])));
    await expectClosed(arrived, 1007);
  });

  const text = frameOf("a");
  test.each([
    ["a frame without a mask", Buffer.from([0x81, 0x01, 0x61])],
    // The first reserved bit says that a message is compressed.
    ["a reserved bit", Buffer.concat([Buffer.from([0xa1]), text.subarray(1)])],
    ["an opcode that there is not", frameOf("a", { opcode: 5 })],
    ["a continuation of nothing", frameOf("a", { opcode: 0 })],
    ["a ping in pieces", frameOf("a", { opcode: 9, fin: false })],
  ])("4 %s closes the socket with 1002", async (_what, bytes) => {
    const arrived = await connected(await openDesk());
    write(arrived, bytes);
    await expectClosed(arrived, 1002);
  });
});

/** A desk whose time stands still until it is put forward, with a client. */
async function waiting(
  options: Partial<LocalGatewayOptions> = {},
): Promise<{ desk: Desk; clock: ManualClock; arrived: Connected }> {
  const clock = new ManualClock();
  const desk = await openDesk({ clock, ...options });
  const arrived = await connected(desk);
  await idOf(arrived);
  return { desk, clock, arrived };
}

async function expectGoneAway(arrived: Connected): Promise<void> {
  expect(await arrived.client.closed).toEqual({ code: 1001, reason: "Going away" });
  const gone = await arrived.called("disconnect");
  expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
  expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Going away");
}

const CLOCK = "a clock that is put forward";

describe("4 time", () => {
  onDesk("4 ten minutes of silence end a connection with 1001 Going away, and no sooner", CLOCK, async () => {
    const { desk, clock, arrived } = await waiting();
    clock.advance(10 * MINUTE_MS - 1);
    expect((await manage(desk, "GET", at(await idOf(arrived)))).status).toBe(200);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  onDesk("4 a client's message keeps it open for ten minutes more", CLOCK, async () => {
    const { desk, clock, arrived } = await waiting({ routeResponses: false });
    clock.advance(9 * MINUTE_MS);
    say(arrived, {});
    await arrived.called("default");
    clock.advance(10 * MINUTE_MS - 1);
    expect(desk.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  onDesk("4 an answer keeps it open for ten minutes more", CLOCK, async () => {
    const { desk, clock, arrived } = await waiting();
    say(arrived, { body: "late", hold: true });
    await arrived.called("default");
    clock.advance(9 * MINUTE_MS);
    await arrived.release();
    expect(await arrived.client.text()).toBe("late");
    clock.advance(10 * MINUTE_MS - 1);
    expect(desk.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  onDesk("4 a post keeps it open for ten minutes more", CLOCK, async () => {
    const { desk, clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    expect((await manage(desk, "POST", at(await idOf(arrived)), "hello")).status).toBe(200);
    clock.advance(10 * MINUTE_MS - 1);
    expect(desk.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  onDesk("4 asking after it does not keep it open", CLOCK, async () => {
    const { desk, clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    expect((await manage(desk, "GET", at(await idOf(arrived)))).status).toBe(200);
    clock.advance(MINUTE_MS);
    await expectGoneAway(arrived);
  });

  test("§9.11 a ping is answered, with what it says", async () => {
    const { client } = await connected(await openDesk());
    client.socket.ping("tick");
    expect(String((await once(client.socket, "pong"))[0])).toBe("tick");
  });

  onDesk("§9.11 pings and pongs do not keep it open", CLOCK, async () => {
    const { clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    arrived.client.socket.pong();
    arrived.client.socket.ping();
    await once(arrived.client.socket, "pong");
    clock.advance(MINUTE_MS);
    await expectGoneAway(arrived);
  });

  onDesk("4 the gateway itself sends no pings", CLOCK, async () => {
    const { clock, arrived } = await waiting();
    let pings = 0;
    arrived.client.socket.on("ping", () => pings++);
    for (let minutes = 0; minutes < 60; minutes += 6) {
      clock.advance(6 * MINUTE_MS);
      await echo(arrived, "still here");
    }
    expect(pings).toBe(0);
  });

  onDesk(
    "§9.10 two hours end it with 1001 Going away, however busy it is, and no sooner",
    CLOCK,
    async () => {
      const { desk, clock, arrived } = await waiting();
      for (let minutes = 0; minutes < 120; minutes += 8) {
        if (minutes > 0) await echo(arrived, "busy");
        clock.advance(8 * MINUTE_MS - (minutes === 112 ? 1 : 0));
      }
      expect(desk.local.connectionCount).toBe(1);
      clock.advance(1);
      await expectGoneAway(arrived);
    },
  );

  onDesk("§9.10 how long it may be silent can be set", CLOCK, async () => {
    const { clock, arrived } = await waiting({ idleTimeoutMs: 5000 });
    clock.advance(4999);
    await echo(arrived, "here");
    clock.advance(5000);
    await expectGoneAway(arrived);
  });

  onDesk("§9.10 how long it may last can be set", CLOCK, async () => {
    const { clock, arrived } = await waiting({ maxConnectionMs: 5000 });
    clock.advance(4999);
    await echo(arrived, "here");
    clock.advance(1);
    await expectGoneAway(arrived);
  });
});

const THROTTLING = "a stage with a small throttle";

/** A desk whose stage takes two at once of each route, and one a second. */
async function throttled(
  options: Partial<LocalGatewayOptions> = {},
  throttling = { ratePerSecond: 1, burst: 2 },
): Promise<{ desk: Desk; clock: ManualClock }> {
  const clock = new ManualClock();
  const backend = await openBackend();
  const routes = {
    $connect: route(backend, "connect"),
    $default: route(backend, "default", { routeResponse: true }),
    custom: route(backend, "custom", { routeResponse: true }),
  };
  const apis = [{ routes, stages: { dev: { throttling }, free: {} } }];
  return { clock, desk: await openDesk({ clock, apis, ...options }, backend) };
}

describe("4 throttling", () => {
  onDesk("1.2 more connects than a stage takes are 429", THROTTLING, async () => {
    const { desk } = await throttled();
    const answers = [await handshake(desk), await handshake(desk), await handshake(desk)];
    expect(answers.map(({ status }) => status)).toEqual([101, 101, 429]);
  });

  onDesk("§9.3 such a refusal says LimitExceededException and Too Many Requests", THROTTLING, async () => {
    const { desk } = await throttled({}, { ratePerSecond: 0, burst: 0 });
    const { headers, body } = await handshake(desk);
    expect([headers["x-amzn-errortype"], headers.connection]).toEqual(["LimitExceededException", "close"]);
    expect(body).toBe('{"message":"Too Many Requests"}');
  });

  onDesk("4 after a second there is room for as many as the rate says", THROTTLING, async () => {
    const { desk, clock } = await throttled();
    for (const _ of [1, 2]) await handshake(desk);
    clock.advance(999);
    expect((await handshake(desk)).status).toBe(429);
    clock.advance(1);
    expect((await handshake(desk)).status).toBe(101);
    expect((await handshake(desk)).status).toBe(429);
  });

  onDesk("4 however long it was quiet, no more than the burst are taken at once", THROTTLING, async () => {
    const { desk, clock } = await throttled();
    expect((await handshake(desk)).status).toBe(101);
    clock.advance(60 * MINUTE_MS);
    const answers = [await handshake(desk), await handshake(desk), await handshake(desk)];
    expect(answers.map(({ status }) => status)).toEqual([101, 101, 429]);
  });

  for (const burst of [0, 5]) {
    onDesk(`4 a rate of 0 with a burst of ${burst} refuses every connect with 429`, THROTTLING, async () => {
      const { desk, clock } = await throttled({}, { ratePerSecond: 0, burst });
      expect((await handshake(desk)).status).toBe(429);
      clock.advance(60 * MINUTE_MS);
      expect((await handshake(desk)).status).toBe(429);
    });
  }

  onDesk("4 each route has a throttle of its own", THROTTLING, async () => {
    const { desk } = await throttled();
    const arrived = await connected(desk);
    for (const action of ["none", "none", "custom", "custom"])
      expect(await echo(arrived, "ok", { action })).toBe("ok");
    expect((await handshake(desk)).status).toBe(101);
  });

  onDesk("4 another stage has its own as well", THROTTLING, async () => {
    const { desk } = await throttled();
    for (const _ of [1, 2, 3]) await handshake(desk);
    const free = { url: desk.url.replace(/dev$/, "free"), backend: desk.backend };
    for (const _ of [1, 2, 3]) expect((await handshake(free)).status).toBe(101);
  });

  onDesk("§9.5 a message too many is lost without a word, and never closes", THROTTLING, async () => {
    const { desk, clock } = await throttled();
    const arrived = await connected(desk);
    for (const body of ["one", "two", "lost", "lost"]) say(arrived, { body });
    const answers = [await arrived.client.text(), await arrived.client.text()];
    clock.advance(1000);
    expect([...answers.sort(), await echo(arrived, "later")]).toEqual(["one", "two", "later"]);
    expect(await arrived.kinds()).toEqual(["connect", "default", "default", "default"]);
  });

  onDesk("§9.5 by a switch it is answered with a frame", THROTTLING, async () => {
    const { desk } = await throttled({ onThrottledMessage: "errorFrame" });
    const arrived = await connected(desk);
    for (const _ of [1, 2]) await echo(arrived, "ok");
    say(arrived, { body: "lost" });
    expectErrorFrame(await arrived.client.text(), "Too Many Requests", await idOf(arrived));
    expect(await arrived.kinds()).toEqual(["connect", "default", "default"]);
  });

  onDesk(
    "5.3 the Management API is 429 LimitExceeded without a body when it has had enough",
    THROTTLING,
    async () => {
      const { desk, clock } = await throttled({ managementThrottling: { ratePerSecond: 1, burst: 1 } });
      const path = at(await idOf(await connected(desk)));
      for (const method of ["POST", "GET", "DELETE"] as const) {
        clock.advance(1000);
        expect((await manage(desk, "GET", path)).status).toBe(200);
        const { status, headers, body } = await manage(desk, method, path);
        expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      }
      clock.advance(1000);
      expect((await manage(desk, "GET", path)).status).toBe(200);
    },
  );
});
