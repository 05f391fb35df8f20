import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { openClient, startGateway } from "../../test/local/rig.ts";

/** A request as a raw backend received it. */
interface RawRequest {
  readonly socket: Socket;
  /** The number of the request on its connection, from 1. */
  readonly count: number;
  readonly path: string;
  readonly body: string;
  answer(): void;
}

/** A backend that reads and writes raw bytes and calls `take` for each request. */
async function rawBackend(take: (request: RawRequest) => void) {
  const connections: Socket[] = [];
  const server = createServer((socket) => {
    connections.push(socket);
    socket.on("error", () => undefined);
    let text = "";
    let count = 0;
    socket.on("data", (chunk) => {
      text += chunk;
      for (;;) {
        const end = text.indexOf("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? 0);
        if (end < 0 || text.length < end + 4 + length) return;
        const body = text.slice(end + 4, end + 4 + length);
        const path = text.split(" ")[1] ?? "";
        text = text.slice(end + 4 + length);
        const answer = () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
        take({ socket, count: ++count, path, body, answer });
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return {
    target: `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws`,
    connections,
  };
}

const isMessage = ({ path }: RawRequest) => path === "/ws/default";

describe("a message on a kept connection that the backend closes", () => {
  test.each([
    ["by FIN", (socket: Socket) => socket.end()],
    ["by RST", (socket: Socket) => socket.resetAndDestroy()],
  ])(
    "%s without a byte of an answer is sent again on a new connection, and served once",
    async (_how, close) => {
      const served: string[] = [];
      const backend = await rawBackend((request) => {
        if (request.count > 1) return close(request.socket);
        if (isMessage(request)) served.push(request.body);
        request.answer();
      });
      const errors: unknown[] = [];
      const gateway = await startGateway(backend.target, { onError: (error) => errors.push(error) });
      const client = await openClient(gateway.url);
      const sent = Array.from({ length: 20 }, (_, n) => `{"n":${n}}`);
      for (const text of sent) {
        client.socket.send(text);
        expect(await client.text()).toBe(text);
      }
      expect(served).toEqual(sent);
      expect(errors).toEqual([]);
    },
  );

  test("after a part of the answer is not sent again", async () => {
    const served: string[] = [];
    const backend = await rawBackend((request) => {
      if (!isMessage(request)) return request.answer();
      served.push(request.body);
      if (request.count === 1) return request.answer();
      request.socket.write("HTTP/1.1 2");
      request.socket.end();
    });
    const gateway = await startGateway(backend.target, { onError: () => undefined });
    const client = await openClient(gateway.url);
    client.socket.send("{}");
    expect(JSON.parse(await client.text())).toMatchObject({ message: "Internal server error" });
    expect(served).toEqual(["{}"]);
  });

  test("again on the new connection is not sent a third time", async () => {
    const received: number[] = [];
    const backend = await rawBackend((request) => {
      if (!isMessage(request)) return request.answer();
      received.push(request.count);
      request.socket.end();
    });
    const gateway = await startGateway(backend.target, { onError: () => undefined });
    const client = await openClient(gateway.url);
    client.socket.send("{}");
    expect(JSON.parse(await client.text())).toMatchObject({ message: "Internal server error" });
    expect(received).toEqual([2, 1]);
  });
});

test("a message on a new connection is sent once, although the backend closes the connection", async () => {
  const received: string[] = [];
  const backend = await rawBackend((request) => {
    if (!isMessage(request)) {
      request.answer();
      return request.socket.end();
    }
    received.push(request.body);
    request.socket.end();
  });
  const gateway = await startGateway(backend.target, { onError: () => undefined });
  const client = await openClient(gateway.url);
  await expect.poll(() => backend.connections.every((socket) => socket.destroyed)).toBe(true);
  client.socket.send("{}");
  expect(JSON.parse(await client.text())).toMatchObject({ message: "Internal server error" });
  expect(received).toEqual(["{}"]);
});

test("consecutive messages reuse one kept connection", async () => {
  const backend = await rawBackend((request) => request.answer());
  const gateway = await startGateway(backend.target);
  const client = await openClient(gateway.url);
  for (let n = 0; n < 20; n++) {
    client.socket.send("{}");
    await client.text();
  }
  expect(backend.connections).toHaveLength(1);
});
