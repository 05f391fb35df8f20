import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { type LocalGatewayOptions, ManualClock } from "../../../src/local/emulator.ts";
import { frameOf, RawClient } from "../../local/rig.ts";
import {
  at,
  type Connected,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  handshake,
  headerOf,
  idOf,
  manage,
  openBackend,
  openGateway,
  route,
  sendMessage,
  testLocally,
  write,
} from "./gateway-under-test.ts";

const KB = 1024;
const MINUTE_MS = 60_000;

/** Returns a message of exactly this many bytes that contains how to answer it. */
function filled(bytes: number): string {
  const start = '{"answer":{"body":"got it"},"filler":"';
  return `${start}${"x".repeat(bytes - start.length - 2)}"}`;
}

/** Sends a message in frames of this many bytes. */
function sendCut({ client }: Connected, text: string, frameBytes: number): void {
  for (let start = 0; start < text.length; start += frameBytes) {
    const end = start + frameBytes;
    client.socket.send(text.slice(start, end), { fin: end >= text.length });
  }
}

/**
 * Checks how a client was closed, that its $disconnect has the same code, and that no message was
 * forwarded.
 */
async function expectClosed(arrived: Connected, code: number): Promise<void> {
  expect((await arrived.client.closed).code).toBe(code);
  expect(headerOf(await arrived.called("disconnect"), "x-sallyport-disconnect-code")).toBe(`${code}`);
  expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
}

describe("4 sizes", () => {
  test("4 a frame of 32 KB is accepted", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send(filled(32 * KB));
    expect(await arrived.client.text()).toBe("got it");
  });

  test("4 a larger frame closes the socket with 1009", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send(filled(32 * KB + 1));
    await expectClosed(arrived, 1009);
  });

  test("4 a larger continuation frame closes the socket too", async () => {
    const arrived = await connected(await openGateway());
    arrived.client.socket.send("x", { fin: false });
    arrived.client.socket.send("x".repeat(32 * KB + 1), { fin: true });
    await expectClosed(arrived, 1009);
  });

  test("4 a message of 128 KB in frames of 32 KB is forwarded completely", async () => {
    const arrived = await connected(await openGateway());
    const text = filled(128 * KB);
    sendCut(arrived, text, 32 * KB);
    expect(await arrived.client.text()).toBe("got it");
    expect((await arrived.called("default")).body).toBe(text);
  });

  test("4 a larger message in any frames closes the socket with 1009", async () => {
    for (const frameBytes of [32 * KB, 1000]) {
      const arrived = await connected(await openGateway());
      sendCut(arrived, filled(128 * KB + 1), frameBytes);
      await expectClosed(arrived, 1009);
    }
  });

  testLocally("4 a message can have any number of frames, and never causes 1008", "patience", async () => {
    const arrived = await connected(await openGateway());
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

  testLocally("4 a larger message of many frames closes the socket with 1009", "patience", async () => {
    const arrived = await connected(await openGateway());
    const more = Array(128 * KB).fill(frameOf("x", { opcode: 0, fin: false }));
    write(arrived, Buffer.concat([frameOf("x", { fin: false }), ...more]));
    await expectClosed(arrived, 1009);
  });

  test("4 an answer of 128 KB is sent completely", async () => {
    const arrived = await connected(await openGateway());
    // The requested answer must fit into a message, so each of these characters has two bytes in
    // the answer.
    const body = "ü".repeat(64 * KB - 32);
    sendCut(arrived, JSON.stringify({ answer: { body } }), 8 * KB);
    expect(await arrived.client.text()).toBe(body);
  });

  test("4 a URL of 4096 characters is accepted, and a longer one is rejected", async () => {
    const gateway = await openGateway();
    const { pathname, href } = new URL(gateway.url);
    const spare = 4096 - `${pathname}?filler=&case=0123456789abcdef`.length;
    const statusOf = async (characters: number) => {
      const url = `${href}?filler=${"x".repeat(characters)}`;
      return (await handshake({ url, backend: gateway.backend })).status;
    };
    expect([await statusOf(spare), await statusOf(spare + 1)]).toEqual([101, 414]);
  });
});

describe("4 headers", () => {
  testLocally("4 headers of 10 240 bytes are accepted, and more are 431", "counted bytes", async () => {
    const gateway = await openGateway();
    const statusOf = async (bytes: number) => {
      const raw = new RawClient(gateway.local.port);
      // Names and values of the headers in every upgrade request here.
      const others = 110;
      raw.upgrade("/dev", [`x-filler: ${"x".repeat(bytes - others - "x-filler".length)}`]);
      return /^HTTP\/1\.1 (\d+)/.exec(await raw.head())?.[1];
    };
    expect([await statusOf(10_240), await statusOf(10_241)]).toEqual(["101", "431"]);
  });
});

describe("4 frames that violate the protocol", () => {
  test("4 text that is not UTF-8 closes the socket with 1007", async () => {
    const arrived = await connected(await openGateway());
    write(arrived, frameOf(Buffer.from([0xc3, 0x28])));
    await expectClosed(arrived, 1007);
  });

  const text = frameOf("a");
  test.each([
    ["an unmasked frame", Buffer.from([0x81, 0x01, 0x61])],
    // The first reserved bit marks a compressed message.
    ["a reserved bit", Buffer.concat([Buffer.from([0xa1]), text.subarray(1)])],
    ["an unknown opcode", frameOf("a", { opcode: 5 })],
    ["a continuation without a start", frameOf("a", { opcode: 0 })],
    ["a fragmented ping", frameOf("a", { opcode: 9, fin: false })],
  ])("4 %s closes the socket with 1002", async (_what, bytes) => {
    const arrived = await connected(await openGateway());
    write(arrived, bytes);
    await expectClosed(arrived, 1002);
  });
});

/** Opens a gateway with a manual clock and a connected client. */
async function waiting(
  options: Partial<LocalGatewayOptions> = {},
): Promise<{ gateway: GatewayUnderTest; clock: ManualClock; arrived: Connected }> {
  const clock = new ManualClock();
  const gateway = await openGateway({ clock, ...options });
  const arrived = await connected(gateway);
  await idOf(arrived);
  return { gateway, clock, arrived };
}

async function expectGoneAway(arrived: Connected): Promise<void> {
  expect(await arrived.client.closed).toEqual({ code: 1001, reason: "Going away" });
  const gone = await arrived.called("disconnect");
  expect(headerOf(gone, "x-sallyport-disconnect-code")).toBe("1001");
  expect(headerOf(gone, "x-sallyport-disconnect-reason")).toBe("Going away");
}

const CLOCK = "a manual clock";

describe("4 time", () => {
  testLocally(
    "4 ten minutes without activity end a connection with 1001 Going away, and not earlier",
    CLOCK,
    async () => {
      const { gateway, clock, arrived } = await waiting();
      clock.advance(10 * MINUTE_MS - 1);
      expect((await manage(gateway, "GET", at(await idOf(arrived)))).status).toBe(200);
      clock.advance(1);
      await expectGoneAway(arrived);
    },
  );

  testLocally("4 a message of the client keeps it open for ten more minutes", CLOCK, async () => {
    const { gateway, clock, arrived } = await waiting({ routeResponses: false });
    clock.advance(9 * MINUTE_MS);
    sendMessage(arrived, {});
    await arrived.called("default");
    clock.advance(10 * MINUTE_MS - 1);
    expect(gateway.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  testLocally("4 an answer keeps it open for ten more minutes", CLOCK, async () => {
    const { gateway, clock, arrived } = await waiting();
    sendMessage(arrived, { body: "late", hold: true });
    await arrived.called("default");
    clock.advance(9 * MINUTE_MS);
    await arrived.release();
    expect(await arrived.client.text()).toBe("late");
    clock.advance(10 * MINUTE_MS - 1);
    expect(gateway.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  testLocally("4 a post keeps it open for ten more minutes", CLOCK, async () => {
    const { gateway, clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    expect((await manage(gateway, "POST", at(await idOf(arrived)), "hello")).status).toBe(200);
    clock.advance(10 * MINUTE_MS - 1);
    expect(gateway.local.connectionCount).toBe(1);
    clock.advance(1);
    await expectGoneAway(arrived);
  });

  testLocally("4 a GET does not keep it open", CLOCK, async () => {
    const { gateway, clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    expect((await manage(gateway, "GET", at(await idOf(arrived)))).status).toBe(200);
    clock.advance(MINUTE_MS);
    await expectGoneAway(arrived);
  });

  test("§9.11 a ping is answered with the same payload", async () => {
    const { client } = await connected(await openGateway());
    client.socket.ping("tick");
    expect(String((await once(client.socket, "pong"))[0])).toBe("tick");
  });

  testLocally("§9.11 pings and pongs do not keep it open", CLOCK, async () => {
    const { clock, arrived } = await waiting();
    clock.advance(9 * MINUTE_MS);
    arrived.client.socket.pong();
    arrived.client.socket.ping();
    await once(arrived.client.socket, "pong");
    clock.advance(MINUTE_MS);
    await expectGoneAway(arrived);
  });

  testLocally("4 the gateway sends no pings", CLOCK, async () => {
    const { clock, arrived } = await waiting();
    let pings = 0;
    arrived.client.socket.on("ping", () => pings++);
    for (let minutes = 0; minutes < 60; minutes += 6) {
      clock.advance(6 * MINUTE_MS);
      await echo(arrived, "still here");
    }
    expect(pings).toBe(0);
  });

  testLocally(
    "§9.10 two hours end a busy connection with 1001 Going away, and not earlier",
    CLOCK,
    async () => {
      const { gateway, clock, arrived } = await waiting();
      for (let minutes = 0; minutes < 120; minutes += 8) {
        if (minutes > 0) await echo(arrived, "busy");
        clock.advance(8 * MINUTE_MS - (minutes === 112 ? 1 : 0));
      }
      expect(gateway.local.connectionCount).toBe(1);
      clock.advance(1);
      await expectGoneAway(arrived);
    },
  );

  testLocally("§9.10 the idle timeout can be configured", CLOCK, async () => {
    const { clock, arrived } = await waiting({ idleTimeoutMs: 5000 });
    clock.advance(4999);
    await echo(arrived, "here");
    clock.advance(5000);
    await expectGoneAway(arrived);
  });

  testLocally("§9.10 the maximum duration can be configured", CLOCK, async () => {
    const { clock, arrived } = await waiting({ maxConnectionMs: 5000 });
    clock.advance(4999);
    await echo(arrived, "here");
    clock.advance(1);
    await expectGoneAway(arrived);
  });
});

const THROTTLING = "a stage with a small throttle";

/** Opens a gateway with a burst of two and a rate of one per second for each route. */
async function throttled(
  options: Partial<LocalGatewayOptions> = {},
  throttling = { ratePerSecond: 1, burst: 2 },
): Promise<{ gateway: GatewayUnderTest; clock: ManualClock }> {
  const clock = new ManualClock();
  const backend = await openBackend();
  const routes = {
    $connect: route(backend, "connect"),
    $default: route(backend, "default", { routeResponse: true }),
    custom: route(backend, "custom", { routeResponse: true }),
  };
  const apis = [{ routes, stages: { dev: { throttling }, free: {} } }];
  return { clock, gateway: await openGateway({ clock, apis, ...options }, backend) };
}

describe("4 throttling", () => {
  testLocally("1.2 connects above the limit of a stage are 429", THROTTLING, async () => {
    const { gateway } = await throttled();
    const answers = [await handshake(gateway), await handshake(gateway), await handshake(gateway)];
    expect(answers.map(({ status }) => status)).toEqual([101, 101, 429]);
  });

  testLocally(
    "§9.3 such a rejection contains LimitExceededException and Too Many Requests",
    THROTTLING,
    async () => {
      const { gateway } = await throttled({}, { ratePerSecond: 0, burst: 0 });
      const { headers, body } = await handshake(gateway);
      expect([headers["x-amzn-errortype"], headers.connection]).toEqual(["LimitExceededException", "close"]);
      expect(body).toBe('{"message":"Too Many Requests"}');
    },
  );

  testLocally("4 after a second the rate allows more connects", THROTTLING, async () => {
    const { gateway, clock } = await throttled();
    for (const _ of [1, 2]) await handshake(gateway);
    clock.advance(999);
    expect((await handshake(gateway)).status).toBe(429);
    clock.advance(1);
    expect((await handshake(gateway)).status).toBe(101);
    expect((await handshake(gateway)).status).toBe(429);
  });

  testLocally("4 at most the burst is accepted at once, also after a long pause", THROTTLING, async () => {
    const { gateway, clock } = await throttled();
    expect((await handshake(gateway)).status).toBe(101);
    clock.advance(60 * MINUTE_MS);
    const answers = [await handshake(gateway), await handshake(gateway), await handshake(gateway)];
    expect(answers.map(({ status }) => status)).toEqual([101, 101, 429]);
  });

  for (const burst of [0, 5]) {
    testLocally(
      `4 a rate of 0 with a burst of ${burst} rejects every connect with 429`,
      THROTTLING,
      async () => {
        const { gateway, clock } = await throttled({}, { ratePerSecond: 0, burst });
        expect((await handshake(gateway)).status).toBe(429);
        clock.advance(60 * MINUTE_MS);
        expect((await handshake(gateway)).status).toBe(429);
      },
    );
  }

  testLocally("4 each route has its own throttle", THROTTLING, async () => {
    const { gateway } = await throttled();
    const arrived = await connected(gateway);
    for (const action of ["none", "none", "custom", "custom"])
      expect(await echo(arrived, "ok", { action })).toBe("ok");
    expect((await handshake(gateway)).status).toBe(101);
  });

  testLocally("4 each stage has its own throttle", THROTTLING, async () => {
    const { gateway } = await throttled();
    for (const _ of [1, 2, 3]) await handshake(gateway);
    const free = { url: gateway.url.replace(/dev$/, "free"), backend: gateway.backend };
    for (const _ of [1, 2, 3]) expect((await handshake(free)).status).toBe(101);
  });

  testLocally(
    "§9.5 a message above the limit is dropped silently, and never closes the socket",
    THROTTLING,
    async () => {
      const { gateway, clock } = await throttled();
      const arrived = await connected(gateway);
      for (const body of ["one", "two", "lost", "lost"]) sendMessage(arrived, { body });
      const answers = [await arrived.client.text(), await arrived.client.text()];
      clock.advance(1000);
      expect([...answers.sort(), await echo(arrived, "later")]).toEqual(["one", "two", "later"]);
      expect(await arrived.kinds()).toEqual(["connect", "default", "default", "default"]);
    },
  );

  testLocally("§9.5 an option answers it with a frame", THROTTLING, async () => {
    const { gateway } = await throttled({ onThrottledMessage: "errorFrame" });
    const arrived = await connected(gateway);
    for (const _ of [1, 2]) await echo(arrived, "ok");
    sendMessage(arrived, { body: "lost" });
    expectErrorFrame(await arrived.client.text(), "Too Many Requests", await idOf(arrived));
    expect(await arrived.kinds()).toEqual(["connect", "default", "default"]);
  });

  testLocally(
    "5.3 the Management API is 429 LimitExceeded without a body above its limit",
    THROTTLING,
    async () => {
      const { gateway, clock } = await throttled({ managementThrottling: { ratePerSecond: 1, burst: 1 } });
      const path = at(await idOf(await connected(gateway)));
      for (const method of ["POST", "GET", "DELETE"] as const) {
        clock.advance(1000);
        expect((await manage(gateway, "GET", path)).status).toBe(200);
        const { status, headers, body } = await manage(gateway, method, path);
        expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      }
      clock.advance(1000);
      expect((await manage(gateway, "GET", path)).status).toBe(200);
    },
  );
});
