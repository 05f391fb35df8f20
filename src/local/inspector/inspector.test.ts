import { networkInterfaces } from "node:os";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { answerOf, connected, openPage, postPath } from "../../../test/local/inspector-page.ts";
import { startBackend, startGateway } from "../../../test/local/rig.ts";
import type { LocalGateway } from "../emulator.ts";

describe("a page of another site", () => {
  const ALL = ["events", "details", "send", "close", "impair", "set-faults", "remove-faults", "clear"];
  const JSON_TYPE = { "content-type": "application/json" };

  test.each(ALL)("cannot use %s", async (name) => {
    const { gateway, connectionId } = await connected();
    const body = JSON.stringify({ connectionId, id: 1, data: "x", fault: "half-open" });
    const own = `http://127.0.0.1:${gateway.port}`;
    for (const headers of [
      {},
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: "http://localhost:5173" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site", origin: own },
    ] as Record<string, string>[]) {
      const answer = await answerOf(gateway, `/.inspector/${name}`, {
        body,
        headers: { ...JSON_TYPE, ...headers },
      });
      expect(answer.status, JSON.stringify(headers)).toBe(403);
      expect(answer.text).not.toContain(connectionId);
      expect(Object.keys(answer.headers).filter((header) => header.startsWith("access-control"))).toEqual([]);
    }
    const plain = await answerOf(gateway, `/.inspector/${name}`, {
      body,
      headers: { "content-type": "text/plain", origin: own },
    });
    expect(plain.status).toBe(415);
    expect(gateway.connectionIds).toEqual([connectionId]);
  });

  test("cannot use the inspector through DNS rebinding", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    const { gateway } = await connected();
    const host = `evil.example:${gateway.port}`;
    const rebound = { ...JSON_TYPE, host, origin: `http://${host}`, "sec-fetch-site": "same-origin" };
    for (const path of ["/.inspector/events", "/.inspector/clear"])
      expect((await answerOf(gateway, path, { headers: rebound })).status).toBe(403);
    for (const path of ["/", "/.inspector/inspector.js"])
      expect((await answerOf(gateway, path, { method: "GET", headers: { host } })).status).toBe(403);
  });

  test("receives no permission by a preflight", async () => {
    const { gateway } = await connected();
    const headers = { origin: "https://evil.example", "access-control-request-method": "POST" };
    const answer = await answerOf(gateway, "/.inspector/send", { method: "OPTIONS", headers });
    expect(answer.status).toBe(403);
    expect(Object.keys(answer.headers).filter((header) => header.startsWith("access-control"))).toEqual([]);
  });

  test("still cannot use the Management API, and the attempt is recorded", async () => {
    const { gateway, connectionId } = await connected();
    const headers = { origin: `http://127.0.0.1:${gateway.port}` };
    expect((await answerOf(gateway, postPath(connectionId), { headers, body: "x" })).status).toBe(403);
    const page = await openPage(gateway);
    expect(page.events[1]).toMatchObject({ kind: "management", status: 403, preview: "x" });
  });
});

/** An address of this machine that other machines can use, or undefined without a network. */
const networkAddress = Object.values(networkInterfaces())
  .flatMap((addresses = []) => addresses)
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
const withoutNetwork = networkAddress === undefined && "this machine has no network address";

describe("a program on another machine", () => {
  const PATHS = ["/", "/.inspector/inspector.js", "/.inspector/inspector.css"];

  /** Sends each request of the page, with all headers that a browser would set. */
  async function answersOf(gateway: LocalGateway, address: string, headers: Record<string, string>) {
    const { host = "" } = headers;
    const own = { "content-type": "application/json", origin: `http://${host}`, ...headers };
    const answers = PATHS.map((path) => answerOf(gateway, path, { method: "GET", address, headers }));
    const body = JSON.stringify({ id: 1 });
    answers.push(answerOf(gateway, "/.inspector/details", { address, headers: own, body }));
    return (await Promise.all(answers)).map(({ status, text, headers }) => ({
      ...{ status, text },
      policy: headers["content-security-policy"],
    }));
  }

  const forbidden = Array(4).fill({ status: 403, text: '{"message":"Forbidden"}', policy: undefined });

  test.skipIf(withoutNetwork)(
    withoutNetwork || "cannot use the inspector of a gateway on all addresses",
    async () => {
      const { gateway } = await connected({ host: "0.0.0.0", secret: "gateway-secret" });
      const { port } = gateway;
      expect(gateway.inspectorUrl).toBe(`http://127.0.0.1:${port}/`);
      for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `${networkAddress}:${port}`])
        expect(await answersOf(gateway, String(networkAddress), { host }), host).toEqual(forbidden);
      const [page, , , details] = await answersOf(gateway, "127.0.0.1", { host: `localhost:${port}` });
      expect(page?.policy).toBeDefined();
      expect(details).toMatchObject({ status: 200, text: expect.stringContaining("gateway-secret") });
    },
  );

  test.skipIf(withoutNetwork)(
    withoutNetwork || "finds no inspector if the gateway has no loopback address",
    async () => {
      const host = String(networkAddress);
      const { gateway } = await connected({ host });
      expect(gateway.inspectorUrl).toBeUndefined();
      expect(await answersOf(gateway, host, { host: `localhost:${gateway.port}` })).toEqual(forbidden);
    },
  );

  test.each<Record<string, string>>([
    { host: "gateway.example.test" },
    { host: "localhost", forwarded: "for=192.0.2.1" },
    { host: "localhost", "x-forwarded-for": "192.0.2.1" },
    { host: "localhost", "x-forwarded-host": "gateway.example.test" },
    { host: "localhost", "x-real-ip": "192.0.2.1" },
    { host: "localhost", "x-forwarded-for": "" },
  ])("cannot use the inspector through a tunnel that sends %j", async (headers) => {
    const { gateway } = await connected({ allowedHosts: ["*.example.test"] });
    expect(await answersOf(gateway, "127.0.0.1", headers)).toEqual(forbidden);
  });
});

describe("a program on this machine", () => {
  test.each([
    ["127.0.0.1", "localhost"],
    ["127.0.0.1", "app.localhost"],
    ["127.0.0.1", "127.9.8.7"],
    ["127.0.0.1", "[::1]"],
    ["::1", "[::1]"],
    ["::ffff:127.0.0.1", "127.0.0.1"],
  ])("can use the inspector at %s with the host %s", async (address, name) => {
    const { gateway } = await connected({ host: address.includes(":") ? "::" : "127.0.0.1" });
    const host = `${name}:${gateway.port}`;
    const headers = { host, origin: `http://${host}`, "content-type": "application/json" };
    expect(
      (await answerOf(gateway, "/.inspector/details", { address, headers, body: '{"id":1}' })).status,
    ).toBe(200);
  });
});

describe("paths", () => {
  const get = (gateway: LocalGateway, path: string, host = "localhost") =>
    answerOf(gateway, path, { method: "GET", headers: { host } });

  test("serve the page with headers that protect it", async () => {
    const { gateway } = await connected();
    const { headers, status, text } = await get(gateway, "/");
    expect([200, 503]).toContain(status);
    if (status === 503) expect(text).toBe("The page of the inspector is not built. Run: npm run build\n");
    expect(headers).toMatchObject({
      "x-frame-options": "DENY",
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(headers["content-security-policy"]).toMatch(/script-src 'self';.*frame-ancestors 'none'/);
    expect(headers["content-security-policy"]).not.toMatch(/script-src[^;]*unsafe/);
  });

  test("of other files are not served", async () => {
    const { gateway } = await connected();
    for (const path of [
      "/.inspector/../package.json",
      "/.inspector/index.html",
      "/.inspector/%2e%2e/index.js",
    ])
      expect((await get(gateway, path)).status).toBe(403);
  });

  test("of custom domains and API endpoints are not changed", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend, {
      apiId: "a1b2c3d4e5",
      domains: {
        "ws.example.test": { "": { apiId: "a1b2c3d4e5", stage: "dev" } },
        "other.example.test": { ".inspector": { apiId: "a1b2c3d4e5", stage: "dev" } },
      },
    });
    expect((await get(gateway, "/", "ws.example.test")).status).toBe(426);
    expect((await get(gateway, "/", "other.example.test")).status).toBe(403);
    expect((await get(gateway, "/.inspector", "other.example.test")).status).toBe(426);
    for (const host of ["a1b2c3d4e5.localhost", "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"])
      expect((await get(gateway, "/", host)).text).toBe('{"message":"Forbidden"}');
  });

  test("are those of AWS with inspector: false", async () => {
    const { gateway } = await connected({ inspector: false });
    expect(gateway.inspectorUrl).toBeUndefined();
    expect((await get(gateway, "/")).text).toBe('{"message":"Forbidden"}');
    expect((await answerOf(gateway, "/.inspector/events")).text).toBe('{"message":"Forbidden"}');
  });

  test("other than / and /.inspector/ are those of AWS", async () => {
    const { gateway } = await connected();
    expect(gateway.inspectorUrl).toBe(`http://127.0.0.1:${gateway.port}/`);
    expect((await get(gateway, "/dev")).status).toBe(426);
    expect((await get(gateway, "/.inspector")).text).toBe('{"message":"Forbidden"}');
    expect((await get(gateway, "//")).text).toBe('{"message":"Forbidden"}');
    expect((await answerOf(gateway, "/", { method: "POST", headers: {} })).text).toBe(
      '{"message":"Forbidden"}',
    );
  });
});
