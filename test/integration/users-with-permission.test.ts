import { afterEach, beforeEach, expect, test } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { padded, watchedStorageAt } from "../postgres/database.ts";
import { ChatView, chat } from "./chat.ts";
import { World } from "./world.ts";

const USERS = 1200;

const pages: number[] = [];
/** Allows users with an id that ends in 7. */
const listed = defineChannel("listed/:id", {
  permissionsRequired: [chat.can_use_chat],
  authorizeMany: ({ userIds }) => {
    pages.push(userIds.length);
    return userIds.filter((id) => id.endsWith("7"));
  },
});
const single = defineChannel("single/:id", {
  signedIn: true,
  authorize: ({ user }) => user.id?.endsWith("7") === true,
});
const ruled = defineChannel("ruled/:id", { permissionsRequired: [chat.can_moderate_chat] });

let sent: string[] = [];
let storage: (Database & AsyncDisposable) | undefined;
let world: World;
beforeEach(async () => {
  pages.length = 0;
  world = await World.open({
    permissions: [chat],
    channels: [listed, single, ruled],
    views: { "/ws/chat": ChatView },
    // Only the statements of one process are counted.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (statement) => sent.push(statement));
      return storage;
    },
  });
  await world.sallyport.access.grant({ group: "Users" }, chat.can_use_chat);
  const numbers = `with recursive n(n) as (select 1 union all select n + 1 from n where n < ${USERS})`;
  const id = `'user-' || ${padded("n", 4)}`;
  await world.sql(
    `insert into sallyport_users (id, is_active, is_superuser, created_at) ${numbers} select ${id}, case when n = 17 then 0 else 1 end, 0, 0 from n`,
  );
  await world.sql(
    `insert into sallyport_user_groups (user_id, group_name, granted_at) ${numbers} select ${id}, 'Users', 0 from n`,
  );
});
afterEach(async () => {
  await world.close();
  await storage?.[Symbol.asyncDispose]();
});

const inSeven = Array.from({ length: USERS }, (_, n) => `user-${String(n + 1).padStart(4, "0")}`).filter(
  (id) => id.endsWith("7") && id !== "user-0017",
);

test("users with a permission are read in pages of 500, with one authorizeMany call per page", async () => {
  const { access } = world.sallyport;
  sent = [];
  const found = await access.users.withPermission(chat.can_use_chat, { object: { channel: "listed/a" } });
  const reads = sent.filter((statement) => /from (?:"\w+"\.)?"sallyport_users"/.test(statement));
  expect(found).toEqual(inSeven);
  expect(reads).toHaveLength(3);
  expect(pages).toEqual([500, 500, 199]);
});

test("the list of users with a permission agrees with hasPermission() for hooks and rules", async () => {
  const { access } = world.sallyport;
  const list = (channel: string, options = {}) =>
    access.users.withPermission(chat.can_use_chat, { object: { channel }, ...options });
  expect(await list("single/a")).toEqual(inSeven);
  expect(await list("ruled/a")).toEqual([]);
  await access.grant("user-0027", chat.can_moderate_chat);
  await access.users.setSuperuser("user-0001", true);
  expect(await list("ruled/a")).toEqual(["user-0001", "user-0027"]);
  expect(await list("ruled/a", { superusers: false })).toEqual(["user-0027"]);
  expect(await list("single/a", { active: false })).toEqual([]);
  for (const user of ["user-0001", "user-0007", "user-0017", "user-0027"]) {
    for (const channel of ["listed/a", "single/a", "ruled/a"]) {
      const isListed = (await list(channel)).includes(user);
      expect([user, channel, await access.users.hasPermission(user, chat.can_use_chat, { channel })]).toEqual(
        [user, channel, isListed],
      );
    }
  }
});
