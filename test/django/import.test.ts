import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDjangoDatabase } from "../../src/cli/import-django/open.ts";
import { isPostgres, sqlAt } from "../postgres/database.ts";
import { djangoDatabase, flag, idSql, type TestDjango, text, usersSql } from "./django-database.ts";
import { importInto, openShop, type Shop, stateOf } from "./import-shop.ts";

let django: TestDjango;
let shop: Shop;
beforeEach(async () => {
  [django, shop] = await Promise.all([djangoDatabase("default"), openShop()]);
});
afterEach(async () => {
  await Promise.all([django.drop(), shop.close()]);
});

/** Two groups, and users with all kinds of access. */
const SMALL_SHOP = `
  ${usersSql([
    { id: 1 },
    { id: 2, active: false },
    { id: 3, superuser: true },
    { id: 4, active: false, superuser: true },
  ])}
  insert into auth_group (id, name) values (10, 'Crew'), (11, 'Empty');
  insert into auth_group_permissions (id, group_id, permission_id) values (1, 10, 1), (2, 10, 3);
  insert into auth_user_groups (id, user_id, group_id) values (1, 1, 10), (2, 2, 10), (3, 1, 11);
  insert into auth_user_user_permissions (id, user_id, permission_id) values (1, 1, 2), (2, 2, 3);
`;

const IMPORTED = {
  users: [
    { id: "1", active: true, superuser: false, groups: ["Crew", "Empty"], direct: ["shop.change_article"] },
    { id: "2", active: false, superuser: false, groups: ["Crew"], direct: [] },
    { id: "3", active: true, superuser: true, groups: [], direct: [] },
    { id: "4", active: false, superuser: true, groups: [], direct: [] },
  ],
  groups: { Crew: ["shop.add_article"], Empty: [] },
};

const counts = (
  numbers: Partial<Record<"kept" | "added" | "changed" | "renamed" | "printed" | "skipped", number>>,
) => ({
  kept: 0,
  added: 0,
  changed: 0,
  renamed: 0,
  printed: 0,
  skipped: 0,
  ...numbers,
});

const reasonsOf = (report: Awaited<ReturnType<typeof importInto>>, kind: string, outcome = "skipped") =>
  report.notes
    .filter((note) => note.kind === kind && note.outcome === outcome)
    .map(({ reason, examples }) => [reason, ...examples]);

describe("import-django", () => {
  test("reports what it would write, and writes nothing without --apply", async () => {
    await django.run(SMALL_SHOP);
    const before = await shop.sallyport.access.audit.list({});
    const report = await importInto(shop.sallyport, django.url);
    expect(report.applied).toBe(false);
    expect(report.lines[0]).toBe("Dry run, nothing has changed. With --apply:");
    expect(report.counts).toEqual({
      permissions: counts({ kept: 2, skipped: 1 }),
      groups: counts({ added: 2 }),
      users: counts({ added: 4 }),
      "group grants": counts({ added: 1, skipped: 1 }),
      memberships: counts({ added: 3 }),
      "user grants": counts({ added: 1, skipped: 1 }),
    });
    expect(await stateOf(shop.sallyport)).toEqual({ users: [], groups: {} });
    expect(await shop.sallyport.access.audit.list({})).toEqual(before);
  });

  test("writes users, groups, memberships and grants with an audit entry each", async () => {
    await django.run(SMALL_SHOP);
    const report = await importInto(shop.sallyport, django.url, { apply: true, reason: "move" });
    expect(report.lines[0]).toBe("Imported:");
    expect(await stateOf(shop.sallyport)).toEqual(IMPORTED);
    const entries = await shop.sallyport.access.audit.list({});
    expect(
      entries.map(({ action, user, group, permission }) => [action, user ?? group, permission]).sort(),
    ).toEqual([
      ["add-to-group", "1", null],
      ["add-to-group", "1", null],
      ["add-to-group", "2", null],
      ["create-group", "Crew", null],
      ["create-group", "Empty", null],
      ["grant", "1", "shop.change_article"],
      ["grant", "Crew", "shop.add_article"],
      ["set-active", "2", null],
      ["set-active", "4", null],
      ["set-superuser", "3", null],
      ["set-superuser", "4", null],
    ]);
    expect(new Set(entries.map(({ by, reason }) => `${by?.replace(/:.*/, "")} ${reason}`))).toEqual(
      new Set(["import-django move"]),
    );
  });

  test("keeps everything when it runs again", async () => {
    await django.run(SMALL_SHOP);
    await importInto(shop.sallyport, django.url, { apply: true });
    const before = await shop.sallyport.access.audit.list({});
    const report = await importInto(shop.sallyport, django.url, { apply: true });
    expect(report.counts).toEqual({
      permissions: counts({ kept: 2, skipped: 1 }),
      groups: counts({ kept: 2 }),
      users: counts({ kept: 4 }),
      "group grants": counts({ kept: 1, skipped: 1 }),
      memberships: counts({ kept: 3 }),
      "user grants": counts({ kept: 1, skipped: 1 }),
    });
    expect(await shop.sallyport.access.audit.list({})).toEqual(before);
  });

  test("adds only the difference after a change in Django, and removes nothing", async () => {
    await django.run(SMALL_SHOP);
    await importInto(shop.sallyport, django.url, { apply: true });
    await shop.sallyport.access.groups.create("Only here");
    await shop.sallyport.access.users.addToGroup("1", "Only here");
    await django.run(`
      ${usersSql([{ id: 5 }])}
      insert into auth_user_groups (id, user_id, group_id) values (9, 5, 10);
      delete from auth_user_groups where id = 3;
      delete from auth_user_user_permissions where id = 1;
    `);
    const report = await importInto(shop.sallyport, django.url, { apply: true });
    expect([report.counts.users?.added, report.counts.memberships?.added]).toEqual([1, 1]);
    const { users, groups } = await stateOf(shop.sallyport);
    expect(users[0]).toMatchObject({
      groups: ["Crew", "Empty", "Only here"],
      direct: ["shop.change_article"],
    });
    expect(users[4]).toMatchObject({ id: "5", groups: ["Crew"] });
    expect(Object.keys(groups)).toContain("Only here");
    expect(report.lines).toContain("Nothing was removed. What exists only in Sallyport is kept.");
  });

  test("reads and writes several pages of users and memberships", async () => {
    const ids = Array.from({ length: 2500 }, (_, index) => index + 1);
    await django.run(`${usersSql(ids.map((id) => ({ id })))}
      insert into auth_group (id, name) values (1, 'Crew');
      insert into auth_user_groups (id, user_id, group_id) values ${ids.map((id) => `(${id}, ${id}, 1)`).join(", ")};`);
    const report = await importInto(shop.sallyport, django.url, { apply: true });
    expect([report.counts.users?.added, report.counts.memberships?.added]).toEqual([2500, 2500]);
    expect((await shop.sallyport.access.groups.list())[0]?.members).toBe(2500);
  });

  test.runIf(isPostgres)(
    "reads in read-only transactions (PostgreSQL only, where a SELECT can write)",
    async () => {
      const database = await openDjangoDatabase(django.url);
      const values = { number: "nextval('auth_user_id_seq')" };
      await django.run(usersSql([{ id: 1 }]));
      await expect(
        database.page({ values, from: "auth_user as t", key: "id", after: undefined, limit: 1 }),
      ).rejects.toThrow("read-only transaction");
      await database.close();
    },
  );

  test("replaces an expired membership and keeps one that ends later", async () => {
    await django.run(SMALL_SHOP);
    const { access } = shop.sallyport;
    const until = Date.now() + 3_600_000;
    await access.users.addToGroup("1", "Crew", { until });
    await access.users.addToGroup("2", "Crew", { until });
    await access.grant("1", "shop.change_article" as never, { until });
    await sqlAt(shop.database.source, "update sallyport_user_groups set until_at = 1 where user_id = '2'");
    await importInto(shop.sallyport, django.url, { apply: true });
    const ends = await Promise.all(
      ["1", "2"].map(async (id) => (await access.users.get(id))?.groups[0]?.until),
    );
    expect(ends).toEqual([until, null]);
    expect((await access.users.get("1"))?.grants.find(({ via }) => via === "direct")?.until).toBe(until);
  });
});

describe("the flags of users that exist in Sallyport", () => {
  const setFlags = (id: number, active: boolean, superuser: boolean) =>
    django.run(
      `update auth_user set is_active = ${flag(active)}, is_superuser = ${flag(superuser)} where id = ${id}`,
    );
  const flagsOf = async (id: string) => {
    const user = await shop.sallyport.access.users.get(id);
    return [user?.isActive, user?.isSuperuser];
  };
  const apply = () => importInto(shop.sallyport, django.url, { apply: true });

  test("follow Django if only imports have set them", async () => {
    await django.run(usersSql([{ id: 1 }]));
    for (const [active, superuser] of [
      [true, false],
      [false, true],
      [true, false],
      [true, true],
      [false, false],
    ] as const) {
      await setFlags(1, active, superuser);
      await apply();
      expect(await flagsOf("1")).toEqual([active, superuser]);
    }
  });

  test("stay as an operator has set them, except that an inactive user of Django becomes inactive", async () => {
    await django.run(usersSql([{ id: 1 }, { id: 2 }, { id: 3, superuser: true }, { id: 4, active: false }]));
    await apply();
    const { users } = shop.sallyport.access;
    await users.setActive("1", false, { by: "ann" });
    await users.setSuperuser("2", true, { by: "ann" });
    await users.setSuperuser("3", false, { by: "ann" });
    await users.setActive("4", true, { by: "ann" });
    const report = await apply();
    expect(await Promise.all(["1", "2", "3", "4"].map(flagsOf))).toEqual([
      [false, false],
      [true, true],
      [true, false],
      [false, false],
    ]);
    expect(reasonsOf(report, "users", "kept")).toEqual([
      ["inactive in Sallyport, which no import has set, but active in Django", "1"],
      ["a superuser in Sallyport, which no import has set, but no superuser in Django", "2"],
      ["no superuser in Sallyport, which no import has set, but a superuser in Django", "3"],
    ]);
    expect(reasonsOf(report, "users", "changed")).toEqual([["inactive in Django", "4"]]);
  });

  test("are set for a user that a token request has created", async () => {
    await django.run(
      usersSql([
        { id: 1, active: false },
        { id: 2, superuser: true },
      ]),
    );
    await sqlAt(
      shop.database.source,
      "insert into sallyport_users (id, is_active, is_superuser, created_at) values ('1', 1, 0, 1), ('2', 1, 0, 1)",
    );
    const report = await apply();
    expect([await flagsOf("1"), await flagsOf("2")]).toEqual([
      [false, false],
      [true, true],
    ]);
    expect(report.counts.users).toMatchObject({ changed: 2, added: 0 });
  });
});

describe("names", () => {
  test("of permissions that Sallyport rejects are skipped with the reason", async () => {
    await django.run(`
      insert into django_content_type (id, app_label, model) values (3, 'Shop', 'x'), (4, 'shöp', 'x'), (5, '', 'x'), (6, 'shop', 'other');
      insert into auth_permission (id, content_type_id, codename, name) values
        (10, 1, 'a.b', ''), (11, 3, 'add_article', ''), (12, 4, 'add_article', ''), (13, 5, 'x', ''),
        (14, 1, '1st', ''), (15, 1, 'it''s"; drop table sallyport_users; --', ''), (16, 6, 'add_article', '');
    `);
    const report = await importInto(shop.sallyport, django.url, { apply: true });
    const badLabel = "the app label is not lowercase letters, digits and _, beginning with a letter";
    const badCode = "the codename is not letters, digits and _, beginning with a letter";
    const undeclared = "the app does not declare it. Declare it with definePermissions(), and import again";
    expect(reasonsOf(report, "permissions")).toEqual([
      [undeclared, "news.add_article"],
      ["the codename contains a dot", "shop.a.b"],
      [badLabel, "Shop.add_article", "shöp.add_article"],
      ["the app label is empty", ".x"],
      [badCode, "shop.1st", "shop.it's\"; drop table sallyport_users; --"],
    ]);
    expect(reasonsOf(report, "permissions", "kept")).toEqual([
      ["two models share the codename, and either grants it, as in Django", "shop.add_article"],
    ]);
  });

  test("of groups are stored in NFC without spaces around them, and skipped if two become one", async () => {
    const [composed, decomposed] = ["Caf\u00e9", "Cafe\u0301"];
    await django.run(`
      ${usersSql([{ id: 1 }, { id: 2 }])}
      insert into auth_group (id, name) values (1, ${text("Zoe\u0308")}), (2, ' Padded '), (3, ${text(composed)}),
        (4, ${text(decomposed)}), (5, '  '), (6, ${text("a\u0007b")}), (7, ${text("\u202e")}), (8, '😀 "quoted" ''x''');
      insert into auth_user_groups (id, user_id, group_id) values (1, 1, 1), (2, 1, 3), (3, 2, 4), (4, 2, 5), (5, 1, 8);
    `);
    const report = await importInto(shop.sallyport, django.url, { apply: true });
    expect(reasonsOf(report, "groups", "renamed")).toEqual([
      ["names are stored in the Unicode form NFC", "Zoe\u0308 → Zo\u00eb"],
      ["names have no spaces around them", " Padded  → Padded"],
    ]);
    expect(reasonsOf(report, "groups")).toEqual([
      [`several names become "${composed}". Rename one in Django`, composed, decomposed],
      ["the name is empty", "  "],
      ["the name contains a control character", "a\u0007b"],
      ["the name has no visible character", "\u202e"],
    ]);
    expect(reasonsOf(report, "memberships")).toEqual([
      ["its group is skipped", `1: ${composed}`, `2: ${decomposed}`, "2:   "],
    ]);
    const { users, groups } = await stateOf(shop.sallyport);
    expect(Object.keys(groups).sort()).toEqual(["Padded", "Zo\u00eb", "😀 \"quoted\" 'x'"].sort());
    expect(users.map((user) => user.groups?.length)).toEqual([2, 0]);
  });

  test("of users come from another column with --user-id-column, and bad ids are skipped", async () => {
    await django.run(
      usersSql([
        { id: 1, email: "ann@example.com" },
        { id: 2 },
        { id: 3, email: "same@example.com" },
        { id: 4, email: "same@example.com", superuser: true },
        { id: 5, email: "a\u0007b" },
        { id: 6, email: "\u200b" },
        { id: 7, email: `x'; drop table auth_user; -- "` },
        { id: 8, email: "\u202eright😀" },
        { id: 9 },
      ]),
    );
    const report = await importInto(shop.sallyport, django.url, { apply: true, userIdColumn: "email" });
    expect(reasonsOf(report, "users")).toEqual([
      ["the id is empty", "row 2", "row 9"],
      ["several users have this id", "same@example.com", "same@example.com"],
      ["the id contains a control character", "a\u0007b"],
      ["the id has no visible character", "\u200b"],
    ]);
    const { users } = await stateOf(shop.sallyport);
    expect(users.map(({ id }) => id).sort()).toEqual(
      ["ann@example.com", `x'; drop table auth_user; -- "`, "\u202eright😀"].sort(),
    );
  });

  test.skipIf(isPostgres)(
    "with NUL, bytes or 300 characters never become another id (SQLite only)",
    async () => {
      await django.run(
        usersSql([
          { id: 1, email: "admin" },
          { id: 2, superuser: true },
          { id: 3 },
          { id: 4, email: "x".repeat(300) },
          { id: 5, email: "é".repeat(5000) },
          { id: 6 },
        ]),
      );
      await django.run("update auth_user set email = 'admin' || char(0) || 'x' where id = 2");
      await django.run("update auth_user set email = x'61646d696e' where id = 3");
      await django.run("update auth_user set email = cast(x'61ff' as text), is_active = 'yes' where id = 6");
      const report = await importInto(shop.sallyport, django.url, { apply: true, userIdColumn: "email" });
      expect(reasonsOf(report, "users").map(([reason, ...names]) => [reason, names.length])).toEqual([
        ["the id contains a NUL character", 1],
        ["the id is NULL, or bytes that are not text", 2],
        ["the id is longer than 255 characters", 2],
      ]);
      expect((await stateOf(shop.sallyport)).users).toEqual([
        { id: "admin", active: true, superuser: false, groups: [], direct: [] },
      ]);
    },
  );

  test.skipIf(isPostgres)(
    "of keys beyond 2^53 stay exact, and any other flag than 1 is inactive (SQLite only)",
    async () => {
      await django.run(usersSql([{ id: 1 }, { id: 2 }]));
      await django.run(`update auth_user set id = 9007199254740993, is_active = 'yes', is_superuser = 2 where id = 1;
      update auth_user set id = 9007199254740994 where id = 2`);
      await importInto(shop.sallyport, django.url, { apply: true });
      expect((await stateOf(shop.sallyport)).users).toEqual([
        { id: "9007199254740993", active: false, superuser: false, groups: [], direct: [] },
        { id: "9007199254740994", active: true, superuser: false, groups: [], direct: [] },
      ]);
    },
  );

  test.skipIf(isPostgres)(
    "of links to missing rows are skipped (SQLite only, which does not check them)",
    async () => {
      await django.run(`pragma foreign_keys = off; ${usersSql([{ id: 1 }])}
      insert into auth_group (id, name) values (1, 'Crew');
      insert into auth_user_groups (id, user_id, group_id) values (1, 99, 1), (2, 1, 77);
      insert into auth_group_permissions (id, group_id, permission_id) values (1, 1, 88);`);
      const report = await importInto(shop.sallyport, django.url, { apply: true });
      expect(reasonsOf(report, "memberships")).toEqual([
        ["its user does not exist", "no user: Crew"],
        ["its group does not exist", "1: group 77"],
      ]);
      expect(reasonsOf(report, "group grants")).toEqual([
        ["its permission does not exist", "Crew: permission 88"],
      ]);
    },
  );

  test("are printed on one line each, with control characters escaped", async () => {
    await django.run(`insert into auth_group (id, name) values (1, ${text("red\u001b[31m\nline")})`);
    const { lines } = await importInto(shop.sallyport, django.url);
    const line = lines.find((each) => each.includes("control character"));
    expect(line).toBe('skipped 1 group: the name contains a control character ("red\\u001b[31m\\u000aline")');
  });
});

describe("a custom user model with UUID keys", () => {
  const ANN = "0f8fad5b-d9cb-469f-a165-70867728950e";
  let custom: TestDjango;
  beforeEach(async () => {
    custom = await djangoDatabase("custom");
    await custom.run(`
      ${usersSql([{ id: ANN, username: "ann" }], "accounts_customuser")}
      insert into auth_group (id, name) values (10, 'Crew');
      insert into accounts_customuser_groups (id, customuser_id, group_id) values (1, ${idSql(ANN)}, 10);
      insert into accounts_customuser_user_permissions (id, customuser_id, permission_id) values (1, ${idSql(ANN)}, 2);
    `);
  });
  afterEach(() => custom.drop());
  const options = { userTable: "accounts_customuser", apply: true };
  const imported = (id: string) => [
    { id, active: true, superuser: false, groups: ["Crew"], direct: ["shop.change_article"] },
  ];

  test("is imported with hyphens in the ids, as Django prints them", async () => {
    await importInto(shop.sallyport, custom.url, options);
    expect((await stateOf(shop.sallyport)).users).toEqual(imported(ANN));
  });

  test("is imported without hyphens with --uuid-format hex", async () => {
    await importInto(shop.sallyport, custom.url, { ...options, uuidFormat: "hex" });
    expect((await stateOf(shop.sallyport)).users).toEqual(imported(ANN.replaceAll("-", "")));
  });

  test("is imported by user name with --user-id-column", async () => {
    await importInto(shop.sallyport, custom.url, { ...options, userIdColumn: "username" });
    expect((await stateOf(shop.sallyport)).users).toEqual(imported("ann"));
  });

  test.skipIf(isPostgres)("skips a key that is not a UUID in its stored form (SQLite only)", async () => {
    await custom.run(usersSql([{ id: 7, username: "bob" }], "accounts_customuser"));
    await custom.run(
      `pragma foreign_keys = off; update accounts_customuser set id = upper(id) where username = 'ann'; update accounts_customuser set id = 'no-uuid' where username = 'bob'`,
    );
    const report = await importInto(shop.sallyport, custom.url, options);
    expect(reasonsOf(report, "users")).toHaveLength(1);
    expect(report.counts.users).toMatchObject({ skipped: 2, added: 0 });
  });

  test("is suggested if the table auth_user is missing", async () => {
    await expect(importInto(shop.sallyport, custom.url)).rejects.toThrow(
      'has no table "auth_user". These look like user tables: accounts_customuser. Pass one of them to --user-table.',
    );
  });

  test("reports an unknown column with the columns that exist", async () => {
    await expect(
      importInto(shop.sallyport, custom.url, { ...options, userIdColumn: 'e"mail' }),
    ).rejects.toThrow('has no column "e"mail". Pass one of these to --user-id-column: ');
  });

  test("without groups and permissions is imported with a line for each missing table", async () => {
    await custom.run(
      "drop table accounts_customuser_groups; drop table accounts_customuser_user_permissions;",
    );
    const report = await importInto(shop.sallyport, custom.url, options);
    expect(report.missingTables).toEqual([
      "accounts_customuser_groups",
      "accounts_customuser_user_permissions",
    ]);
    expect(report.counts.users?.added).toBe(1);
  });
});
