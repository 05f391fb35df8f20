import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { defineChannel } from "../../src/view/channel.ts";
import { handler } from "../../src/view/handlers.ts";
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

/** Another process of the same app, such as the command line. */
const another = (storage: Database = storageAt(world.database)) =>
  createSallyport({
    storage,
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
  });

test("a right revoked by another process: its sockets are closed when revoke() has resolved", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const other = another();
  expect(await other.access.revoke("ann", chat.can_use_chat)).toBe(true);
  expect(await ann.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
  expect(ann.received).toEqual([revoked()]);
  await other.close();
});

test("a change whose process died right after its commit is enforced by whoever serves", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    "insert into sallyport_evictions (id, scope, subject, created_at) values ('x', 'user', 'ann', 1)",
  );
  expect((await ann.closed).code).toBe(1000);
  await expect.poll(() => world.sql("select * from sallyport_evictions")).toEqual([]);
});

test("a record whose claimant died is claimed again when its lease is over", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
  await world.sql(
    `insert into sallyport_evictions (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('x', 'user', 'ann', 1, 'dead', ${NOW} + 700)`,
  );
  expect((await ann.closed).code).toBe(1000);
});

test("a socket whose gateway cannot be reached is still nobody's: nothing accepted, nothing delivered", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sql("update sallyport_gateways set endpoint = 'http://127.0.0.1:9/dev'");
  const other = another();
  await other.access.revoke("ann", chat.can_use_chat);
  expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
  expect(await other.to("everyone").send({ type: "x" })).toMatchObject({ recipients: 0 });
  await other.close();
});

test("a connection that the gateway fails to close is closed when the gateway works again", async () => {
  const gateway = await GatewayServer.start();
  onTestFinished(() => gateway.close());
  await gateway.open(world, "g", "ann", 1, 1);
  const closes = () => gateway.calls.filter(({ method }) => method === "DELETE").length;
  gateway.answer = ({ method }) => (method === "DELETE" && closes() <= 6 ? 500 : 200);
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  await expect.poll(closes).toBe(7);
  expect(await world.sql("select * from sallyport_evictions")).toEqual([]);
  expect(world.errors.splice(0).map(String)).toEqual(["Error: The gateway did not take it: status 500"]);
});

test("the author's disconnect() runs once for an evicted session, when its socket has closed", async () => {
  await world.close();
  const left: (string | undefined)[] = [];
  class Leaving extends ChatView {
    override disconnect({ userId, session }: Parameters<NonNullable<ChatView["disconnect"]>>[0]) {
      left.push(userId, session.channel);
    }
  }
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Leaving } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  await ann.closed;
  await expect.poll(() => left).toEqual(["ann", "rooms/general"]);
});

/** Holds a connect back in the author's connect(), lets something happen, and gives the handshake's status. */
async function whileConnecting(user: string, meanwhile: () => Promise<unknown>): Promise<number> {
  await world.close();
  let connecting: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    connecting = resolve;
  });
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
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
  await meanwhile();
  goOn();
  return attempt;
}

test("a right revoked while the socket is still connecting: the row never opens", async () => {
  const revoked = () => world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(await whileConnecting("ann", revoked)).toBe(403);
});

test("a login that ends while its socket is still connecting: the row never opens", async () => {
  const ended = () => world.sallyport.access.endSession("phone");
  expect(await whileConnecting("ann:phone", ended)).toBe(401);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "session-ended", userId: "ann" });
});

describe("an app of its own version on the same database", () => {
  /** Another deployment, which mounts another view and knows other channels. */
  const stranger = () =>
    createSallyport({
      storage: storageAt(world.database),
      permissions: [chat],
      views: { "/ws/other": ModerationView },
      origins: [ORIGIN],
      authenticate: () => null,
    });

  test("that ends a login ends its sockets at once, though it does not know their view", async () => {
    const phone = await world.connect("ann:phone");
    const other = stranger();
    await other.access.endSession("phone");
    expect((await phone.closed).code).toBe(1000);
    expect(phone.received).toEqual([revoked()]);
    await other.close();
  });

  test("that changes a right leaves the view it does not know to those who do", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const other = stranger();
    await other.access.revoke("ann", chat.can_use_chat);
    // The process that serves may have closed the connection already.
    const answer = await ann.call("whoami").catch(() => "closed");
    if (answer !== "closed") expect(answer).toMatchObject({ ok: false, status: 403 });
    expect((await ann.closed).code).toBe(1000);
    expect(ann.received).toContainEqual(revoked());
    await other.close();
  });
});

describe("authorize, the app's own word", () => {
  let members: Set<string>;
  let failing = false;
  let held: Promise<void> | undefined;
  let asked: () => void = () => undefined;
  const club = defineChannel("club", {
    signedIn: true,
    authorize: async ({ user }) => {
      if (failing) throw new Error("the members' table is out of reach");
      const member = members.has(user.id ?? "");
      asked();
      await held;
      return member;
    },
  });

  beforeEach(async () => {
    members = new Set(["ann", "bob"]);
    failing = false;
    held = undefined;
    asked = () => undefined;
    await world.close();
    world = await World.open({ permissions: [chat], channels: [...channels, club], views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("bob", chat.can_use_chat);
  });

  const lost = revoked("club");

  test("is asked again on recheck: who is no member any more has left when it resolves", async () => {
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
    await world.sallyport.access.recheck({ user: "ann" });
    expect(ann.received.filter((frame) => frame.type === "sallyport.revoked")).toEqual([lost, lost]);
    expect(ann.received.some((frame) => frame.type === "x")).toBe(false);
  });

  test("that throws has not said yes, to whoever joins and whoever is in", async () => {
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

  /** Lets a join or connect get its yes, and then holds it back until the member has been removed. */
  async function removedMeanwhile(attempt: () => Promise<unknown>): Promise<unknown> {
    let goOn: () => void = () => undefined;
    held = new Promise((resolve) => {
      goOn = resolve;
    });
    const wasAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const outcome = attempt();
    await wasAsked;
    members.delete("ann");
    await world.sallyport.access.recheck({ user: "ann" });
    goOn();
    return outcome;
  }

  test("is asked anew when something changed between its yes and the membership, by a join", async () => {
    const ann = await world.connect("ann");
    expect(await removedMeanwhile(() => ann.call("join_room", { channel: "club" }))).toMatchObject({
      status: 403,
    });
    expect(await world.sallyport.to({ channel: "club" }).send({ type: "x" })).toMatchObject({
      recipients: 0,
    });
  });

  test("is not even asked about a user without the right, nor does its yes outlive the right", async () => {
    let questions = 0;
    const counted = defineChannel("counted", {
      permissionsRequired: [chat.can_moderate_chat],
      authorize: async () => {
        questions++;
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
    expect(questions).toBe(0);
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    expect(await ann.call("join_room", { channel: "counted" })).toMatchObject({ ok: false, status: 403 });
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    await expect(world.connect("ann", { channel: "counted" })).rejects.toMatchObject({ status: 403 });
    expect(questions).toBe(2);
  });

  test("may change rights itself while it is asked: nobody waits for himself", async () => {
    const strict = defineChannel("strict", {
      signedIn: true,
      authorize: async ({ user }) => {
        if (members.has(user.id ?? "")) return true;
        await world.sallyport.access.setActive(user.id ?? "", false);
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
    expect(await world.sql("select * from sallyport_evictions")).toEqual([]);
  });

  test("is asked about the user of now, though the handler that joins began with other rights", async () => {
    const asking = defineChannel("asking", {
      signedIn: true,
      authorize: ({ user }) => user.hasPermission(chat.can_moderate_chat),
    });
    let goOn: () => void = () => undefined;
    let begun: () => void = () => undefined;
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    class Patient extends ChatView {
      late_join = handler(async ({ join }) => {
        const gate = new Promise<void>((resolve) => {
          goOn = resolve;
        });
        begun();
        await gate;
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
    goOn();
    expect(await answer).toMatchObject({ ok: false, status: 403 });
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
  });

  test("does not help a session whose view's own right ended while it was asked", async () => {
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

  test("and by a connect", async () => {
    const attempt = () =>
      world.connect("ann", { channel: "club" }).catch((error: { status: number }) => error.status);
    expect(await removedMeanwhile(attempt)).toBe(403);
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
  });
});

test("a login whose ending process died right after its commit is ended for good", async () => {
  const phone = await world.connect("ann:phone");
  const storage = storageAt(world.database);
  let writes = 0;
  const dying: Database = Object.assign(Object.create(storage), {
    write: (work: Parameters<Database["write"]>[0]) => {
      if (++writes > 1) throw new Error("killed");
      return storage.write(work);
    },
  });
  const other = another(dying);
  await expect(other.access.endSession("phone")).rejects.toThrow("killed");
  expect(await world.sql("select close_reason from sallyport_sessions")).toEqual([
    { close_reason: "login ended" },
  ]);
  expect(await phone.call("whoami")).toMatchObject({ ok: false, status: 403 });
  await world.sql("update sallyport_evictions set claimed_until = 0");
  expect((await phone.closed).code).toBe(1000);
  await storage.close();
});

describe("grants with an end", () => {
  /** Moves every end that is an hour ahead, so that it is so many milliseconds ahead. */
  const endIn = async (ms: number) => {
    for (const table of ["user_permissions", "user_groups", "group_permissions"])
      await world.sql(`update sallyport_${table} set until_at = until_at - ${3_600_000 - ms}`);
  };

  test("stop applying at that time, and the sockets that they let in are closed", async () => {
    const { access } = world.sallyport;
    const until = Date.now() + 3_600_000;
    await access.grant("bob", chat.can_use_chat, { until, reason: "a contractor" });
    await access.grant({ group: "Night shift" }, chat.can_use_chat);
    await access.addToGroup("cat", "Night shift", { until: new Date(until) });
    await access.grant({ group: "Drill" }, chat.can_use_chat, { until });
    await access.addToGroup("dan", "Drill");
    const sockets = await Promise.all(["bob", "cat", "dan"].map((user) => world.connect(user)));
    const ann = await world.connect("ann");
    expect((await access.show("bob"))?.grants).toMatchObject([{ via: "direct", until }]);
    await endIn(300);
    for (const socket of sockets) {
      expect((await socket.closed).code).toBe(1000);
      expect(socket.received).toEqual([revoked()]);
    }
    expect(await access.hasPermission("bob", chat.can_use_chat)).toBe(false);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  });

  test("are judged by the database's clock before any process has removed them", async () => {
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
      await access.addToGroup("cat", "Night shift", { until });
      await access.grant({ group: "Drill" }, chat.can_use_chat, { until });
      await access.addToGroup("dan", "Drill");
      const holders = () =>
        Promise.all(["bob", "cat", "dan"].map((user) => access.hasPermission(user, chat.can_use_chat)));
      expect(await holders()).toEqual([true, true, true]);
      await endIn(-1);
      expect(await holders()).toEqual([false, false, false]);
      expect((await access.show("bob"))?.grants).toEqual([]);
      expect((await access.show("cat"))?.groups).toEqual([]);
      expect(
        await world.sql("select user_id from sallyport_user_permissions where user_id = 'bob'"),
      ).toHaveLength(1);
    } finally {
      release();
    }
  });

  test("that ended while nothing was running are found at the next look", async () => {
    const bob = await world.connect("ann");
    await world.sql("update sallyport_user_permissions set until_at = 1");
    expect((await bob.closed).code).toBe(1000);
  });
});

test("more sockets than one page: all of them end", async () => {
  await world.close();
  world = await World.open({
    permissions: [chat],
    channels,
    views,
    limits: { connectsPerUser: false, connectionsPerUser: false },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  await world.sql(`insert into sallyport_sessions (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
    select ${padded("i", 5)}, (select id from sallyport_gateways), ${padded("i", 15)} || '=', '/ws/chat', 'ann', ${NOW} - 60000, 0 from n`);
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect((await ann.closed).code).toBe(1000);
  expect(await world.sql("select count(*) n from sallyport_sessions where closed_at is null")).toEqual([
    { n: 0 },
  ]);
});

test("revoke() of one call waits for the enforcement that another one has begun", async () => {
  await world.sallyport.access.grant("bob", chat.can_use_chat);
  const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
  const { access } = world.sallyport;
  const first = access.revoke("ann", chat.can_use_chat);
  await access.revoke("bob", chat.can_use_chat);
  expect(await world.sql("select * from sallyport_evictions where subject = 'bob'")).toEqual([]);
  await first;
  await ann.closed;
  await bob.closed;
});
