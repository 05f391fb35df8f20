import { describe, expect, test } from "vitest";
import { definePermissions, PermissionCatalog } from "../../src/permissions/define.ts";
import { listPermissions, stalePermissions } from "../../src/permissions/stored-permissions.ts";
import type { Database } from "../../src/storage/database.ts";
import { Changes } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups } from "./tables.ts";

const before = definePermissions("chat", { read: "Can read", Read: "Can read, too", old: "O'ld «ä» 😀" });
const after = definePermissions("chat", { read: "May read", write: "Can write" });

const at = twoProcesses();

/** A process with the code that declares a set of permissions. */
function declaring(database: Database, catalog: PermissionCatalog) {
  const { changes } = database.store;
  return {
    sync: () =>
      changes.declare({ permissions: catalog.list(), rules: [] }, () => undefined, { claimedBy: "test" }),
    list: async () => listPermissions(catalog, await changes.permissions()),
    stale: async () => stalePermissions(catalog, await changes.permissions()),
  };
}

const rowsOf = (set: typeof before | typeof after) =>
  at.each((database) => declaring(database, new PermissionCatalog([set])));

describe("permissions", () => {
  test("that several processes sync at once are added once, with one row each", async () => {
    const { passed, failed } = await at.race(10, rowsOf(before), (each) => each.sync());
    expect(failed).toEqual([]);
    const adding = passed.filter(({ added }) => added.length > 0);
    expect(adding).toEqual([{ added: ["chat.read", "chat.Read", "chat.old"], stale: [] }]);
    const [, two] = rowsOf(before);
    const known = { isDeclared: true, isStored: true };
    expect(await two.list()).toEqual([
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
    expect(sorted(await newer.stale())).toEqual(["chat.Read", "chat.old"]);
    const rows = await at.one.db.selectFrom("sallyport_permissions").select(["name", "label"]).execute();
    expect(Object.fromEntries(rows.map(({ name, label }) => [name, label]))).toEqual({
      "chat.read": "May read",
      "chat.Read": "Can read, too",
      "chat.old": "O'ld «ä» 😀",
      "chat.write": "Can write",
    });
    const stored = { isDeclared: false, isStored: true };
    expect(await older.list()).toContainEqual({ name: "chat.write", label: "Can write", ...stored });
  });

  test("are granted by their exact name, and must be in the database", async () => {
    const changes = new Changes(at.one);
    const missing = { code: "SALLYPORT_NOT_MIGRATED" };
    await expect(changes.grant("ann", "chat.Read")).rejects.toMatchObject(missing);
    const { read, old } = before;
    const without = new PermissionCatalog([definePermissions("chat", { read: "R" })]);
    await declaring(at.two, without).sync();
    expect(await changes.grant("ann", read)).toBe(true);
    await expect(changes.grant("ann", "chat.Read")).rejects.toMatchObject(missing);
    await expect(changes.grant("ann", old)).rejects.toMatchObject(missing);
    await expect(changes.grant("ann", "chat.READ")).rejects.toMatchObject(missing);
    expect(() => new PermissionCatalog([before]).parse("chat.READ")).toThrow(
      expect.objectContaining({ code: "SALLYPORT_UNKNOWN_NAME" }),
    );
  });

  test("are pruned once by concurrent calls, with all of their grants and no others", async () => {
    const [older] = rowsOf(before);
    await older.sync();
    const changes = new Changes(at.one);
    await addGroups(at.one.db, "Crew");
    for (const permission of [before.read, before.Read, before.old]) {
      await changes.grant("ann", permission);
      await changes.grant({ group: "Crew" }, permission);
    }
    await changes.addToGroup("ann", "Crew");
    const permissions = ["chat.Read", "chat.old", "chat.READ", "chat.%", "chat.none"];
    const processes = at.each((database) => new Changes(database));
    const { passed, failed } = await at.race(6, processes, (each) =>
      each.apply({ kind: "prune-permissions", permissions }),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(({ changed }) => changed).map(({ pruned }) => pruned)).toEqual([
      ["chat.Read", "chat.old"],
    ]);
    expect(passed.filter(({ pruned }) => pruned.length > 0)).toHaveLength(1);
    const { users } = at.two.store;
    expect((await users.subject("ann")).permissions).toEqual(["chat.read", "chat.read"]);
    await older.sync();
    expect((await users.subject("ann")).permissions).toEqual(["chat.read", "chat.read"]);
  });
});
