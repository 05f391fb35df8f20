import { expect, test } from "vitest";
import { importDjango } from "../../src/cli/import-django.ts";
import { type ChannelDefinition, defineChannel } from "../../src/views/channel.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { revoked, World } from "../integration/world.ts";
import { djangoDatabase, flag, usersSql } from "./django-database.ts";

const PERMISSIONS = `
  insert into django_content_type (id, app_label, model) values (9, 'chat', 'room');
  insert into auth_permission (id, content_type_id, codename, name) values (90, 9, 'can_use_chat', '');
`;

async function open(rooms: readonly ChannelDefinition[] = channels) {
  const django = await djangoDatabase("default");
  const world = await World.open({ permissions: [chat], channels: rooms, views: { "/ws/chat": ChatView } });
  await django.run(`${PERMISSIONS} ${usersSql([{ id: 1 }, { id: 2 }])}
    insert into auth_group (id, name) values (1, 'Crew');
    insert into auth_group_permissions (id, group_id, permission_id) values (1, 1, 90);
    insert into auth_user_groups (id, user_id, group_id) values (1, 1, 1), (2, 2, 1);`);
  const apply = () =>
    importDjango(world.sallyport, { uuidFormat: "hyphens", database: django.url, apply: true });
  return {
    django,
    world,
    apply,
    [Symbol.asyncDispose]: async () => {
      await world.close();
      await django.drop();
    },
  };
}

test("imported users connect with the permissions of their groups, and a deactivated user loses the connection", async () => {
  await using app = await open();
  const { django, world, apply } = app;
  await expect(world.connect("1")).rejects.toThrow();
  await apply();
  const [one, two] = [await world.connect("1"), await world.connect("2")];
  await django.run(`update auth_user set is_active = ${flag(false)} where id = 1`);
  await apply();
  expect(await one.next((frame) => frame.type === "sallyport.revoked")).toEqual(revoked());
  await one.closed;
  await expect(world.requestToken("1")).resolves.toMatchObject({ status: 403 });
  expect(await two.call("no_such_handler")).toMatchObject({ ok: false });
  expect(two.isClosed).toBe(false);
  expect(world.errors).toEqual([]);
});

test("a user that is inactive in Django at the first import cannot connect", async () => {
  await using app = await open();
  const { django, world, apply } = app;
  await django.run(`update auth_user set is_active = ${flag(false)} where id = 2`);
  await apply();
  expect((await world.requestToken("2")).status).toBe(403);
});

const staff = defineChannel("rooms/staff", { permissionsRequired: [chat.can_moderate_chat] });

test.each([
  ["a grant", "insert into auth_user_user_permissions (id, user_id, permission_id) values (1, 1, 91)"],
  ["a membership", "insert into auth_user_groups (id, user_id, group_id) values (9, 1, 2)"],
  [
    "a grant of a group",
    "insert into auth_group_permissions (id, group_id, permission_id) values (9, 1, 91)",
  ],
])("%s in Django returns a lost channel to an open connection", async (_name, sql) => {
  await using app = await open([staff]);
  const { django, world, apply } = app;
  await django.run(`
    insert into auth_permission (id, content_type_id, codename, name) values (91, 9, 'can_moderate_chat', '');
    insert into auth_group (id, name) values (2, 'Staff');
    insert into auth_group_permissions (id, group_id, permission_id) values (2, 2, 91);
  `);
  await apply();
  await world.sallyport.access.grant("1", chat.can_moderate_chat);
  const socket = await world.connect("1", { channel: "rooms/staff" });
  await world.sallyport.access.revoke("1", chat.can_moderate_chat);
  await socket.message("sallyport.revoked");
  await django.run(sql);
  await apply();
  expect(await socket.message("sallyport.restored")).toEqual({
    type: "sallyport.restored",
    scope: "channel",
    channel: "rooms/staff",
  });
  expect(world.errors).toEqual([]);
});
