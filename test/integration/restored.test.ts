import { afterEach, beforeEach, expect, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { changeChannel } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { NOW, storageAt } from "../postgres/database.ts";
import { chat } from "./chat.ts";
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
