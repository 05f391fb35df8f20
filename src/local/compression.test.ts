import { deflateRawSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { frameOf, openClient, RawClient, startBackend, startGateway } from "../../test/local/rig.ts";

const KB = 1024;
const OFFER = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"];
const CLOSE = 8;

/** Compresses a message as described in RFC 7692, section 7.2.1. */
function compressed(text: string): Buffer {
  return deflateRawSync(text, { finishFlush: 2 }).subarray(0, -4);
}

/** Opens a client that negotiates compression and writes raw frames. */
async function openRaw(port: number): Promise<RawClient> {
  const raw = new RawClient(port);
  raw.upgrade("/dev", OFFER);
  expect((await raw.head()).toLowerCase()).toContain("sec-websocket-extensions: permessage-deflate");
  return raw;
}

/** Returns a masked text frame of a compressed message. */
function frame(payload: Buffer, { fin = true, isFirst = true } = {}): Buffer {
  const bytes = frameOf(payload, { opcode: isFirst ? 1 : 0, fin });
  if (isFirst) bytes.writeUInt8(bytes.readUInt8(0) | 0x40, 0);
  return bytes;
}

async function closeCode(raw: RawClient): Promise<number> {
  const { opcode, payload } = await raw.frame();
  expect(opcode).toBe(CLOSE);
  return payload.readUInt16BE(0);
}

describe("permessage-deflate", () => {
  test("is negotiated with a client that offers it, and works in both directions", async () => {
    const backend = await startBackend(({ body }) => ({ body }));
    const gateway = await startGateway(backend);
    const client = await openClient(gateway.url, [], { perMessageDeflate: { threshold: 0 } });
    expect(client.socket.extensions).toContain("permessage-deflate");
    const texts = ["{}", `"${"x".repeat(30 * KB)}"`, `"${"ü".repeat(10 * KB)}"`];
    for (const text of texts) {
      client.socket.send(text);
      expect(await client.text()).toBe(text);
    }
    expect(backend.to("default").map(({ body }) => body)).toEqual(texts);
    const plain = await openClient(gateway.url, [], { perMessageDeflate: false });
    expect(plain.socket.extensions).toBe("");
    plain.socket.send(texts[1] as string);
    expect(await plain.text()).toBe(texts[1]);
  });

  test("keeps the order of pushed messages", async () => {
    const backend = await startBackend(({ body }) => ({ body }));
    const gateway = await startGateway(backend);
    const client = await openClient(gateway.url, [], { perMessageDeflate: { threshold: 0 } });
    client.socket.send(`"${"x".repeat(20 * KB)}"`);
    await client.text();
    const [id] = gateway.connectionIds as [string];
    const post = (body: string) => fetch(`${gateway.endpoint}/@connections/${id}`, { method: "POST", body });
    const sent = ["a".repeat(100 * KB), "b", "c".repeat(2 * KB)];
    for (const text of sent) expect((await post(text)).status).toBe(200);
    for (const text of sent) expect(await client.text()).toBe(text);
  });

  test("closes with 1009 a message over 128 KB when decompressed, and does not forward it", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = await openRaw(gateway.port);
    const bomb = compressed(" ".repeat(16 * KB * KB));
    expect(bomb.length).toBeLessThan(32 * KB);
    raw.socket.write(frame(bomb));
    expect(await closeCode(raw)).toBe(1009);
    expect((await backend.call("disconnect")).headers["x-sallyport-disconnect-code"]).toBe("1009");
    const other = await openClient(gateway.url);
    other.socket.send("{}");
    await backend.call("default");
    expect(backend.to("default")).toHaveLength(1);
  });

  test("closes with 1009 a message of many small frames over 128 KB when decompressed", async () => {
    const backend = await startBackend();
    const raw = await openRaw((await startGateway(backend)).port);
    const bomb = compressed(" ".repeat(KB * KB));
    for (let at = 0; at < bomb.length; at += 16) {
      const fin = at + 16 >= bomb.length;
      raw.socket.write(frame(bomb.subarray(at, at + 16), { fin, isFirst: at === 0 }));
    }
    expect(await closeCode(raw)).toBe(1009);
    expect(backend.to("default")).toEqual([]);
  });

  test("closes with 1009 a frame over 32 KB when decompressed, after forwarding earlier messages", async () => {
    const backend = await startBackend();
    const raw = await openRaw((await startGateway(backend)).port);
    const small = frame(compressed('{"n":1}'));
    raw.socket.write(Buffer.concat([small, frame(compressed(`"${"x".repeat(33 * KB)}"`)), small]));
    await backend.call("disconnect");
    expect(backend.to("default").map(({ body }) => body)).toEqual(['{"n":1}']);
    expect(backend.to("disconnect")[0]?.headers["x-sallyport-disconnect-code"]).toBe("1009");
  });

  test("forwards compressed messages that arrive before a frame over 32 KB", async () => {
    const backend = await startBackend();
    const raw = await openRaw((await startGateway(backend)).port);
    const small = frame(compressed(`{"n":"${"x".repeat(KB)}"}`));
    raw.socket.write(Buffer.concat([small, small, frameOf(Buffer.alloc(33 * KB, "x"))]));
    await backend.call("disconnect");
    expect(backend.to("default")).toHaveLength(2);
    expect(backend.to("disconnect")[0]?.headers["x-sallyport-disconnect-code"]).toBe("1009");
  });

  test("closes with 1007 or 1002 a message that cannot be decompressed", async () => {
    const backend = await startBackend();
    const raw = await openRaw((await startGateway(backend)).port);
    raw.socket.write(frame(Buffer.from("not deflated")));
    expect([1002, 1007]).toContain(await closeCode(raw));
  });
});
