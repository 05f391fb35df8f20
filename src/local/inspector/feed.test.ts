import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { command, connected, openPage, type Page, post, send } from "../../../test/local/inspector-page.ts";
import { openClient, rejectionOf, startGateway } from "../../../test/local/rig.ts";
import { MAX_PAGES } from "./feed.ts";
import type { EventDetails, EventSummary } from "./messages.ts";
import { MAX_EVENTS } from "./recorder.ts";

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
