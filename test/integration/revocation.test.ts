import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { NOW, padded, storageAt, withHeldLooks } from "../postgres/database.ts";
import { ChatView, channels, chat, ModerationView } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { ORIGIN, revoked, World } from "./world.ts";

const views = { "/ws/chat": ChatView };
let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Creates a second instance of the app, as in another process. */
const another = (storage: Database = storageAt(world.database)) =>
  createSallyport({
    storage,
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
  });

test("revoke() in another process closes the connection after one notice", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const other = another();
  expect(await other.access.revoke("ann", chat.can_use_chat)).toBe(true);
  expect(await ann.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
  expect(ann.received).toEqual([revoked()]);
  await other.close();
});

test("enforces the committed change of a process that died before the revocation", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    "insert into sallyport_revocations (id, scope, subject, created_at) values ('x', 'user', 'ann', 1)",
  );
  expect((await ann.closed).code).toBe(1000);
  await expect.poll(() => world.sql("select * from sallyport_revocations")).toEqual([]);
});

test("claims a revocation of a dead process again when its lease expires", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    `insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('x', 'user', 'ann', 1, 'dead', ${NOW} + 700)`,
  );
  expect((await ann.closed).code).toBe(1000);
});

test("B5 denies messages and deliveries of a revoked connection when its gateway is unreachable", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("update sallyport_gateways set endpoint = 'http://127.0.0.1:9/dev'");
  const other = another();
  await other.access.revoke("ann", chat.can_use_chat);
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await other.to("everyone").send({ type: "x" })).toMatchObject({ recipients: 0 });
  await other.close();
});

test("retries the close of a connection until the gateway succeeds", async () => {
  const gateway = await GatewayServer.start();
  onTestFinished(() => gateway.close());
  await gateway.open(world, "g", "ann", 1, 1);
  const closes = () => gateway.calls.filter(({ method }) => method === "DELETE").length;
  gateway.answer = ({ method }) => (method === "DELETE" && closes() <= 6 ? 500 : 200);
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  await expect.poll(closes).toBe(7);
  expect(await world.sql("select * from sallyport_revocations")).toEqual([]);
  expect(world.errors.splice(0).map(String)).toEqual([
    "Error: API Gateway did not accept the notice or the close of the connection (status 500). " +
      "Check that this process can reach the gateway.",
  ]);
});

test("disconnect() of the view runs once for a revoked connection, after it closed", async () => {
  await world.close();
  const left: (string | undefined)[] = [];
  class Leaving extends ChatView {
    override disconnect({ userId, connection }: Parameters<NonNullable<ChatView["disconnect"]>>[0]) {
      left.push(userId, connection.channel);
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Leaving } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  await ann.closed;
  await expect.poll(() => left).toEqual(["ann", "rooms/general"]);
});

/** Runs `change` while a connect waits in connect() of the view. Returns the handshake status. */
async function whileConnecting(user: string, change: () => Promise<unknown>): Promise<number> {
  await world.close();
  let connecting: () => void = () => undefined;
  let resume: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    connecting = resolve;
  });
  const held = new Promise<void>((resolve) => {
    resume = resolve;
  });
  class Slow extends ChatView {
    override async connect() {
      connecting();
      await held;
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Slow } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const attempt = world.connect(user).then(
    () => 101,
    (error: { status: number }) => error.status,
  );
  await arrived;
  await change();
  resume();
  return attempt;
}

test("denies a connect with 403 when the permission is revoked during connect()", async () => {
  const revoked = () => world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(await whileConnecting("ann", revoked)).toBe(403);
});

test("fails a connect with 401 when the session ends during connect()", async () => {
  const ended = () => world.sallyport.access.endSession("phone");
  expect(await whileConnecting("ann:phone", ended)).toBe(401);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "session-ended", userId: "ann" });
});

describe("another app on the same database", () => {
  /** Another deployment, which mounts another view and defines no channels. */
  const otherApp = () =>
    createSallyport({
      storage: storageAt(world.database),
      permissions: [chat],
      views: { "/ws/other": ModerationView },
      origins: [ORIGIN],
      authenticate: () => null,
    });

  test("closes the connections of an ended session, also for a view that it does not mount", async () => {
    const phone = await world.connect("ann:phone");
    const other = otherApp();
    const { ended } = await other.access.change({ kind: "end-session", session: "phone" });
    expect(ended).toEqual({
      closedConnections: 1,
      leftChannels: 0,
      uncheckedConnections: 0,
      isComplete: true,
    });
    expect((await phone.closed).code).toBe(1000);
    expect(phone.received).toEqual([revoked()]);
    await other.close();
  });

  test("leaves a revocation for a view that it does not mount to the other app", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const other = otherApp();
    const { ended } = await other.access.change({
      kind: "revoke",
      holder: "ann",
      permission: chat.can_use_chat,
    });
    expect(ended).toMatchObject({ closedConnections: 0, leftChannels: 0, isComplete: true });
    // The serving process can have closed the connection already.
    const answer = await ann.call("whoami").catch(() => "closed");
    if (answer !== "closed") expect(answer).toMatchObject({ ok: false, status: 403 });
    expect((await ann.closed).code).toBe(1000);
    expect(ann.received).toContainEqual(revoked());
    await other.close();
  });
});

describe("the authorize hook", () => {
  let members: Set<string>;
  let failing = false;
  let held: Promise<void> | undefined;
  let onHookCalled: () => void = () => undefined;
  const club = defineChannel("club", {
    signedIn: true,
    authorize: async ({ user }) => {
      if (failing) throw new Error("the members' table is out of reach");
      const member = members.has(user.id ?? "");
      onHookCalled();
      await held;
      return member;
    },
  });

  beforeEach(async () => {
    members = new Set(["ann", "bob"]);
    failing = false;
    held = undefined;
    onHookCalled = () => undefined;
    await world.close();
    world = await World.open({ permissions: [chat], channels: [...channels, club], views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("bob", chat.can_use_chat);
  });

  const lost = revoked("club");

  test("is called by recheck(), which removes denied connections before it resolves", async () => {
    const ann = await world.connect("ann", { channel: "club" });
    const bob = await world.connect("bob", { channel: "club" });
    members.delete("ann");
    await world.sallyport.access.recheck({ channel: "club" });
    expect(await world.sallyport.to({ channel: "club" }).send({ type: "x" })).toMatchObject({
      recipients: 1,
    });
    await bob.message("x");
    expect(await ann.message("sallyport.revoked")).toEqual(lost);
    expect(await ann.result("whoami")).toMatchObject({ channels: [] });
    expect(await ann.call("join_room", { channel: "club" })).toMatchObject({ ok: false, status: 403 });
    members.add("ann");
    await ann.result("join_room", { channel: "club" });
    members.delete("ann");
    const { ended } = await world.sallyport.access.change({ kind: "recheck", user: "ann" });
    expect(ended).toEqual({
      closedConnections: 0,
      leftChannels: 1,
      uncheckedConnections: 0,
      isComplete: true,
    });
    expect(ann.received.filter((frame) => frame.type === "sallyport.revoked")).toEqual([lost, lost]);
    expect(ann.received.some((frame) => frame.type === "x")).toBe(false);
  });

  test("denies access when it throws, on a recheck, a join and a connect", async () => {
    const ann = await world.connect("ann", { channel: "club" });
    failing = true;
    await world.sallyport.access.recheck({ channel: "club" });
    expect(await ann.message("sallyport.revoked")).toEqual(lost);
    expect(await ann.call("join_room", { channel: "club" })).toMatchObject({ ok: false, status: 500 });
    await expect(world.connect("bob", { channel: "club" })).rejects.toMatchObject({ status: 500 });
    expect(world.errors.splice(0).map(String)).toEqual(
      Array(3).fill("Error: the members' table is out of reach"),
    );
    expect(await ann.result("whoami")).toMatchObject({ channels: [] });
  });

  /** Removes the member after the hook allowed a join or connect, and before the hook returns. */
  async function removedDuring(attempt: () => Promise<unknown>): Promise<unknown> {
    let resume: () => void = () => undefined;
    held = new Promise((resolve) => {
      resume = resolve;
    });
    const wasCalled = new Promise<void>((resolve) => {
      onHookCalled = resolve;
    });
    const outcome = attempt();
    await wasCalled;
    members.delete("ann");
    await world.sallyport.access.recheck({ user: "ann" });
    resume();
    return outcome;
  }

  test("is called again by a join when access changed before the membership was written", async () => {
    const ann = await world.connect("ann");
    expect(await removedDuring(() => ann.call("join_room", { channel: "club" }))).toMatchObject({
      status: 403,
    });
    expect(await world.sallyport.to({ channel: "club" }).send({ type: "x" })).toMatchObject({
      recipients: 0,
    });
  });

  test("is not called without the permission, and does not outweigh a revoked permission", async () => {
    let hookCalls = 0;
    const counted = defineChannel("counted", {
      permissionsRequired: [chat.can_moderate_chat],
      authorize: async () => {
        hookCalls++;
        await world.sql("delete from sallyport_user_permissions where permission = 'chat.can_moderate_chat'");
        return true;
      },
    });
    await world.close();
    world = await World.open({ permissions: [chat], channels: [counted], views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    expect(await ann.call("join_room", { channel: "counted" })).toMatchObject({ ok: false, status: 403 });
    await expect(world.connect("ann", { channel: "counted" })).rejects.toMatchObject({ status: 403 });
    expect(hookCalls).toBe(0);
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    expect(await ann.call("join_room", { channel: "counted" })).toMatchObject({ ok: false, status: 403 });
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    await expect(world.connect("ann", { channel: "counted" })).rejects.toMatchObject({ status: 403 });
    expect(hookCalls).toBe(2);
  });

  test("can change permissions itself without a deadlock", async () => {
    const strict = defineChannel("strict", {
      signedIn: true,
      authorize: async ({ user }) => {
        if (members.has(user.id ?? "")) return true;
        await world.sallyport.access.users.setActive(user.id ?? "", false);
        return false;
      },
    });
    await world.close();
    world = await World.open({ permissions: [chat], channels: [strict], views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "strict" });
    members.delete("ann");
    await world.sallyport.access.recheck({ user: "ann" });
    expect((await ann.closed).code).toBe(1000);
    expect(await world.sql("select * from sallyport_revocations")).toEqual([]);
  });

  test("receives the current permissions, not those at the start of the handler", async () => {
    const asking = defineChannel("asking", {
      signedIn: true,
      authorize: ({ user }) => user.hasPermission(chat.can_moderate_chat),
    });
    let resume: () => void = () => undefined;
    let begun: () => void = () => undefined;
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    class Patient extends ChatView {
      late_join = handler(async ({ join }) => {
        const resumed = new Promise<void>((resolve) => {
          resume = resolve;
        });
        begun();
        await resumed;
        await join("asking");
      });
      static override allowedHandlers = ["late_join"];
    }
    await world.close();
    world = await World.open({ permissions: [chat], channels: [asking], views: { "/ws/chat": Patient } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    const ann = await world.connect("ann");
    const answer = ann.call("late_join");
    await running;
    await world.sallyport.access.revoke("ann", chat.can_moderate_chat);
    resume();
    expect(await answer).toMatchObject({ ok: false, status: 403 });
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
  });

  test("does not allow a join after the view permission ended during its call", async () => {
    const undermining = defineChannel("undermining", {
      signedIn: true,
      authorize: async () => {
        await world.sql("delete from sallyport_user_permissions");
        return true;
      },
    });
    await world.close();
    world = await World.open({ permissions: [chat], channels: [undermining], views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    expect(await ann.call("join_room", { channel: "undermining" })).toMatchObject({ ok: false, status: 403 });
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
  });

  test("is called again by a connect when access changed before the membership was written", async () => {
    const attempt = () =>
      world.connect("ann", { channel: "club" }).catch((error: { status: number }) => error.status);
    expect(await removedDuring(attempt)).toBe(403);
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
  });
});

test("completes the end of a session when its process died after the commit", async () => {
  const phone = await world.connect("ann:phone");
  const storage = storageAt(world.database);
  let writes = 0;
  const dying: Database = Object.assign(Object.create(storage), {
    transaction: (work: Parameters<Database["transaction"]>[0]) => {
      if (++writes > 1) throw new Error("killed");
      return storage.transaction(work);
    },
  });
  const other = another(dying);
  await expect(other.access.endSession("phone")).rejects.toThrow("killed");
  expect(await world.sql("select close_reason from sallyport_connections")).toEqual([
    { close_reason: "session ended" },
  ]);
  expect(await phone.call("whoami")).toMatchObject({ ok: false, status: 403 });
  await world.sql("update sallyport_revocations set claimed_until = 0");
  expect((await phone.closed).code).toBe(1000);
  await storage.close();
});

describe("grants with an expiry", () => {
  /** Moves each expiry from one hour ahead to `ms` milliseconds ahead. */
  const endIn = async (ms: number) => {
    for (const table of ["user_permissions", "user_groups", "group_permissions"])
      await world.sql(`update sallyport_${table} set until_at = until_at - ${3_600_000 - ms}`);
  };

  test("stop applying at that time, and the connections that they allowed are closed", async () => {
    const { access } = world.sallyport;
    const until = Date.now() + 3_600_000;
    await access.grant("bob", chat.can_use_chat, { until, reason: "a contractor" });
    await access.grant({ group: "Night shift" }, chat.can_use_chat);
    await access.users.addToGroup("cat", "Night shift", { until: new Date(until) });
    await access.grant({ group: "Drill" }, chat.can_use_chat, { until });
    await access.users.addToGroup("dan", "Drill");
    const sockets = await Promise.all(["bob", "cat", "dan"].map((user) => world.connect(user)));
    const ann = await world.connect("ann");
    expect((await access.users.get("bob"))?.grants).toMatchObject([{ via: "direct", until }]);
    await endIn(300);
    for (const socket of sockets) {
      expect((await socket.closed).code).toBe(1000);
      expect(socket.received).toEqual([revoked()]);
    }
    expect(await access.users.hasPermission("bob", chat.can_use_chat)).toBe(false);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  });

  test("are evaluated by the clock of the database before a process removes them", async () => {
    const { storage, release } = withHeldLooks();
    await world.close();
    world = await World.open({
      permissions: [chat],
      channels,
      views,
      storage,
    });
    try {
      const { access } = world.sallyport;
      const until = Date.now() + 3_600_000;
      await access.grant("bob", chat.can_use_chat, { until });
      await access.grant({ group: "Night shift" }, chat.can_use_chat);
      await access.users.addToGroup("cat", "Night shift", { until });
      await access.grant({ group: "Drill" }, chat.can_use_chat, { until });
      await access.users.addToGroup("dan", "Drill");
      const holders = () =>
        Promise.all(["bob", "cat", "dan"].map((user) => access.users.hasPermission(user, chat.can_use_chat)));
      expect(await holders()).toEqual([true, true, true]);
      await endIn(-1);
      expect(await holders()).toEqual([false, false, false]);
      expect((await access.users.get("bob"))?.grants).toEqual([]);
      expect((await access.users.get("cat"))?.groups).toEqual([]);
      expect(
        await world.sql("select user_id from sallyport_user_permissions where user_id = 'bob'"),
      ).toHaveLength(1);
    } finally {
      release();
    }
  });

  test("that expired long ago are enforced at the next poll", async () => {
    const ann = await world.connect("ann");
    await world.sql("update sallyport_user_permissions set until_at = 1");
    expect((await ann.closed).code).toBe(1000);
  });
});

test("revoke() closes all connections of a user with more than one page", async () => {
  await world.close();
  world = await World.open({
    permissions: [chat],
    channels,
    views,
    limits: { connectsPerUser: false, connectionsPerUser: false },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
    select ${padded("i", 5)}, (select id from sallyport_gateways), ${padded("i", 15)} || '=', '/ws/chat', 'ann', ${NOW} - 60000, 0 from n`);
  const revoke = { kind: "revoke", holder: "ann", permission: chat.can_use_chat } as const;
  const { ended } = await world.sallyport.access.change(revoke);
  expect(ended).toEqual({
    closedConnections: 1201,
    leftChannels: 0,
    uncheckedConnections: 0,
    isComplete: true,
  });
  expect((await world.sallyport.access.change(revoke)).ended).toBeUndefined();
  const granting = await world.sallyport.access.change({ ...revoke, kind: "grant" });
  expect(granting).toMatchObject({ changed: true, ended: undefined });
  expect((await ann.closed).code).toBe(1000);
  expect(await world.sql("select count(*) n from sallyport_connections where closed_at is null")).toEqual([
    { n: 0 },
  ]);
});

test("revoke() resolves after its own enforcement while another one is in progress", async () => {
  await world.sallyport.access.grant("bob", chat.can_use_chat);
  const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
  const { access } = world.sallyport;
  const first = access.revoke("ann", chat.can_use_chat);
  await access.revoke("bob", chat.can_use_chat);
  expect(await world.sql("select * from sallyport_revocations where subject = 'bob'")).toEqual([]);
  await first;
  await ann.closed;
  await bob.closed;
});
