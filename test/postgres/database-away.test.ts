import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { TcpProxy } from "../../bench/src/tcp-proxy.ts";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import { StorageError } from "../../src/errors.ts";
import { INTERNAL } from "../../src/internal.ts";
import { startLocalGateway } from "../../src/local/emulator.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { ORIGIN, Socket, World } from "../integration/world.ts";
import { changedStorage, ownDatabase, sqlAt, type TestDatabase } from "./database.ts";
import { postgresDatabase } from "./storage-at.ts";

let own: TestDatabase;
let proxy: TcpProxy;
const left: string[] = [];
beforeEach(async () => {
  left.length = 0;
  own = await ownDatabase();
  proxy = await TcpProxy.open(new URL(own.source));
});
afterEach(async () => {
  await proxy.close();
  await own.drop();
});

class LeavingView extends ChatView {
  override disconnect = ({ userId }: { userId: string | undefined }) => void left.push(userId ?? "");
}

/** Opens a world with an app that connects to its database through the proxy. */
async function open(): Promise<World> {
  const world = await World.open(
    {
      permissions: [chat],
      channels,
      views: { "/ws/chat": LeavingView },
      instances: 1,
      storage: () => postgresDatabase(proxy.through(own.source), { poolSize: 4 }),
    },
    { source: own.source, drop: async () => undefined },
  );
  onTestFinished(() => world.close());
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  return world;
}

const unavailable = (id: unknown) => ({
  id,
  ok: false,
  status: 503,
  error: "Temporarily unavailable.",
  reference: expect.any(String),
});

describe("while the database is unreachable", () => {
  test("a call is answered with its id as HTTP 200, also when the list of gateways is unknown", async () => {
    const world = await open();
    const headers = { connectionId: "AAAAAAAAAAAAAAA=", "x-sallyport-secret": world.secret };
    const call = { handler: "whoami", id: "my-call" };
    await proxy.refuse();
    // A process that has not read the gateways yet.
    const fresh = world.sallyport[INTERNAL].with({
      storage: postgresDatabase(proxy.through(own.source), { listen: false }),
      onError: () => undefined,
    });
    onTestFinished(() => fresh.close());
    const request = (secret: string) =>
      new Request("http://here/ws/chat/default", {
        method: "POST",
        headers: { ...headers, "x-sallyport-secret": secret },
        body: JSON.stringify(call),
      });
    // An unverified caller receives only its own call id.
    for (const secret of [world.secret, "a".repeat(64)]) {
      const answer = await fresh.fetch(request(secret));
      expect(answer?.status).toBe(200);
      expect(await answer?.json()).toEqual(unavailable("my-call"));
    }
    const odd = new Request("http://here/ws/chat/default", { method: "POST", headers, body: "{" });
    expect((await fresh.fetch(odd))?.status).toBe(503);
    await proxy.listen();
    const denied = await fresh.fetch(request("a".repeat(64)));
    expect([denied?.status, JSON.stringify(await denied?.json())]).toEqual([
      403,
      expect.not.stringContaining("my-call"),
    ]);
  });

  test("a client receives the answer to its call, as a route response or as a pushed message", async () => {
    const world = await open();
    const ann = await world.connect("ann");
    expect(await ann.call("whoami")).toMatchObject({ ok: true });
    await proxy.refuse();
    const frame = await ann.call("whoami");
    expect(frame).toEqual(unavailable(frame.id));
    await proxy.listen();
    await expect.poll(async () => (await ann.call("whoami")).ok).toBe(true);
    // Another API without route responses, so its answers are pushed.
    const secret = gatewaySecret();
    const gateway = await startLocalGateway({
      target: `${world.appUrl}/ws/chat/`,
      port: 0,
      secret,
      routeResponses: false,
    });
    onTestFinished(() => gateway.close());
    const { apiId, endpoint } = gateway;
    await world.sallyport.registerGateway({ name: "pushing", apiId, endpoint, secret, replies: "push" });
    const url = new URL(gateway.url);
    url.searchParams.set("ws_token", await world.token("ann"));
    const other = await Socket.open(url, { origin: ORIGIN, cookie: "login=ann:login-of-ann" });
    onTestFinished(() => other.terminate());
    expect(await other.call("whoami")).toMatchObject({ ok: true });
    await proxy.refuse();
    const pushed = await other.call("whoami");
    expect(pushed).toEqual(unavailable(pushed.id));
  });

  test("disconnects are queued, and recorded when the database is reachable again", async () => {
    const world = await open();
    await Promise.all([1, 2, 3].map(() => world.connect("ann")));
    const ids = (await world.sallyport.listConnections({ user: "ann" })).map(
      ({ connectionId }) => connectionId,
    );
    await proxy.refuse();
    const disconnect = async (connectionId: string) => {
      const headers = { connectionId, "x-sallyport-secret": world.secret };
      return (await world.event("/ws/chat/disconnect", headers)).status;
    };
    const statuses = await Promise.all(ids.map((id) => disconnect(id)));
    expect(statuses).toEqual([503, 503, 503]);
    await proxy.listen();
    await expect.poll(() => left).toEqual(["ann", "ann", "ann"]);
    expect(
      await sqlAt(own.source, "select 1 from sallyport_connections where disconnected_at is null"),
    ).toEqual([]);
  });
});

describe("a revoke() that is committed before the connection breaks", () => {
  test("rejects with SALLYPORT_COMMITTED, and the worker closes the connection", async () => {
    const world = await open();
    const ann = await world.connect("ann");
    await ann.call("whoami");
    const errors: unknown[] = [];
    const storage = postgresDatabase(proxy.through(own.source), { poolSize: 2, listen: false });
    let isCommitted = false;
    const other = world.sallyport[INTERNAL].with({
      onError: (error) => errors.push(error),
      storage: changedStorage(storage, {
        async transaction(work) {
          const result = await storage.transaction(work);
          if (!isCommitted) await proxy.refuse();
          isCommitted = true;
          return result;
        },
      }),
    });
    onTestFinished(() => other.close());
    const revoking = other.access.revoke("ann", chat.can_use_chat);
    await expect(revoking).rejects.toBeInstanceOf(StorageError);
    await expect(revoking).rejects.toMatchObject({
      code: "SALLYPORT_COMMITTED",
      message: expect.stringMatching(/^The change "revoke" \(number \d+ in the audit log\) is committed/),
    });
    expect(errors.length).toBeGreaterThan(0);
    await proxy.listen();
    expect((await ann.closed).code).toBe(1000);
    expect(await world.sallyport.access.users.hasPermission("ann", chat.can_use_chat)).toBe(false);
  });
});
