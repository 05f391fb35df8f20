import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import {
  type Backend,
  frameOf,
  openClient,
  openRaw,
  RawClient,
  startBackend,
  startGateway,
} from "../../test/local/rig.ts";
import { ManualClock } from "./clock.ts";
import { UNREAD_MS } from "./connections.ts";

const KB = 1024;

async function disconnectOf(backend: Backend): Promise<{ code: unknown; reason: unknown }> {
  const { headers } = await backend.call("disconnect");
  return { code: headers["x-sallyport-disconnect-code"], reason: headers["x-sallyport-disconnect-reason"] };
}

/** Returns the code of the next close frame and skips other frames. */
async function closeCode(raw: RawClient): Promise<number> {
  for (;;) {
    const { opcode, payload } = await raw.frame();
    if (opcode === 8) return payload.readUInt16BE(0);
  }
}

async function setUp(options = {}) {
  const backend = await startBackend((call) => ({ body: call.body && String(call.body.length) }));
  const gateway = await startGateway(backend, options);
  return { backend, gateway };
}

describe("a client that does not read", () => {
  /** Posts until the buffers of the operating system are full, too. */
  async function isFull(post: () => Promise<number>): Promise<void> {
    for (let rejected = 0; rejected < 20; ) {
      const status = await post();
      if (status === 410) throw new Error("The connection was closed.");
      rejected = status === 429 ? rejected + 1 : 0;
    }
  }

  async function full(perMessageDeflate = false) {
    const clock = new ManualClock();
    const { backend, gateway } = await setUp({ clock, maxBufferedBytes: 100_000 });
    const client = await openClient(gateway.url, undefined, { perMessageDeflate });
    const { headers } = await backend.call("connect");
    const url = `${gateway.endpoint}/@connections/${encodeURIComponent(`${headers.connectionid}`)}`;
    // Random text, because compression would shrink text that repeats.
    const body = randomBytes(75 * KB).toString("base64");
    const post = async () => (await fetch(url, { method: "POST", body })).status;
    client.socket.pause();
    await isFull(post);
    return { backend, gateway, clock, client, post };
  }

  test("is closed after its buffer was full for ten seconds", async () => {
    const { backend, gateway, clock, post } = await full();
    clock.advance(UNREAD_MS - 1);
    expect(await post()).toBe(429);
    expect(gateway.connectionCount).toBe(1);
    clock.advance(1);
    expect(await disconnectOf(backend)).toEqual({ code: "1008", reason: "The client does not read" });
    expect(await post()).toBe(410);
  });

  test("is also closed if its messages are compressed", async () => {
    const { gateway, clock } = await full(true);
    await expect
      .poll(() => {
        clock.advance(UNREAD_MS);
        return gateway.connectionCount;
      })
      .toBe(0);
  });

  test("stays open if it reads within ten seconds", async () => {
    const { gateway, clock, client, post } = await full();
    client.socket.resume();
    await expect.poll(post).toBe(200);
    client.socket.pause();
    await isFull(post);
    clock.advance(UNREAD_MS);
    expect(gateway.connectionCount).toBe(1);
    expect(await post()).toBe(429);
    clock.advance(UNREAD_MS);
    await expect.poll(() => gateway.connectionCount).toBe(0);
  });
});

describe("$disconnect", () => {
  test("contains the code and the reason of the client", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    client.socket.close(4321, "bye");
    expect(await disconnectOf(backend)).toEqual({ code: "4321", reason: "bye" });
    expect(gateway.connectionCount).toBe(0);
  });

  test("omits a reason that the client did not send", async () => {
    const { backend, gateway } = await setUp();
    (await openClient(gateway.url)).socket.close(1001);
    expect(await disconnectOf(backend)).toEqual({ code: "1001", reason: undefined });
  });

  test("contains 1005 if the client closed without a code", async () => {
    const { backend, gateway } = await setUp();
    (await openClient(gateway.url)).socket.close();
    expect(await disconnectOf(backend)).toEqual({
      code: "1005",
      reason: "Client-side close frame status not set",
    });
  });

  test("contains 1006 if the network connection ended", async () => {
    const { backend, gateway } = await setUp();
    (await openClient(gateway.url)).socket.terminate();
    expect(await disconnectOf(backend)).toEqual({ code: "1006", reason: undefined });
  });

  test("contains 1006 if the client reset the connection", async () => {
    const { backend, gateway } = await setUp();
    (await openRaw(gateway)).socket.resetAndDestroy();
    expect(await disconnectOf(backend)).toEqual({ code: "1006", reason: undefined });
  });

  test("is sent once, after earlier messages have reached the backend", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    for (let count = 0; count < 20; count++) client.socket.send("last words");
    client.socket.close();
    await backend.call("disconnect");
    expect(backend.to("default")).toHaveLength(20);
    await gateway.close();
    expect(backend.to("disconnect")).toHaveLength(1);
  });

  test("does not wait for a slow message to be answered", async () => {
    const backend = await startBackend((call) => (call.body ? new Promise(() => {}) : {}));
    const gateway = await startGateway(backend, { integrationTimeoutMs: 29_000 });
    const client = await openClient(gateway.url);
    client.socket.send("slow");
    await backend.call("default");
    client.socket.close();
    await backend.call("disconnect");
  });

  test("can fail without effect on later connections", async () => {
    const backend = await startBackend((call) => (call.path.endsWith("/disconnect") ? { status: 500 } : {}));
    const gateway = await startGateway(backend);
    (await openClient(gateway.url)).socket.close();
    await backend.call("disconnect");
    await openClient(gateway.url);
  });
});

describe("an idle connection", () => {
  test("is closed with 1001 Going away", async () => {
    const { backend, gateway } = await setUp({ idleTimeoutMs: 40 });
    const client = await openClient(gateway.url);
    expect(await client.closed).toEqual({ code: 1001, reason: "Going away" });
    expect(await disconnectOf(backend)).toEqual({ code: "1001", reason: "Going away" });
  });

  test("is closed although it sends pings, which are answered", async () => {
    const clock = new ManualClock();
    const { gateway } = await setUp({ clock, idleTimeoutMs: 1000 });
    const client = await openClient(gateway.url);
    clock.advance(999);
    client.socket.ping();
    await once(client.socket, "pong");
    clock.advance(1);
    expect((await client.closed).code).toBe(1001);
  });

  test("stays open while messages are received", async () => {
    const clock = new ManualClock();
    const { backend, gateway } = await setUp({ clock, idleTimeoutMs: 1000, routeResponses: false });
    const client = await openClient(gateway.url);
    for (const count of [1, 2, 3]) {
      clock.advance(999);
      client.socket.send("x");
      await backend.call("default", count);
    }
    clock.advance(999);
    expect(gateway.connectionCount).toBe(1);
    clock.advance(1);
    expect((await client.closed).code).toBe(1001);
  });

  test("stays open while messages are sent to it", async () => {
    const clock = new ManualClock();
    const { backend, gateway } = await setUp({ clock, idleTimeoutMs: 1000 });
    const client = await openClient(gateway.url);
    const id = encodeURIComponent(String((await backend.call("connect")).headers.connectionid));
    for (let count = 0; count < 3; count++) {
      clock.advance(999);
      await fetch(`${gateway.endpoint}/@connections/${id}`, { method: "POST", body: "x" });
    }
    clock.advance(999);
    expect(gateway.connectionCount).toBe(1);
    clock.advance(1);
    expect((await client.closed).code).toBe(1001);
  });
});

test("closes a busy socket with 1001 when it reaches its maximum age", async () => {
  const clock = new ManualClock();
  const { backend, gateway } = await setUp({ clock, maxConnectionMs: 1000 });
  const client = await openClient(gateway.url);
  clock.advance(999);
  client.socket.send("x");
  expect(await client.text()).toBe("1");
  clock.advance(1);
  expect(await client.closed).toEqual({ code: 1001, reason: "Going away" });
  expect(await disconnectOf(backend)).toEqual({ code: "1001", reason: "Going away" });
});

test("a client that does not answer a close frame is disconnected", async () => {
  const { backend, gateway } = await setUp({ idleTimeoutMs: 20 });
  const raw = await openRaw(gateway);
  expect(await closeCode(raw)).toBe(1001);
  expect(await disconnectOf(backend)).toEqual({ code: "1001", reason: "Going away" });
});

describe("a message of a client", () => {
  test("can be a frame of 32 KB", async () => {
    const { gateway } = await setUp();
    const client = await openClient(gateway.url);
    client.socket.send("x".repeat(32 * KB));
    expect(await client.text()).toBe(String(32 * KB));
  });

  test("in a frame over 32 KB closes the connection with 1009, and no integration runs", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    client.socket.send("x".repeat(32 * KB + 1));
    expect((await client.closed).code).toBe(1009);
    expect((await disconnectOf(backend)).code).toBe("1009");
    expect(backend.to("default")).toEqual([]);
  });

  test("can have 128 KB in four frames, with pings between them", async () => {
    const { gateway } = await setUp();
    const client = await openClient(gateway.url);
    for (let part = 1; part <= 4; part++) {
      client.socket.send("x".repeat(32 * KB), { fin: part === 4 });
      client.socket.ping();
    }
    expect(await client.text()).toBe(String(128 * KB));
    client.socket.send("next");
    expect(await client.text()).toBe("4");
  });

  test("of more than 128 KB closes the connection with 1009", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    for (let part = 1; part <= 4; part++) client.socket.send("x".repeat(32 * KB), { fin: false });
    client.socket.send("x", { fin: true });
    expect((await client.closed).code).toBe(1009);
    expect((await disconnectOf(backend)).code).toBe("1009");
    expect(backend.to("default")).toEqual([]);
  });

  test("with a continuation frame over 32 KB closes the connection with 1009", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    client.socket.send("x", { fin: false });
    client.socket.send("x".repeat(32 * KB + 1), { fin: true });
    expect((await client.closed).code).toBe(1009);
    expect(backend.to("default")).toEqual([]);
  });

  test("is rejected by its frame header, before its payload arrives", async () => {
    const { gateway } = await setUp();
    const raw = await openRaw(gateway);
    raw.socket.write(frameOf(Buffer.alloc(32 * KB + 1)).subarray(0, 8));
    expect(await closeCode(raw)).toBe(1009);
  });

  test("does not delay $disconnect or close() if the client keeps its side open after the end", async () => {
    const { backend, gateway } = await setUp();
    const raw = await openRaw(gateway);
    raw.socket.write(Buffer.from([0x81, 0x01, 0x78])); // no mask: a protocol error
    await backend.call("disconnect");
    await expect.poll(() => gateway.connectionCount).toBe(0);
    const halfOpen = await openRaw(gateway);
    halfOpen.socket.write(frameOf(Buffer.from([0x03, 0xe8]), { opcode: 8 }));
    await gateway.close();
  });

  test("is decoded correctly if each byte arrives alone", async () => {
    const { backend, gateway } = await setUp();
    const raw = await openRaw(gateway);
    raw.socket.setNoDelay(true);
    const bytes = Buffer.concat([
      frameOf("he", { fin: false }),
      frameOf("beat", { opcode: 9 }),
      frameOf("y".repeat(200), { opcode: 0 }),
      frameOf(Buffer.alloc(32 * KB + 1)).subarray(0, 8),
    ]);
    for (const byte of bytes) {
      raw.socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await closeCode(raw)).toBe(1009);
    expect((await backend.call("default")).body).toBe(`he${"y".repeat(200)}`);
  });

  test("before an oversized frame in the same packet is kept, and one after it is dropped", async () => {
    const { backend, gateway } = await setUp({ routeResponses: false });
    const raw = await openRaw(gateway);
    raw.socket.write(
      Buffer.concat([
        frameOf("one"),
        frameOf("two"),
        frameOf(Buffer.alloc(32 * KB + 1, 120)),
        frameOf("behind"),
      ]),
    );
    expect(await closeCode(raw)).toBe(1009);
    await gateway.close();
    expect(
      backend
        .to("default")
        .map((call) => call.body)
        .sort(),
    ).toEqual(["one", "two"]);
  });

  test("that is binary closes the connection with 1003", async () => {
    const { backend, gateway } = await setUp();
    const client = await openClient(gateway.url);
    client.socket.send(Buffer.from("{}"));
    expect((await client.closed).code).toBe(1003);
    expect((await disconnectOf(backend)).code).toBe("1003");
    expect(backend.to("default")).toEqual([]);
  });

  test.each([
    ["invalid UTF-8", frameOf(Buffer.from([0xc3, 0x28])), 1007],
    ["an unmasked frame", Buffer.from([0x81, 0x01, 0x61]), 1002],
    ["a reserved bit", Buffer.concat([Buffer.from([0xc1]), frameOf("a").subarray(1)]), 1002],
    ["an unknown opcode", frameOf("a", { opcode: 5 }), 1002],
    ["a continuation of nothing", frameOf("a", { opcode: 0 }), 1002],
    ["a length beyond any memory", Buffer.from("81ff7fffffffffffffff00000000", "hex"), 1009],
  ])("with %s closes the connection with the matching close code", async (_what, bytes, code) => {
    const { backend, gateway } = await setUp();
    const raw = await openRaw(gateway);
    raw.socket.write(bytes);
    expect(await closeCode(raw)).toBe(code);
    raw.socket.end();
    expect((await disconnectOf(backend)).code).toBe(String(code));
    expect(backend.to("default")).toEqual([]);
    await openClient(gateway.url);
  });
});

test("messages that a client sends before its 101 wait until the connection is open", async () => {
  const { backend, gateway } = await setUp();
  let admit = () => {};
  backend.behaviour = (call) =>
    call.path.endsWith("/connect")
      ? new Promise((resolve) => {
          admit = () => resolve({});
        })
      : { body: call.body };
  const raw = new RawClient(gateway.port);
  raw.upgrade("/dev");
  raw.socket.write(Buffer.concat([frameOf("early"), frameOf("bird")]));
  await backend.call("connect");
  expect(backend.to("default")).toEqual([]);
  admit();
  await raw.head();
  await backend.call("default", 2);
});
