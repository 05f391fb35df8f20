import { afterEach, beforeEach, expect, test } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { NOW, padded, watchedStorageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const GRANTS = 1200;

let sent: string[] = [];
let storage: (Database & AsyncDisposable) | undefined;
let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    // The test counts the statements of one process.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (statement) => sent.push(statement));
      return storage;
    },
  });
});
afterEach(async () => {
  await world.close();
  await storage?.[Symbol.asyncDispose]();
});

test("grants that expire together are processed in batches of 500, with one insert per table", async () => {
  await world.sallyport.access.grant("user-0001", chat.can_use_chat);
  const ann = await world.connect("user-0001");
  const numbers = `with recursive n(n) as (select 1 union all select n + 1 from n where n < ${GRANTS})`;
  const id = `'user-' || ${padded("n", 4)}`;
  await world.sql(
    `insert into sallyport_users (id, is_active, is_superuser, created_at) ${numbers} select ${id}, 1, 0, 0 from n where n > 1`,
  );
  sent = [];
  // One statement sets all grants, that of the connected user included, so that they expire together.
  await world.sql(
    `insert into sallyport_user_permissions (user_id, permission, until_at, granted_at) ${numbers}
      select ${id}, 'chat.can_use_chat', ${NOW} - 1, 0 from n where true
      on conflict (user_id, permission) do update set until_at = excluded.until_at`,
  );
  await world.sallyport.enforce();
  expect((await ann.closed).code).toBe(1000);
  await expect.poll(() => world.sql("select id from sallyport_revocations")).toEqual([]);

  const [counted] = (await world.sql(
    `select count(*) as entries, max(number) - min(number) + 1 as numbers, count(distinct number) as different
      from sallyport_audit where action = 'expired'`,
  )) as { entries: string; numbers: string; different: string }[];
  expect(Object.values(counted ?? {}).map(Number)).toEqual([GRANTS, GRANTS, GRANTS]);
  const sentTo = (table: string, verb: string) =>
    sent.filter((statement) => new RegExp(`^${verb} (?:"\\w+"\\.)?"sallyport_${table}"`).test(statement));
  // Two full batches, and one with the rest.
  expect(sentTo("audit", "insert into")).toHaveLength(3);
  expect(sentTo("revocations", "insert into")).toHaveLength(3);
});
