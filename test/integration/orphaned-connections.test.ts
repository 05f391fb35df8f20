import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { connect } from "../../src/client/socket.ts";
import { NOW } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { type Socket, World, type WorldOptions } from "./world.ts";

const HOUR_MS = 3_600_000;

let world: World;
async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    instances: 1,
    ...options,
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
}
beforeEach(() => open());
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  expect(world.errors).toEqual([]);
});

/** Moves the clock of the app, so that every connection is older than a $connect can take. */
const moveClock = () => vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 31_000 });

const removeRows = () => world.sql("delete from sallyport_connections");

/** Calls a handler, which is denied because the connection has no open row. The close can arrive before the answer. */
async function denied(socket: Socket): Promise<void> {
  const before = world.decisions.length;
  socket.send({ id: 1, handler: "whoami" });
  await expect
    .poll(() => world.decisions.slice(before))
    .toMatchObject([{ reason: "connection", status: 403 }]);
}

/** Resolves when the background work that the denial started has finished. */
async function settled(): Promise<void> {
  await world.sallyport.flush();
}

describe("a connection without an open row", () => {
  test("is denied and closed, and its client reconnects", async () => {
    const client = connect<ChatView>({
      url: world.gateway.url,
      token: () => world.token("ann"),
      backoff: { baseMs: 1, maxMs: 1 },
      WebSocket: class extends WebSocket {
        constructor(url: string) {
          super(url, { headers: { origin: "https://www.example.com", cookie: "login=ann:login-of-ann" } });
        }
      },
    });
    onTestFinished(() => client.close());
    await expect.poll(() => client.state).toBe("open");
    const first = world.gateway.connectionIds;
    moveClock();
    await removeRows();
    await expect(client.call.whoami()).rejects.toMatchObject({ name: "CallError" });
    await expect.poll(() => world.gateway.connectionIds).not.toEqual(first);
    await expect.poll(() => client.state).toBe("open");
    expect(await client.call.whoami()).toMatchObject({ user: "ann" });
    client.close();
    await expect.poll(() => world.gateway.connectionIds).toEqual([]);
  });

  test.each([
    ["was closed an hour ago", `${NOW} - ${HOUR_MS}`],
    ["was closed before the clock was set back by an hour", `${NOW} + ${HOUR_MS}`],
  ])("is closed if its row %s", async (_what, closedAt) => {
    const ann = await world.connect("ann");
    moveClock();
    await world.sql(`update sallyport_connections set closed_at = ${closedAt}`);
    await denied(ann);
    await ann.closed;
  });

  test("stays open while its $connect can still be in progress", async () => {
    const ann = await world.connect("ann");
    await removeRows();
    await denied(ann);
    await settled();
    expect(world.gateway.connectionIds).toHaveLength(1);
    moveClock();
    await denied(ann);
    await ann.closed;
  });

  test("is left to a revocation that closed its row recently", async () => {
    const ann = await world.connect("ann");
    moveClock();
    await world.sql(`update sallyport_connections set closed_at = ${NOW}`);
    await denied(ann);
    await settled();
    expect(world.gateway.connectionIds).toHaveLength(1);
  });

  test("stays open if its row belongs to another gateway of the same endpoint", async () => {
    const ann = await world.connect("ann");
    moveClock();
    await world.sallyport.registerGateway({
      name: "other",
      endpoint: world.gateway.endpoint,
      secret: "another-secret-of-the-same-endpoint-1234",
    });
    await world.sql(
      "update sallyport_connections set gateway_id = (select id from sallyport_gateways where name = 'other')",
    );
    await denied(ann);
    await settled();
    expect(world.gateway.connectionIds).toHaveLength(1);
  });
});

test("with gatewayAuth: none, a message without an open row is denied and closes nothing", async () => {
  await world.close();
  await open({ gatewayAuth: "none" });
  const ann = await world.connect("ann");
  moveClock();
  await removeRows();
  await denied(ann);
  await settled();
  expect(world.gateway.connectionIds).toHaveLength(1);
});
