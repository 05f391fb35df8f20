import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isPostgres, searching } from "../postgres/database.ts";
import { djangoDatabase, executeSql, usersSql } from "./django-database.ts";
import { importInto, openShop, stateOf } from "./import-shop.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/from-django.md"), "utf8");

/** Returns the SQL below a heading of the page. */
function sqlBelow(heading: string): string {
  const [, part = ""] = PAGE.split(`\n### ${heading}\n`);
  return /```sql\n([\s\S]*?)```/.exec(part)?.[1] ?? "";
}

test("the SQL of docs/from-django.md writes the same state as import-django", async () => {
  const [django, byHand, imported] = [await djangoDatabase("default"), await openShop(), await openShop()];
  await django.run(`
    ${usersSql([{ id: 1 }, { id: 2, active: false }, { id: 3, superuser: true }])}
    insert into auth_group (id, name) values (10, 'Crew'), (11, 'It''s "empty"');
    insert into auth_group_permissions (id, group_id, permission_id) values (1, 10, 1), (2, 10, 3);
    insert into auth_user_groups (id, user_id, group_id) values (1, 1, 10), (2, 2, 11);
    insert into auth_user_user_permissions (id, user_id, permission_id) values (1, 1, 2), (2, 2, 3);
  `);
  for (let round = 0; round < 2; round++) {
    if (isPostgres) {
      const both = new URL(byHand.database.source);
      const ofDjango = new URL(django.url).searchParams.get("options")?.split("=")[1];
      both.searchParams.set("schema", `${both.searchParams.get("schema")},${ofDjango}`);
      await executeSql(both.href, sqlBelow("PostgreSQL"));
    } else {
      await executeSql(
        byHand.database.source,
        sqlBelow("SQLite").replace("'db.sqlite3'", `'${searching(django.url)}'`),
      );
    }
  }
  await importInto(imported.sallyport, django.url, { apply: true });
  const state = await stateOf(byHand.sallyport);
  expect(state.users).toHaveLength(3);
  expect(state.groups).toHaveProperty("Crew", ["shop.add_article"]);
  expect(state).toEqual(await stateOf(imported.sallyport));
  await Promise.all([byHand.close(), imported.close(), django.drop()]);
});
