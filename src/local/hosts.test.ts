import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openClient, RawClient, startBackend, startGateway } from "../../test/local/rig.ts";
import type { LocalGateway, LocalGatewayOptions } from "./emulator.ts";

/** Collects the warnings of the gateway instead of printing them. */
function printed(): string[] {
  const lines: string[] = [];
  const spy = vi.spyOn(console, "warn").mockImplementation((line: string) => void lines.push(line));
  onTestFinished(() => spy.mockRestore());
  return lines;
}

async function connected(options: Partial<LocalGatewayOptions> = {}) {
  const backend = await startBackend();
  const gateway = await startGateway(backend, options);
  const client = await openClient(gateway.url);
  const [id = ""] = gateway.connectionIds;
  return { backend, gateway, client, path: `/dev/@connections/${encodeURIComponent(id)}` };
}

async function statusOf(
  gateway: LocalGateway,
  method: string,
  path: string,
  headers: Record<string, string>,
): Promise<number | undefined> {
  const request = httpRequest({ port: gateway.port, host: "127.0.0.1", method, path, headers });
  request.end(method === "POST" ? "x" : undefined);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return response.statusCode;
}

/** Returns the status of an upgrade request with this Host header. */
async function upgradeStatus(gateway: LocalGateway, host: string): Promise<string | undefined> {
  const client = new RawClient(gateway.port);
  client.upgrade("/dev", [], host);
  const head = await client.head();
  client.socket.destroy();
  return /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1];
}

describe("a name that a web page can point at this machine (DNS rebinding)", () => {
  test.each(["POST", "GET", "DELETE"])("is answered 403 on @connections, for %s", async (method) => {
    printed();
    const { gateway, path, client } = await connected();
    expect(await statusOf(gateway, method, path, { host: `evil.example:${gateway.port}` })).toBe(403);
    expect(gateway.connectionCount).toBe(1);
    // The next frame that arrives is the one of an allowed caller.
    expect(await statusOf(gateway, "POST", path, {})).toBe(200);
    expect(await client.message()).toEqual({ text: "x", isBinary: false });
  });

  test("is answered 403 on an upgrade, and the backend is not called", async () => {
    printed();
    const { gateway, backend } = await connected();
    expect(await upgradeStatus(gateway, "evil.example")).toBe("403");
    expect(backend.to("connect")).toHaveLength(1);
  });

  test.each([
    "evil.example",
    "evil.example:3001",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "203.0.113.1",
    "[2001:db8::1]",
    "a1b2c3d4e5.evil.example",
    "a1b2c3d4e5.execute-api.eu-west-1.evil.example",
    "evil.ws.example.test",
    "127.0.0.1:3001:1",
    "localhost/x",
    "[::1",
  ])("is rejected as %j", async (host) => {
    printed();
    const { gateway, path } = await connected({
      apiId: "a1b2c3d4e5",
      domains: { "ws.example.test": { "": { apiId: "a1b2c3d4e5", stage: "dev" } } },
    });
    expect(await statusOf(gateway, "GET", path, { host })).toBe(403);
  });

  test("is reported on the console once, with the option to set", async () => {
    const lines = printed();
    const { gateway, path } = await connected();
    expect(lines).toEqual([]);
    for (let count = 0; count < 3; count++) {
      await statusOf(gateway, "GET", path, { host: "gateway:3001" });
      await upgradeStatus(gateway, "gateway:3001");
    }
    expect(lines).toEqual([
      'sallyport local gateway: a request was answered 403, because its Host header "gateway:3001" is not a known name of this ' +
        "machine. A web page could otherwise use the gateway through DNS rebinding. If the name is yours, set " +
        'allowedHosts: ["gateway"], or pass --allowed-host gateway. Further requests are not reported.',
    ]);
  });

  test("cannot write control characters to the console", async () => {
    const lines = printed();
    const { gateway } = await connected();
    await upgradeStatus(gateway, "\u009b31mevil\u0085.example");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^[\x20-\x7e]+$/);
  });
});

describe("a name of this machine", () => {
  test.each([
    "localhost",
    "LOCALHOST:3001",
    "localhost.",
    "app.localhost",
    "127.0.0.1",
    "127.1.2.3:3001",
    "[::1]:3001",
    "[::ffff:127.0.0.1]",
    "a1b2c3d4e5",
    "a1b2c3d4e5.localhost",
    "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com",
    "a1b2c3d4e5.execute-api.eusc-de-east-1.amazonaws.eu",
    "ws.example.test",
    "gateway",
    "gateway:3001",
    "my_container",
    "deep.test.example",
  ])("is allowed as %s", async (host) => {
    const lines = printed();
    const { gateway, path } = await connected({
      apiId: "a1b2c3d4e5",
      domains: { "ws.example.test": { "": { apiId: "a1b2c3d4e5", stage: "dev" } } },
      allowedHosts: ["gateway", "my_container", "*.test.example"],
    });
    const own = host === "ws.example.test" ? path.replace("/dev", "") : path;
    expect(await statusOf(gateway, "GET", own, { host })).toBe(200);
    expect(lines).toEqual([]);
  });

  test("is also the address that the gateway listens on", async () => {
    printed();
    const { gateway, path } = await connected({ host: "127.0.0.2" });
    const call = async (host: string) => {
      const request = httpRequest({ port: gateway.port, host: "127.0.0.2", path, headers: { host } }).end();
      const [response] = (await once(request, "response")) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    expect([await call("127.0.0.2"), await call("evil.example")]).toEqual([200, 403]);
  });

  test("does not include the parent domain or similar names of *.test.example", async () => {
    printed();
    const { gateway, path } = await connected({ allowedHosts: ["*.test.example"] });
    expect(await statusOf(gateway, "GET", path, { host: "test.example" })).toBe(403);
    expect(await statusOf(gateway, "GET", path, { host: "eviltest.example" })).toBe(403);
  });
});

describe("an Origin header, which no AWS SDK sends", () => {
  test.each(["https://evil.example", "null", "http://localhost:3000", ""])(
    "is answered 403 on @connections: %j",
    async (origin) => {
      const { gateway, path, client } = await connected();
      for (const method of ["POST", "GET", "DELETE"]) {
        expect([method, await statusOf(gateway, method, path, { origin })]).toEqual([method, 403]);
      }
      expect(gateway.connectionCount).toBe(1);
      expect(await statusOf(gateway, "POST", path, {})).toBe(200);
      expect(await client.message()).toEqual({ text: "x", isBinary: false });
    },
  );

  test("is passed to the backend on an upgrade, because the app checks the origin", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    await openClient(gateway.url, [], { headers: { Origin: "https://evil.example" } });
    expect((await backend.call("connect")).headers.origin).toBe("https://evil.example");
  });
});

test.each([
  [
    "gateway:3001",
    /allowedHosts\[0\] must be the name or address of a host, without a port, .*but received "gateway:3001"/,
  ],
  ["http://gateway", /allowedHosts\[0\] must be/],
  ["*", /allowedHosts\[0\] must be/],
  ["", /allowedHosts\[0\] must be/],
])("rejects %j as an allowed host", async (name, message) => {
  const backend = await startBackend();
  await expect(startGateway(backend, { allowedHosts: [name] })).rejects.toThrow(message);
});
