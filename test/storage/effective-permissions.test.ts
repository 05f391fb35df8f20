import { afterEach, describe, expect, test, vi } from "vitest";
import type { Permission } from "../../src/permissions/define.ts";
import { UserPermissions } from "../../src/permissions/effective.ts";
import type { GrantOptions, Grants, PermissionHolder } from "../../src/permissions/grants.ts";
import type { EffectiveGrant } from "../../src/storage/sql/effective-permissions.ts";
import { watchedStorageAt } from "../postgres/database.ts";
import { chat, rightsGiven, usersOf } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, type Db } from "./tables.ts";
import { ALIKE_TRIMMED, ALIKE_USERS } from "./texts.ts";

const HOUR_MS = 3_600_000;

const at = twoProcesses();
afterEach(() => {
  vi.useRealTimers();
});

const give = (
  grants: Grants,
  db: Db,
  holder: PermissionHolder,
  permission: Permission,
  options: GrantOptions = {},
) => grants.grant(db, holder, permission, options);

/** Makes a grant expire now by the database clock, which grant() does not allow. */
async function end(grant: { readonly user: string } | { readonly group: string }): Promise<void> {
  const over = { until_at: at.one.now };
  const { db } = at.one;
  if ("user" in grant) {
    await db.updateTable("sallyport_user_permissions").set(over).where("user_id", "=", grant.user).execute();
    return;
  }
  await db
    .updateTable("sallyport_group_permissions")
    .set(over)
    .where("group_name", "=", grant.group)
    .execute();
}

/** The order of grants is not defined. */
const inOrder = (grants: readonly EffectiveGrant[] | undefined) =>
  sorted((grants ?? []).map((grant) => JSON.stringify(grant)));

describe("the permissions of a user", () => {
  test("are the grants of the user and of the user's groups, each with its source", async () => {
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew", "crew");
      await give(grants, db, "ann", chat.read);
      await give(grants, db, { group: "Crew" }, chat.read);
      await give(grants, db, { group: "Crew" }, chat.write);
      await give(grants, db, { group: "crew" }, chat.Read);
      await grants.addToGroup(db, "ann", "Crew", {});
    });
    const ann = await rights.subject(at.two.db, "ann");
    expect(ann).toMatchObject({ userId: "ann", isActive: true, isSuperuser: false });
    expect(sorted(ann.permissions)).toEqual(["chat.read", "chat.read", "chat.write"]);
    expect(inOrder(ann.grants)).toEqual(
      inOrder([
        { permission: "chat.read", group: null, until: null },
        { permission: "chat.read", group: "Crew", until: null },
        { permission: "chat.write", group: "Crew", until: null },
      ]),
    );
    const unknownUser = { userId: "Ann", isActive: false, isSuperuser: false, permissions: [], grants: [] };
    expect(await rights.subject(at.two.db, "Ann")).toEqual(unknownUser);
    expect(await rights.get("Ann")).toBeUndefined();
  });

  test("through a group expire with the grant or the membership, at the earlier time", async () => {
    const [soon, late] = [Date.now() + HOUR_MS, 8.64e15];
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "early", "late", "member", "for good");
      for (const [group, granted, member] of [
        ["early", soon, late],
        ["late", late, soon],
        ["member", undefined, late],
        ["for good", undefined, undefined],
      ] as const) {
        await give(grants, db, { group }, chat.read, { until: granted });
        await grants.addToGroup(db, "ann", group, { until: member });
      }
      await give(grants, db, "ann", chat.write, { until: late });
    });
    const subject = await rights.subject(at.two.db, "ann");
    expect(
      Object.fromEntries((subject.grants ?? []).map(({ group, until }) => [group ?? "own", until])),
    ).toEqual({
      early: soon,
      late: soon,
      member: late,
      "for good": null,
      own: late,
    });
    await using own = watchedStorageAt(at.source, () => undefined);
    for (const shown of [await rights.get("ann"), await new UserPermissions(own).get("ann")]) {
      expect(shown?.groups).toContainEqual({ name: "member", until: late });
      expect(shown?.groups).toContainEqual({ name: "for good", until: null });
      expect(shown?.grants).toContainEqual({ permission: "chat.write", via: "direct", until: late });
      expect(shown?.grants).toContainEqual({ permission: "chat.read", via: { group: "late" }, until: late });
    }
  });

  test("apply until they expire by the database clock, not by the process clock", async () => {
    const until = Date.now() + HOUR_MS;
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew");
      await give(grants, db, "ann", chat.read, { until });
      await give(grants, db, { group: "Crew" }, chat.write, { until });
      await grants.addToGroup(db, "ann", "Crew", { until });
    });
    const seen = async () => ({
      subject: sorted((await rights.subject(at.two.db, "ann")).permissions),
      shown: (await rights.get("ann"))?.grants.map(({ permission }) => permission).sort(),
      readers: await rights.holders(chat.read),
      writers: await rights.holders(chat.write),
      selected: await usersOf(rights, at.two.db, { kind: "holders", permission: chat.write }),
      group: (await rights.groups()).map(({ permissions }) => permissions),
    });
    const before = await seen();
    expect(before).toEqual({
      subject: ["chat.read", "chat.write"],
      shown: ["chat.read", "chat.write"],
      readers: ["ann"],
      writers: ["ann"],
      selected: ["ann"],
      group: [[{ name: "chat.write", until }]],
    });
    vi.useFakeTimers({ toFake: ["Date"], now: until + HOUR_MS });
    expect(await seen()).toEqual(before);
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ["Date"], now: until - 2 * HOUR_MS });
    await end({ user: "ann" });
    await end({ group: "Crew" });
    const nothing = { subject: [], shown: [], readers: [], writers: [], selected: [], group: [[]] };
    expect(await seen()).toEqual(nothing);
  });

  test("through a group end with the membership", async () => {
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew");
      await give(grants, db, { group: "Crew" }, chat.read);
      await grants.addToGroup(db, "ann", "Crew", {});
      await grants.addToGroup(db, "bob", "Crew", {});
    });
    const ended = at.one.db.updateTable("sallyport_user_groups").set({ until_at: at.one.now });
    await ended.where("user_id", "=", "ann").execute();
    expect((await rights.subject(at.two.db, "ann")).permissions).toEqual([]);
    expect((await rights.get("ann"))?.groups).toEqual([]);
    expect(await rights.holders(chat.read)).toEqual(["bob"]);
    expect(await rights.groups()).toMatchObject([{ name: "Crew", members: 1 }]);
    // Former members are still selected, because they may have lost permissions.
    expect(sorted(await usersOf(rights, at.two.db, { kind: "group", group: "Crew" }))).toEqual([
      "ann",
      "bob",
    ]);
  });

  test("do not apply to users, groups or permissions with similar names", async () => {
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, ...ALIKE_TRIMMED);
      for (const [index, id] of ALIKE_USERS.entries()) {
        await give(grants, db, id, index % 2 === 0 ? chat.read : chat.Read);
      }
      for (const [index, group] of ALIKE_TRIMMED.entries()) {
        await grants.addToGroup(db, `member ${index}`, group, {});
        await give(grants, db, { group }, chat.write);
      }
    });
    for (const [index, id] of ALIKE_USERS.entries()) {
      const { permissions } = await rights.subject(at.two.db, id);
      expect([id, permissions]).toEqual([id, [index % 2 === 0 ? "chat.read" : "chat.Read"]]);
    }
    for (const [index, group] of ALIKE_TRIMMED.entries()) {
      expect(await usersOf(rights, at.two.db, { kind: "group", group })).toEqual([`member ${index}`]);
      const shown = await rights.get(`member ${index}`);
      expect(shown?.groups).toEqual([{ name: group, until: null }]);
      expect(shown?.grants).toEqual([{ permission: "chat.write", via: { group }, until: null }]);
    }
    expect(sorted(await rights.holders(chat.read))).toEqual(
      sorted(ALIKE_USERS.filter((_, index) => index % 2 === 0)),
    );
    expect(sorted((await rights.groups()).map(({ name }) => name))).toEqual(sorted(ALIKE_TRIMMED));
  });
});

describe("the holders of a permission", () => {
  test("depend on the flags of the users: active, inactive, superuser", async () => {
    const rights = await rightsGiven(at, async (grants, db) => {
      for (const id of ["active", "asleep"]) await give(grants, db, id, chat.read);
      await grants.setFlag(db, "asleep", "is_active", false);
      for (const id of ["super", "former"]) await grants.setFlag(db, id, "is_superuser", true);
      await grants.setFlag(db, "former", "is_active", false);
      await give(grants, db, "super", chat.read);
      await give(grants, db, "writer", chat.write);
    });
    const holders = async (...options: Parameters<UserPermissions["holders"]>[1][]) =>
      Promise.all(options.map(async (one) => sorted(await rights.holders(chat.read, one))));
    expect(
      await holders({}, { active: false }, { active: "any" }, { superusers: false, active: "any" }),
    ).toEqual([
      ["active", "super"],
      ["asleep", "former"],
      ["active", "asleep", "former", "super"],
      ["active", "asleep"],
    ]);
    expect(await rights.holders(chat.Read)).toEqual(["super"]);
    const selected = await usersOf(rights, at.two.db, { kind: "holders", permission: chat.read });
    expect(sorted(selected)).toEqual(["active", "super"]);
    expect(await rights.subject(at.two.db, "former")).toMatchObject({ isActive: false, isSuperuser: true });
    expect(await rights.get("former")).toMatchObject({ isActive: false, isSuperuser: true });
  });

  test("include users with an expired grant in everHolding()", async () => {
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew");
      await give(grants, db, "ann", chat.read);
      await give(grants, db, { group: "Crew" }, chat.Read);
      await grants.addToGroup(db, "bob", "Crew", {});
      await grants.addToGroup(db, "ann", "Crew", {});
      await give(grants, db, "eve", chat.write);
    });
    await end({ user: "ann" });
    await end({ group: "Crew" });
    const ever = rights.everHolding(at.two.db, [chat.read, chat.Read]);
    const rows = await at.two.db.selectFrom(ever.as("ever")).select("ever.user_id").execute();
    expect(sorted(rows.map(({ user_id }) => user_id))).toEqual(["ann", "bob"]);
  });
});
