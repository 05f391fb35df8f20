import { metrics, trace } from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { INTERNAL } from "../../src/internal.ts";
import { openTelemetry } from "../../src/telemetry.ts";
import { changedStorage, storageAt } from "../postgres/storage-at.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const spans = new InMemorySpanExporter();
const measured = new InMemoryMetricExporter(AggregationTemporality.DELTA);
const reader = new PeriodicExportingMetricReader({ exporter: measured, exportIntervalMillis: 3_600_000 });
beforeAll(() => {
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).register();
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
});
afterAll(async () => {
  await reader.shutdown();
  trace.disable();
  metrics.disable();
});

/** Returns the counts of a metric since the last call, with attributes without their prefix. */
async function counted(name: string): Promise<(Record<string, unknown> & { count: number })[]> {
  measured.reset();
  await reader.forceFlush();
  const all = measured
    .getMetrics()
    .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
  return all
    .filter(({ descriptor }) => descriptor.name === name)
    .flatMap(({ dataPoints }) =>
      dataPoints.map(({ attributes, value }) => ({
        ...Object.fromEntries(
          Object.entries(attributes).map(([key, of]) => [key.replace("sallyport.", ""), of]),
        ),
        count: typeof value === "number" ? value : (value as { count: number }).count,
      })),
    );
}

const at = { view: "/ws/chat" };

let world: World;
beforeEach(async () => {
  await counted("none");
  spans.reset();
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    telemetry: openTelemetry(),
    healthPath: "/healthz",
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(() => world.close());

describe("telemetry", () => {
  test("counts connects, messages and disconnects by status", async () => {
    const socket = await world.connect("ann");
    await socket.result("whoami");
    await socket.result("whoami");
    await socket.call("delete_message", { id_of: 1 });
    socket.close();
    await socket.closed;
    await expect
      .poll(() => spans.getFinishedSpans().map(({ name }) => name))
      .toContain("sallyport disconnect");
    expect(await counted("sallyport.events")).toEqual(
      expect.arrayContaining([
        { event: "token", status: 200, count: 1 },
        { event: "connect", ...at, status: 200, count: 1 },
        { event: "message", ...at, handler: "whoami", status: 200, count: 2 },
        { event: "message", ...at, status: 403, count: 1 },
        { event: "disconnect", ...at, status: 200, count: 1 },
      ]),
    );
  });

  test("measures the authorization of events that it allowed", async () => {
    const socket = await world.connect("ann");
    await socket.result("whoami");
    await socket.call("require_broadcast");
    await socket.call("delete_message", { id_of: 1 });
    expect(await counted("sallyport.authorization.duration")).toEqual(
      expect.arrayContaining([
        { event: "connect", ...at, count: 1 },
        { event: "message", ...at, handler: "whoami", count: 1 },
        { event: "message", ...at, handler: "require_broadcast", count: 1 },
      ]),
    );
  });

  test("counts denials by reason, without client input in the attributes", async () => {
    await expect(world.connect("bob")).rejects.toThrow(/403/);
    const socket = await world.connect("ann");
    for (let count = 0; count < 20; count++) await socket.call(`made_up_${count}`);
    await socket.call("send_to", { channel: "rooms/moderators", message: "x" });
    const rejections = await counted("sallyport.denials");
    expect(rejections).toEqual(
      expect.arrayContaining([
        { event: "connect", ...at, reason: "permission", count: 1 },
        { event: "message", ...at, reason: "handler", count: 20 },
        { event: "message", ...at, reason: "permission", count: 1 },
      ]),
    );
    expect(JSON.stringify([rejections, await counted("sallyport.events")])).not.toMatch(
      /made_up|ann|bob|moderators/,
    );
  });

  test("counts revocations, and creates a span for a send", async () => {
    await world.sallyport.access.grant("mo", chat.can_moderate_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await ann.result("send_message", { message: "hello" });
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    await ann.closed;
    expect(await counted("sallyport.revocations")).toEqual([{ ...at, scope: "view", count: 1 }]);
    await world.sallyport.to({ channel: "rooms/general" }).send({ type: "x" });
    expect(spans.getFinishedSpans().map(({ name }) => name)).toContain("sallyport send");
  });

  test("creates a span for each event, with a child span for each send", async () => {
    const socket = await world.connect("ann", { channel: "rooms/general" });
    await socket.result("send_message", { message: "hello" });
    await expect.poll(() => spans.getFinishedSpans().map(({ name }) => name)).toContain("sallyport message");
    const finished = spans.getFinishedSpans();
    const message = finished.find(({ name }) => name === "sallyport message");
    const send = finished.find(({ name }) => name === "sallyport send");
    expect(message?.attributes).toMatchObject({
      "sallyport.view": "/ws/chat",
      "sallyport.handler": "send_message",
      "sallyport.status": 200,
      "sallyport.connection_id": expect.stringMatching(/=$/),
    });
    expect(send?.parentSpanContext?.spanId).toBe(message?.spanContext().spanId);
    expect(send?.attributes).toMatchObject({ "sallyport.audience": "channel", "sallyport.sent": 1 });
    const denial = await socket.call("delete_message", { id_of: 1 });
    const events = spans.getFinishedSpans().flatMap((span) => span.events);
    expect(events).toContainEqual(
      expect.objectContaining({
        name: "denied",
        attributes: { "sallyport.reason": "permission", "sallyport.reference": denial.reference },
      }),
    );
  });

  test("marks the span of a failed handler as an error", async () => {
    const socket = await world.connect("ann");
    await socket.call("fail_always");
    await expect
      .poll(
        () =>
          spans.getFinishedSpans().find(({ attributes }) => attributes["sallyport.status"] === 500)?.status
            .code,
      )
      .toBe(2);
    expect(world.errors).toHaveLength(1);
  });
});

describe("the health endpoint", () => {
  test("returns 200 and only { ok: true } without authentication while the database responds", async () => {
    const response = await fetch(`${world.appUrl}/healthz`);
    expect([response.status, await response.json()]).toEqual([200, { ok: true }]);
    expect(response.headers.get("cache-control")).toBe("no-store");
    const posted = await fetch(`${world.appUrl}/healthz`, { method: "POST" });
    expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect(await world.sallyport.health()).toEqual({ isHealthy: true, databaseMs: expect.any(Number) });
  });

  test("reports a failing or hanging database and a closed app, with details only in health()", async () => {
    const storage = storageAt(world.database);
    let now: "failing" | "silent" = "silent";
    const failing = world.sallyport[INTERNAL].with({
      storage: changedStorage(storage, {
        checkWritable: () =>
          now === "failing" ? Promise.reject(new Error("the disk is gone")) : new Promise<void>(() => {}),
      }),
    });
    expect(await failing.health()).toMatchObject({
      isHealthy: false,
      why: "The database did not answer within 2000 ms.",
    });
    now = "failing";
    expect(await failing.health()).toMatchObject({ isHealthy: false, why: "the disk is gone" });
    const answered = await failing.fetch(new Request("http://here/healthz"));
    expect([answered?.status, await answered?.json()]).toEqual([503, { ok: false }]);
    const closed = world.sallyport[INTERNAL].with({ storage: storageAt(world.database) });
    await closed.health();
    await closed.close();
    expect(await closed.health()).toMatchObject({ isHealthy: false });
  });

  test("rejects an invalid healthPath at startup", () => {
    for (const healthPath of ["healthz", "https://www.example.com/healthz", ""])
      expect(() => world.sallyport[INTERNAL].with({ healthPath })).toThrow(
        /healthPath must be a path .*such as "\/healthz"/,
      );
  });

  test("is disabled without healthPath", async () => {
    const without = world.sallyport[INTERNAL].with({ healthPath: undefined as never });
    expect(await without.fetch(new Request("http://here/healthz"))).toBeUndefined();
  });
});
