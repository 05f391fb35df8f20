import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openClient, rejectionOf, startBackend, startGateway } from "../../../test/local/rig.ts";
import type { LocalGateway } from "../emulator.ts";
import { MAX_PAGES } from "./feed.ts";
import type { EventDetails, EventSummary, FeedMessage } from "./messages.ts";
import { MAX_EVENTS } from "./recorder.ts";

interface Sent {
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
}

function send(gateway: LocalGateway, path: string, { method = "POST", body = "{}", headers }: Sent = {}) {
  const own = { "content-type": "application/json", origin: `http://127.0.0.1:${gateway.port}` };
  const request = httpRequest({
    ...{ port: gateway.port, host: "127.0.0.1", agent: false, method, path },
    headers: headers ?? own,
  });
  request.on("error", () => {});
  request.end(method === "GET" ? undefined : body);
  return request;
}

async function answerOf(gateway: LocalGateway, path: string, sent?: Sent) {
  const [response] = (await once(send(gateway, path, sent), "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text };
}

async function command(gateway: LocalGateway, name: string, input: object = {}) {
  const { status, text } = await answerOf(gateway, `/.inspector/${name}`, { body: JSON.stringify(input) });
  return { status, body: JSON.parse(text) };
}

/** Reads the event stream, as the page does. */
class Page {
  readonly messages: FeedMessage[] = [];
  isEnded = false;
  readonly #request: ClientRequest;

  constructor(gateway: LocalGateway) {
    this.#request = send(gateway, "/.inspector/events");
    onTestFinished(() => void this.#request.destroy());
    void this.#read();
  }

  get types(): string[] {
    return this.messages.map(({ type }) => type);
  }

  /** The last state of each event. */
  get events(): EventSummary[] {
    const events = new Map<number, EventSummary>();
    for (const message of this.messages) {
      if (message.type === "snapshot") events.clear();
      if (message.type !== "superseded") for (const event of message.events) events.set(event.id, event);
    }
    return [...events.values()];
  }

  async until(isReached: () => boolean): Promise<void> {
    await expect.poll(isReached).toBe(true);
  }

  async #read(): Promise<void> {
    const [response] = (await once(this.#request, "response")) as [IncomingMessage];
    let unread = "";
    try {
      for await (const chunk of response) {
        const parts = (unread + chunk).split("\n\n");
        unread = parts.pop() ?? "";
        for (const part of parts) this.messages.push(JSON.parse(part.slice(6)) as FeedMessage);
      }
    } catch {
      // The test ends the stream.
    }
    this.isEnded = true;
  }
}

async function openPage(gateway: LocalGateway): Promise<Page> {
  const page = new Page(gateway);
  await page.until(() => page.messages.length > 0);
  return page;
}

async function connected(options = {}, behaviour?: Parameters<typeof startBackend>[0]) {
  const backend = await startBackend(behaviour);
  const gateway = await startGateway(backend, options);
  const client = await openClient(gateway.url);
  const [connectionId = ""] = gateway.connectionIds;
  return { backend, gateway, client, connectionId };
}

const postPath = (id: string) => `/dev/@connections/${encodeURIComponent(id)}`;
const post = (gateway: LocalGateway, id: string, body: string) =>
  answerOf(gateway, postPath(id), { headers: {}, body });

describe("the event stream", () => {
  test("contains events that happened before, and then new ones", async () => {
    const { gateway, client, connectionId } = await connected({}, ({ path }) =>
      path.endsWith("default") ? { status: 201, headers: { "x-answer": "1" }, body: '{"ok":true}' } : {},
    );
    const page = await openPage(gateway);
    expect(page.messages[0]).toMatchObject({
      type: "snapshot",
      url: gateway.url,
      events: [{ kind: "connect", connectionId, outcome: "answered", status: 200 }],
      connections: { count: 1, rows: [{ id: connectionId, sourceIp: "127.0.0.1", received: 0, sent: 0 }] },
    });
    client.socket.send('{"hello":"you"}');
    await client.text();
    await post(gateway, connectionId, "pushed");
    await client.text();
    client.socket.close(4000, "bye");
    await page.until(() =>
      page.events.some(({ kind, outcome }) => kind === "disconnect" && outcome === "answered"),
    );
    expect(page.events).toMatchObject([
      { kind: "connect" },
      {
        kind: "message",
        routeKey: "$default",
        status: 201,
        preview: '{"hello":"you"}',
        answerPreview: '{"ok":true}',
      },
      { kind: "management", routeKey: "POST", status: 200, preview: "pushed", connectionId },
      { kind: "disconnect", preview: "4000 bye" },
    ]);
    const { body } = await command(gateway, "details", { id: page.events[1]?.id });
    const { request, response } = body as EventDetails;
    expect(request).toMatchObject({ kind: "http", method: "POST", body: { text: '{"hello":"you"}' } });
    expect(request).toHaveProperty("headers", expect.arrayContaining([["connectionId", connectionId]]));
    expect(response).toMatchObject({ status: 201, body: { text: '{"ok":true}' } });
    expect(response?.headers).toContainEqual(["x-answer", "1"]);
  });

  test("contains rejected upgrades, unreachable backends and messages without a route", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    const gateway = await startGateway("unused", {
      target: undefined,
      apis: [
        {
          routes: {
            news: { integration: { type: "AWS_PROXY", handler: () => ({ statusCode: 204, body: "" }) } },
          },
          stages: { dev: {} },
        },
      ],
    });
    await rejectionOf(gateway.url.replace("/dev", "/<b>none"));
    const client = await openClient(gateway.url);
    client.socket.send("no route");
    await client.text();
    client.socket.send('{"action":"news"}');
    const page = await openPage(gateway);
    await page.until(() => page.events.some(({ status }) => status === 204));
    expect(page.events).toMatchObject([
      { kind: "connect", outcome: "rejected", status: 403, preview: "/%3Cb%3Enone" },
      { kind: "connect", outcome: "no route" },
      { kind: "message", outcome: "no route", preview: "no route" },
      { kind: "message", outcome: "answered", routeKey: "news", status: 204 },
    ]);
    const { body } = await command(gateway, "details", { id: 4 });
    expect(body).toMatchObject({ request: { kind: "function" }, response: { status: 204 } });
    expect(JSON.parse(body.request.event.text)).toMatchObject({ body: '{"action":"news"}' });
    expect(JSON.parse(body.response.result.text)).toEqual({ statusCode: 204, body: "" });
  });

  test("shows the simulated faults of an event", async () => {
    const { gateway, client } = await connected();
    gateway.setFaults({ delayMs: 20, duplicate: 1 });
    const page = await openPage(gateway);
    client.socket.send("late");
    await page.until(() => page.events[1]?.outcome === "answered");
    expect(page.events[1]?.faults).toMatchObject({ delayMs: 20, isDoubled: true, isDropped: false });
  });

  test("ends when too many pages are open, oldest first", async () => {
    const { gateway } = await connected();
    const pages: Page[] = [];
    for (let count = 0; count < 2 * MAX_PAGES; count++) pages.push(await openPage(gateway));
    await pages[0]?.until(() => pages.slice(0, MAX_PAGES).every(({ isEnded }) => isEnded));
    expect(pages.map(({ types }) => types.includes("superseded"))).toEqual([
      ...Array(MAX_PAGES).fill(true),
      ...Array(MAX_PAGES).fill(false),
    ]);
  });

  test("does not keep close() from finishing", async () => {
    const { gateway } = await connected();
    const page = await openPage(gateway);
    await gateway.close();
    await page.until(() => page.isEnded);
  });

  test("has no queue for a page that does not read, which receives a snapshot later", async () => {
    const { gateway, client } = await connected({}, ({ body }) => ({ body }));
    const request = send(gateway, "/.inspector/events");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    onTestFinished(() => void request.destroy());
    // Each character has six bytes in JSON.
    const large = "\u0001".repeat(190);
    const count = 5_000;
    const reader = await openPage(gateway);
    for (let index = 0; index < count; index++) {
      client.socket.send(`${index} ${large}`);
      if (index % 64 === 63) await client.text();
    }
    await reader.until(() => reader.events.some(({ preview }) => preview.startsWith(`${count - 1} `)));
    let text = "";
    response.on("data", (chunk) => {
      text += chunk;
    });
    await expect.poll(() => text.includes(`"preview":"${count - 1} `)).toBe(true);
    // All changes together would be far larger than some snapshots and the buffers of the sockets.
    expect(text.length).toBeLessThan(count * 2_000);
    expect(text.match(/"type":"snapshot"/g)?.length).toBeGreaterThan(1);
    const isAnswered = ({ outcome }: EventSummary) => outcome === "answered";
    await reader.until(() => reader.events.slice(-MAX_EVENTS).every(isAnswered));
  });
});

describe("commands", () => {
  test("send a message to a client, and close its connection", async () => {
    const { gateway, client, connectionId, backend } = await connected();
    expect(await command(gateway, "send", { connectionId, data: "<b>é</b>" })).toMatchObject({ status: 200 });
    expect(await client.message()).toEqual({ text: "<b>é</b>", isBinary: false });
    expect(await command(gateway, "send", { connectionId, data: "é".repeat(70_000) })).toMatchObject({
      status: 413,
    });
    expect(await command(gateway, "close", { connectionId })).toMatchObject({ status: 200 });
    expect(await client.closed).toMatchObject({ code: 1000 });
    await backend.call("disconnect");
    expect(await command(gateway, "send", { connectionId, data: "x" })).toMatchObject({ status: 410 });
    expect(await command(gateway, "close", { connectionId })).toMatchObject({ status: 410 });
  });

  test("simulate a fault of the network", async () => {
    const { gateway, connectionId } = await connected();
    expect(await command(gateway, "impair", { connectionId, fault: "not-reading" })).toMatchObject({
      status: 200,
    });
    expect((await post(gateway, connectionId, "x")).status).toBe(429);
    expect(await command(gateway, "send", { connectionId, data: "x" })).toMatchObject({ status: 429 });
    await command(gateway, "impair", { connectionId, fault: "none" });
    expect((await post(gateway, connectionId, "x")).status).toBe(200);
    expect(await command(gateway, "impair", { connectionId, fault: "fire" })).toMatchObject({ status: 400 });
  });

  test("change single faults, and keep those of the code", async () => {
    const { gateway, connectionId } = await connected();
    gateway.setFaults({ drop: () => false, delayMs: 5 });
    await command(gateway, "set-faults", { gone: 1 });
    expect((await post(gateway, connectionId, "x")).status).toBe(410);
    await command(gateway, "set-faults", { gone: 0, limitExceeded: 1 });
    expect((await post(gateway, connectionId, "x")).status).toBe(429);
    const page = await openPage(gateway);
    expect(page.messages[0]).toMatchObject({ faults: { drop: "function", delayMs: 5, limitExceeded: 1 } });
    expect(await command(gateway, "set-faults", { drop: 2 })).toEqual({
      status: 400,
      body: { message: "setFaults(): drop must be a number from 0 to 1 or a function, but received 2." },
    });
    expect((await command(gateway, "set-faults", { seed: 1 })).status).toBe(400);
    await command(gateway, "remove-faults");
    expect((await post(gateway, connectionId, "x")).status).toBe(200);
  });

  test("clear the events for every page", async () => {
    const { gateway, client } = await connected();
    const page = await openPage(gateway);
    expect(page.events).toHaveLength(1);
    expect((await command(gateway, "clear")).status).toBe(200);
    await page.until(() => page.events.length === 0);
    expect((await command(gateway, "details", { id: 1 })).status).toBe(404);
    client.socket.send("next");
    await page.until(() => page.events[0]?.outcome === "answered");
    expect(page.events).toHaveLength(1);
  });

  test.each([
    ["nothing", "", 400],
    ["malformed JSON", "{", 400],
    ["a list", "[]", 400],
    ["a number", "1", 400],
    ["a missing field", "{}", 400],
    ["a field of another type", '{"connectionId":1,"data":{}}', 400],
    ["2 MB", `"${"x".repeat(2_000_000)}"`, 413],
  ])("reject %s", async (_, body, status) => {
    const { gateway } = await connected();
    expect((await answerOf(gateway, "/.inspector/send", { body })).status).toBe(status);
  });

  test("reject an unknown name with 404", async () => {
    const { gateway } = await connected();
    expect((await command(gateway, "toString")).status).toBe(404);
    expect((await command(gateway, "../dev")).status).toBe(404);
  });
});

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

  test("of no other file can be read", async () => {
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
