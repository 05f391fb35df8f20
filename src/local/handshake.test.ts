import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  deadTarget,
  openClient,
  RawClient,
  rejectionOf,
  startBackend,
  startGateway,
} from "../../test/local/rig.ts";

describe("the upgrade", () => {
  test("waits for $connect", async () => {
    let admit = () => {};
    const backend = await startBackend((call) =>
      call.path.endsWith("/connect")
        ? new Promise((resolve) => {
            admit = () => resolve({});
          })
        : {},
    );
    const gateway = await startGateway(backend);
    let open = false;
    const opening = openClient(gateway.url).then(() => {
      open = true;
    });
    await backend.call("connect");
    expect(open).toBe(false);
    expect(gateway.connectionCount).toBe(0);
    admit();
    await opening;
    expect(gateway.connectionCount).toBe(1);
  });

  test.each([200, 201, 204])("succeeds when $connect is answered with %i", async (status) => {
    const gateway = await startGateway(await startBackend(() => ({ status })));
    await openClient(gateway.url);
  });

  test.each([
    [301, "Moved Permanently"],
    [400, "Bad Request"],
    [401, "Unauthorized"],
    [403, "Forbidden"],
    [429, "Too Many Requests"],
    [500, "Internal server error"],
    [503, "Service Unavailable"],
  ])("is rejected with the status of $connect: %i", async (status, message) => {
    const backend = await startBackend(() => ({ status, body: "secret words", headers: { "x-inner": "1" } }));
    const gateway = await startGateway(backend);
    const rejection = await rejectionOf(gateway.url);
    expect(rejection.status).toBe(status);
    expect(JSON.parse(rejection.body)).toEqual({ message });
    expect(rejection.headers).toMatchObject({ connection: "close", "content-type": "application/json" });
    expect(rejection.headers).not.toHaveProperty("x-inner");
    await gateway.close();
    expect(backend.to("disconnect")).toEqual([]);
  });

  test("is rejected with 500 if the backend is unreachable, and reports it to onError", async () => {
    const reported: string[] = [];
    const gateway = await startGateway(await deadTarget(), {
      onError: (_error, where) => reported.push(where),
    });
    const rejection = await rejectionOf(gateway.url);
    expect(rejection.status).toBe(500);
    expect(rejection.body).toBe('{"message":"Internal server error"}');
    expect(reported).toEqual(["$connect"]);
  });

  test("is rejected with 504 if $connect takes too long", async () => {
    const backend = await startBackend(() => new Promise(() => {}));
    const gateway = await startGateway(backend, { integrationTimeoutMs: 50 });
    expect((await rejectionOf(gateway.url)).status).toBe(504);
  });

  test("is rejected with 504 if the answer begins in time but never ends", async () => {
    const server = createServer((_request, response) => void response.writeHead(200).write("…"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const gateway = await startGateway(`http://127.0.0.1:${port}/`, { integrationTimeoutMs: 50 });
    expect((await rejectionOf(gateway.url)).status).toBe(504);
    server.closeAllConnections();
    server.close();
  });

  test("is rejected with the status of an answer with a body larger than any frame", async () => {
    const backend = await startBackend(() => ({ status: 403, body: "x".repeat(300_000) }));
    expect((await rejectionOf((await startGateway(backend)).url)).status).toBe(403);
  });

  test.each(["/", "/prod", "/dev/", "/dev/chat", "//dev", "/dev2", "/DEV"])(
    "is rejected with 403 at %s, and no integration runs",
    async (path) => {
      const backend = await startBackend();
      const gateway = await startGateway(backend);
      const rejection = await rejectionOf(`ws://127.0.0.1:${gateway.port}${path}`);
      expect(rejection.status).toBe(403);
      expect(rejection.body).toBe('{"message":"Forbidden"}');
      expect(backend.calls).toEqual([]);
    },
  );

  test("to a path without a stage is reported once, with the URL to use", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const gateway = await startGateway(await startBackend());
    for (const path of ["/prod", "/prod?ws_token=secret", "/dev\u00e9"]) {
      await rejectionOf(`ws://127.0.0.1:${gateway.port}${path}`);
    }
    const use = `was answered 403, because no stage has this path. Use the URL ws://127.0.0.1:${gateway.port}/dev.`;
    expect(warn.mock.calls.flat()).toEqual([
      `sallyport local gateway: a connect to "/prod" ${use}`,
      `sallyport local gateway: a connect to "/dev%C3%A9" ${use}`,
    ]);
    for (let count = 0; count < 20; count++) await rejectionOf(`ws://127.0.0.1:${gateway.port}/${count}`);
    expect(warn).toHaveBeenCalledTimes(10);
  });

  test("accepts a URL of 4096 characters and rejects a longer one", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const query = (characters: number) => `?${"q".repeat(characters - "/dev?".length)}`;
    await openClient(gateway.url + query(4096));
    expect((await rejectionOf(gateway.url + query(4097))).status).toBe(414);
    expect(backend.calls).toHaveLength(1);
  });

  test.each([
    ["an invalid key", ["Sec-WebSocket-Key: short"]],
    ["another version", ["Sec-WebSocket-Version: 12"]],
    ["an invalid subprotocol list", ["Sec-WebSocket-Protocol: a,,b"]],
    ["a repeated subprotocol", ["Sec-WebSocket-Protocol: a, a"]],
  ])("is rejected with 400 for %s, and no integration runs", async (_what, headers) => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.socket.write(
      [
        "GET /dev HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        ...(headers[0]?.includes("Version") ? [] : ["Sec-WebSocket-Version: 13"]),
        ...(headers[0]?.includes("Key") ? [] : ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]),
        ...headers,
        "\r\n",
      ].join("\r\n"),
    );
    expect((await raw.readAll()).toString()).toMatch(/^HTTP\/1\.1 400 /);
    expect(backend.calls).toEqual([]);
  });

  test("is required with 426 by a plain GET of the stage's URL", async () => {
    const gateway = await startGateway(await startBackend());
    expect((await fetch(gateway.endpoint)).status).toBe(426);
    expect((await fetch(`${gateway.endpoint}?a=1`)).status).toBe(426);
  });
});

describe("a subprotocol", () => {
  const offer = ["Sec-WebSocket-Protocol: graphql-ws, chat"];

  test("is not in the 101 unless $connect returned one", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev", offer);
    const head = await raw.head();
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(head.toLowerCase()).not.toContain("sec-websocket-protocol");
    expect(backend.calls[0]?.headers["sec-websocket-protocol"]).toBe("graphql-ws, chat");
  });

  test("is the one that $connect returned, without the other headers of $connect", async () => {
    const backend = await startBackend(() => ({
      headers: { "Sec-WebSocket-Protocol": "chat", "Set-Cookie": "a=1", "X-Inner": "1" },
    }));
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev", offer);
    const head = await raw.head();
    expect(head).toContain("Sec-WebSocket-Protocol: chat\r\n");
    expect(head.split("\r\n").filter(Boolean)).toHaveLength(5);
  });
});

describe("a client that disconnects while $connect is pending", () => {
  test.each(["end", "resetAndDestroy"] as const)("causes a $disconnect with 1006 (%s)", async (how) => {
    let admit = () => {};
    const backend = await startBackend((call) =>
      call.path.endsWith("/connect")
        ? new Promise((resolve) => {
            admit = () => resolve({});
          })
        : {},
    );
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev");
    const connect = await backend.call("connect");
    raw.socket[how]();
    await once(raw.socket, how === "end" ? "finish" : "close");
    admit();
    const disconnect = await backend.call("disconnect");
    expect(disconnect.headers.connectionid).toBe(connect.headers.connectionid);
    expect(disconnect.headers["x-sallyport-disconnect-code"]).toBe("1006");
    expect(disconnect.headers).not.toHaveProperty("x-sallyport-disconnect-reason");
  });

  test("causes no $disconnect if $connect denies the connection", async () => {
    let deny = () => {};
    const backend = await startBackend(
      () =>
        new Promise((resolve) => {
          deny = () => resolve({ status: 403 });
        }),
    );
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev");
    await backend.call("connect");
    raw.socket.destroy();
    await once(raw.socket, "close");
    deny();
    await gateway.close();
    expect(backend.to("disconnect")).toEqual([]);
  });
});

describe("hostile HTTP", () => {
  test.each([
    ["bytes that are not HTTP", "\x00\x01\x02\r\n\r\n"],
    ["an invalid header", "GET /dev HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n"],
    ["a target without a path", "GET * HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["a target that is not a URL", "GET http://[/dev HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["a target with an authority", "GET //@:99999 HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["a method that fetch forbids", "TRACE /dev HTTP/1.1\r\nHost: x\r\n\r\n"],
    [
      "an id that cannot be decoded",
      "POST /dev/@connections/%E0%A4%A HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ],
    ["a head without an end", `GET /dev HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(100_000)}\r\n\r\n`],
    [
      "an upgrade to another protocol",
      "GET /dev HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    [
      "an upgrade by POST",
      "POST /dev HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
  ])("does not stop the gateway: %s", async (_what, bytes) => {
    const gateway = await startGateway(await startBackend());
    const raw = new RawClient(gateway.port);
    raw.socket.write(bytes, "latin1");
    const answer = (await raw.read((got) => got.length > 0)).toString();
    expect(answer === "" || /^HTTP\/1\.1 4\d\d /.test(answer)).toBe(true);
    await openClient(gateway.url);
  });

  test("that ends within a body does not stop the gateway", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const post = httpRequest(`${gateway.endpoint}/@connections/AAAAAAAAAAAAAAA%3D`, {
      method: "POST",
      headers: { "content-length": 100 },
    });
    post.on("error", () => {});
    await new Promise((resolve) => post.write("half", resolve));
    post.destroy();
    await openClient(gateway.url);
  });
});
