import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { changeChannel, handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { isPostgres, NOW, storageAt } from "../postgres/database.ts";
import { chat } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { ORIGIN, revoked, type Socket, World } from "./world.ts";

/** Members of the book club, as in a table of the app. */
const members = new Set<string>();

const staff = defineChannel("rooms/staff", { permissionsRequired: [chat.can_moderate_chat] });
const club = defineChannel("rooms/club", {
  signedIn: true,
  authorize: ({ user }) => members.has(user.id ?? ""),
});

class RoomsView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  change_channel = changeChannel();
}

const options = { permissions: [chat], channels: [staff, club], views: { "/ws/chat": RoomsView } };
const restored = (channel: string) => ({ type: "sallyport.restored", scope: "channel", channel });

let world: World;
beforeEach(async () => {
  members.clear();
  world = await World.open(options);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Connects ann to the staff room, and takes her access to it away. */
async function outsider(): Promise<Socket> {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_moderate_chat);
  const ann = await world.connect("ann", { channel: "rooms/staff" });
  await access.revoke("ann", chat.can_moderate_chat);
  await ann.message("sallyport.revoked");
  return ann;
}

const lostChannels = () => world.sql("select channel from sallyport_lost_channels");

/** Resolves when the notices of all changes before it have arrived. */
async function settled(ann: Socket): Promise<void> {
  await expect.poll(() => world.sql("select id from sallyport_revocations")).toEqual([]);
  await world.sallyport.to({ user: "ann" }).send({ type: "last" });
  await ann.message("last");
}

const notices = (ann: Socket) => ann.received.filter(({ type }) => String(type).startsWith("sallyport."));

test.each([
  [
    "the user receives the permission",
    (access: World["sallyport"]["access"]) => access.grant("ann", chat.can_moderate_chat),
  ],
  [
    "a group of the user receives it",
    async (access: World["sallyport"]["access"]) => {
      await access.users.addToGroup("ann", "staff");
      await access.grant({ group: "staff" }, chat.can_moderate_chat);
    },
  ],
  [
    "the user joins a group with it",
    async (access: World["sallyport"]["access"]) => {
      await access.grant({ group: "staff" }, chat.can_moderate_chat);
      await access.users.addToGroup("ann", "staff");
    },
  ],
  [
    "the user becomes a superuser",
    (access: World["sallyport"]["access"]) => access.users.setSuperuser("ann", true),
  ],
] as const)("notifies a connection that lost a channel when %s", async (_, change) => {
  const ann = await outsider();
  await change(world.sallyport.access);
  expect(await ann.message("sallyport.restored")).toEqual(restored("rooms/staff"));
  expect(await ann.call("change_channel", { channel: "rooms/staff" })).toMatchObject({ ok: true });
  await settled(ann);
  expect(notices(ann)).toEqual([revoked("rooms/staff"), restored("rooms/staff")]);
  expect(await lostChannels()).toEqual([]);
});

test("notifies a connection when recheck() finds that authorize allows the channel again", async () => {
  members.add("ann");
  const ann = await world.connect("ann", { channel: "rooms/club" });
  const { access } = world.sallyport;
  members.delete("ann");
  await access.recheck({ channel: "rooms/club" });
  await access.recheck({ channel: "rooms/club" });
  await access.recheck({ user: "ann" });
  members.add("ann");
  await access.recheck({ channel: "rooms/club" });
  await settled(ann);
  expect(notices(ann)).toEqual([revoked("rooms/club"), restored("rooms/club")]);
});

test("does not notify while authorize denies the channel", async () => {
  members.add("ann");
  const ann = await world.connect("ann", { channel: "rooms/club" });
  members.delete("ann");
  await world.sallyport.access.recheck({ user: "ann" });
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  await world.sallyport.access.users.setSuperuser("ann", true);
  await settled(ann);
  expect(notices(ann)).toEqual([revoked("rooms/club")]);
  expect(await lostChannels()).toEqual([{ channel: "rooms/club" }]);
});

test("does not notify a connection that has joined the channel again", async () => {
  const ann = await outsider();
  // The permission comes back without a change of Sallyport, as by a restored backup.
  await world.sql(
    `insert into sallyport_user_permissions (user_id, permission, granted_at) values ('ann', 'chat.can_moderate_chat', 1)`,
  );
  expect(await ann.call("change_channel", { channel: "rooms/staff" })).toMatchObject({ ok: true });
  await world.sallyport.access.recheck({ user: "ann" });
  await settled(ann);
  expect(notices(ann)).toEqual([revoked("rooms/staff")]);
  expect(await lostChannels()).toEqual([]);
});

test("does not notify connections that never lost a channel, and records nothing for them", async () => {
  const ann = await world.connect("ann");
  const before = await world.sql("select id from sallyport_revocations");
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  expect(await world.sql("select id from sallyport_revocations")).toEqual(before);
  await settled(ann);
  expect(notices(ann)).toEqual([]);
});

test("does not notify the connections of other users", async () => {
  const ann = await outsider();
  await world.sallyport.access.grant("bob", chat.can_moderate_chat);
  await world.sallyport.access.grant({ group: "others" }, chat.can_moderate_chat);
  await settled(ann);
  expect(notices(ann)).toEqual([revoked("rooms/staff")]);
});

test("forgets the lost channels of a connection that has closed", async () => {
  const ann = await outsider();
  ann.close();
  await ann.closed;
  await expect
    .poll(() => world.sql("select id from sallyport_connections where closed_at is null"))
    .toEqual([]);
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  expect(await world.sql("select id from sallyport_revocations")).toEqual([]);
});

test("another process notifies after the process of the change died", async () => {
  const ann = await outsider();
  await world.sql(
    `insert into sallyport_user_permissions (user_id, permission, granted_at) values ('ann', 'chat.can_moderate_chat', 1)`,
  );
  await world.sql(
    `insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until, adds_only)
      values ('x', 'user', 'ann', 1, 'dead', ${NOW} + 200, 1)`,
  );
  expect(await ann.message("sallyport.restored")).toEqual(restored("rooms/staff"));
});

test("notifies when a new version of the app no longer requires the permission", async () => {
  const ann = await outsider();
  const open = defineChannel("rooms/staff", { permissionsRequired: [chat.can_use_chat] });
  const next = createSallyport({
    ...options,
    channels: [open, club],
    storage: storageAt(world.database),
    origins: [ORIGIN],
    authenticate: () => null,
  });
  await next.migrate();
  await next.enforce();
  expect(await ann.message("sallyport.restored")).toEqual(restored("rooms/staff"));
  await next.close();
});

describe("a slow authorize", () => {
  /** Lets each call of authorize of the book club return. */
  let release: () => void;
  let calls: number;

  /** Opens an app whose book club checks its members slowly, and in which ann lost both rooms. */
  async function slowOutsider(): Promise<Socket> {
    await world.close();
    calls = 0;
    let isHeld = false;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = defineChannel("rooms/club", {
      signedIn: true,
      authorize: async ({ user }) => {
        calls++;
        if (isHeld) await held;
        return members.has(user.id ?? "");
      },
    });
    const joinBoth = handler(async ({ join }) => {
      await join("rooms/staff");
      await join("rooms/club");
    });
    class BothView extends RoomsView {
      join_both = joinBoth;
    }
    world = await World.open({ ...options, channels: [staff, slow], views: { "/ws/chat": BothView } });
    const { access } = world.sallyport;
    for (const permission of [chat.can_use_chat, chat.can_moderate_chat])
      await access.grant("ann", permission);
    members.add("ann");
    const ann = await world.connect("ann");
    expect(await ann.call("join_both")).toMatchObject({ ok: true });
    members.delete("ann");
    await access.recheck({ user: "ann" });
    await access.revoke("ann", chat.can_moderate_chat);
    await expect.poll(() => notices(ann).length).toBe(2);
    isHeld = true;
    calls = 0;
    return ann;
  }

  test("delays neither the grant, nor other channels, nor removals", async () => {
    const ann = await slowOutsider();
    const { access } = world.sallyport;
    await access.grant("bob", chat.can_use_chat);
    const bob = await world.connect("bob");
    await access.grant("ann", chat.can_moderate_chat);
    expect(await ann.message("sallyport.restored")).toEqual(restored("rooms/staff"));
    await access.grant("bob", chat.can_use_chat, { until: Date.now() + 300 });
    expect((await bob.closed).code).toBe(1000);
    members.add("ann");
    release();
    await expect.poll(() => notices(ann).at(-1)).toEqual(restored("rooms/club"));
  });

  test("does not hide that another channel was lost again in the meantime", async () => {
    const ann = await slowOutsider();
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_moderate_chat);
    await ann.message("sallyport.restored");
    expect(await ann.call("change_channel", { channel: "rooms/staff" })).toMatchObject({ ok: true });
    await access.revoke("ann", chat.can_moderate_chat);
    release();
    await settled(ann);
    await access.grant("ann", chat.can_moderate_chat);
    await expect.poll(() => notices(ann).at(-1)).toEqual(restored("rooms/staff"));
    expect(notices(ann).filter(({ type }) => type === "sallyport.restored")).toHaveLength(2);
  });

  test("that allows too late is checked with the permissions of then", async () => {
    const ann = await slowOutsider();
    const { access } = world.sallyport;
    members.add("ann");
    await access.recheck({ user: "ann" });
    await expect.poll(() => calls).toBe(1);
    await access.users.setActive("ann", false);
    release();
    await ann.closed;
    expect(notices(ann).some(({ type }) => type === "sallyport.restored")).toBe(false);
  });

  test("that allows while the app closes leaves the notice to another process, without an error", async () => {
    const ann = await slowOutsider();
    members.add("ann");
    await world.sallyport.access.recheck({ user: "ann" });
    await expect.poll(() => calls).toBe(1);
    const closed = world.sallyport.close();
    release();
    await closed;
    // The other instances of PostgreSQL can send the notice.
    if (!isPostgres) expect(notices(ann)).toHaveLength(2);
    expect(world.errors.map(String)).toEqual([]);
  });
});

test("sends a notice again that the gateway did not accept", async () => {
  const gateway = await GatewayServer.start();
  onTestFinished(() => gateway.close());
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  await gateway.open(world, "g", "ann", 1, 1);
  await world.sql(
    "insert into sallyport_memberships (connection_key, channel, joined_at) select id, 'rooms/staff', 1 from sallyport_connections",
  );
  await world.sallyport.access.revoke("ann", chat.can_moderate_chat);
  const posts = () => gateway.calls.filter(({ method }) => method === "POST").length;
  expect(posts()).toBe(1);
  let isBroken = true;
  gateway.answer = () => (isBroken ? 500 : 200);
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  await expect
    .poll(() => world.errors.splice(0).map(String))
    .toEqual([expect.stringContaining("API Gateway did not accept the notice")]);
  await expect
    .poll(() => world.sql("select claimed_by from sallyport_revocations"))
    .toEqual([{ claimed_by: null }]);
  expect(await lostChannels()).toHaveLength(1);
  isBroken = false;
  const before = posts();
  await world.sql(`update sallyport_revocations set claimed_until = ${NOW} - 1`);
  await expect.poll(lostChannels).toEqual([]);
  expect(posts()).toBe(before + 1);
});

test("waits for removals that were recorded before", async () => {
  const ann = await outsider();
  await world.sql(
    `insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until)
      values ('removal', 'user', 'bob', 1, 'dead', ${NOW} + 400)`,
  );
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  await ann.message("sallyport.restored");
  expect(await world.sql("select id from sallyport_revocations where id = 'removal'")).toEqual([]);
});

test("a grant does not call authorize for channels that were not lost", async () => {
  await world.close();
  let calls = 0;
  const counted = defineChannel("rooms/club", {
    signedIn: true,
    authorize: () => {
      calls++;
      return true;
    },
  });
  world = await World.open({ ...options, channels: [staff, counted] });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const member = await world.connect("ann", { channel: "rooms/club" });
  const ann = await outsider();
  calls = 0;
  await world.sallyport.access.grant("ann", chat.can_moderate_chat);
  await ann.message("sallyport.restored");
  expect(calls).toBe(0);
  member.close();
});
