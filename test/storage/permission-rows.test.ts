import { describe, expect, test } from "vitest";
import { definePermissions, PermissionCatalog } from "../../src/permissions/define.ts";
import { UserPermissions } from "../../src/permissions/effective.ts";
import { Grants } from "../../src/permissions/grants.ts";
import { PermissionRows } from "../../src/permissions/sync.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups } from "./tables.ts";

const before = definePermissions("chat", { read: "Can read", Read: "Can read, too", old: "O'ld «ä» 😀" });
const after = definePermissions("chat", { read: "May read", write: "Can write" });

const at = twoProcesses();

const rowsOf = (set: typeof before | typeof after) =>
  at.each((database) => {
    const rows = new PermissionRows(database, new PermissionCatalog([set]));
    return { rows, sync: () => database.transaction((db) => rows.sync(db)) };
  });

describe("permissions", () => {
  test("that several processes sync at once are added once, with one row each", async () => {
    const { passed, failed } = await at.race(10, rowsOf(before), (each) => each.sync());
    expect(failed).toEqual([]);
    const adding = passed.filter(({ added }) => added.length > 0);
    expect(adding).toEqual([{ added: ["chat.read", "chat.Read", "chat.old"], stale: [] }]);
    const [, two] = rowsOf(before);
    const known = { isDeclared: true, isStored: true };
    expect(await two.rows.list(at.two.db)).toEqual([
      { name: "chat.read", label: "Can read", ...known },
      { name: "chat.Read", label: "Can read, too", ...known },
      { name: "chat.old", label: "O'ld «ä» 😀", ...known },
    ]);
  });

  test("follow the code: new ones are added, labels change, and removed ones are stale", async () => {
    const [older] = rowsOf(before);
    const [, newer] = rowsOf(after);
    await older.sync();
    const { added, stale } = await newer.sync();
    expect(added).toEqual(["chat.write"]);
    expect(sorted(stale)).toEqual(["chat.Read", "chat.old"]);
    expect(sorted(await newer.rows.stale(at.one.db))).toEqual(["chat.Read", "chat.old"]);
    const rows = await at.one.db.selectFrom("sallyport_permissions").select(["name", "label"]).execute();
    expect(Object.fromEntries(rows.map(({ name, label }) => [name, label]))).toEqual({
      "chat.read": "May read",
      "chat.Read": "Can read, too",
      "chat.old": "O'ld «ä» 😀",
      "chat.write": "Can write",
    });
    const stored = { isDeclared: false, isStored: true };
    expect(await older.rows.list(at.one.db)).toContainEqual({
      name: "chat.write",
      label: "Can write",
      ...stored,
    });
  });

  test("are required by their exact name, and must be in the database", async () => {
    const [older] = rowsOf(before);
    const missing = { code: "SALLYPORT_NOT_MIGRATED" };
    await expect(older.rows.require(at.one.db, "chat.Read")).rejects.toMatchObject(missing);
    const { read, old } = before;
    const without = new PermissionRows(
      at.two,
      new PermissionCatalog([definePermissions("chat", { read: "R" })]),
    );
    await at.two.transaction((db) => without.sync(db));
    await older.rows.require(at.one.db, read);
    await expect(older.rows.require(at.one.db, "chat.Read")).rejects.toMatchObject(missing);
    await expect(older.rows.require(at.one.db, old)).rejects.toMatchObject(missing);
    await expect(older.rows.require(at.one.db, "chat.READ")).rejects.toMatchObject({
      code: "SALLYPORT_UNKNOWN_NAME",
    });
  });

  test("are pruned once by concurrent calls, with all of their grants and no others", async () => {
    const [older] = rowsOf(before);
    await older.sync();
    const grants = new Grants(at.one);
    await addGroups(at.one.db, "Crew");
    await at.one.transaction(async (db) => {
      for (const permission of [before.read, before.Read, before.old]) {
        await grants.grant(db, "ann", permission, {});
        await grants.grant(db, { group: "Crew" }, permission, {});
      }
      await grants.addToGroup(db, "ann", "Crew", {});
    });
    const names = ["chat.Read", "chat.old", "chat.READ", "chat.%", "chat.none"];
    const databases = at.each((database) => database);
    const { passed, failed } = await at.race(6, databases, (database) =>
      database.transaction((db) => older.rows.prune(db, names)),
    );
    expect(failed).toEqual([]);
    expect(passed.filter((pruned) => pruned.length > 0)).toEqual([["chat.Read", "chat.old"]]);
    const rights = new UserPermissions(at.two);
    expect((await rights.subject(at.two.db, "ann")).permissions).toEqual(["chat.read", "chat.read"]);
    await older.sync();
    expect((await rights.subject(at.two.db, "ann")).permissions).toEqual(["chat.read", "chat.read"]);
  });
});
