import { afterEach, describe, expect, test, vi } from "vitest";
import { SqlUsers } from "../../src/storage/sql/users.ts";
import type { EffectiveGrant, HolderKinds } from "../../src/storage/stores/users.ts";
import { watchedStorageAt } from "../postgres/database.ts";
import { chat, rightsGiven, usersOf } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups } from "./tables.ts";
import { ALIKE_TRIMMED, ALIKE_USERS } from "./texts.ts";

const HOUR_MS = 3_600_000;

const at = twoProcesses();
afterEach(() => {
  vi.useRealTimers();
});

/** Makes a grant expire now by the database clock, which a change does not allow. */
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
    const rights = await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew", "crew");
      await changes.grant("ann", chat.read);
      await changes.grant({ group: "Crew" }, chat.read);
      await changes.grant({ group: "Crew" }, chat.write);
      await changes.grant({ group: "crew" }, chat.Read);
      await changes.addToGroup("ann", "Crew");
    });
    const ann = await rights.subject("ann");
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
    expect(await rights.subject("Ann")).toEqual(unknownUser);
    expect(await rights.get("Ann")).toBeUndefined();
  });

  test("through a group expire with the grant or the membership, at the earlier time", async () => {
    const [soon, late] = [Date.now() + HOUR_MS, 8.64e15];
    const rights = await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "early", "late", "member", "for good");
      for (const [group, granted, member] of [
        ["early", soon, late],
        ["late", late, soon],
        ["member", undefined, late],
        ["for good", undefined, undefined],
      ] as const) {
        await changes.grant({ group }, chat.read, { until: granted });
        await changes.addToGroup("ann", group, { until: member });
      }
      await changes.grant("ann", chat.write, { until: late });
    });
    const subject = await rights.subject("ann");
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
    for (const shown of [await rights.get("ann"), await own.store.users.get("ann")]) {
      expect(shown?.groups).toContainEqual({ name: "member", until: late });
      expect(shown?.groups).toContainEqual({ name: "for good", until: null });
      expect(shown?.grants).toContainEqual({ permission: "chat.write", via: "direct", until: late });
      expect(shown?.grants).toContainEqual({ permission: "chat.read", via: { group: "late" }, until: late });
    }
  });

  test("apply until they expire by the database clock, not by the process clock", async () => {
    const until = Date.now() + HOUR_MS;
    const rights = await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      await changes.grant("ann", chat.read, { until });
      await changes.grant({ group: "Crew" }, chat.write, { until });
      await changes.addToGroup("ann", "Crew", { until });
    });
    const seen = async () => ({
      subject: sorted((await rights.subject("ann")).permissions),
      shown: (await rights.get("ann"))?.grants.map(({ permission }) => permission).sort(),
      readers: await rights.holders(chat.read),
      writers: await rights.holders(chat.write),
      selected: await usersOf(rights, { kind: "holders", permission: chat.write }),
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
    const rights = await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      await changes.grant({ group: "Crew" }, chat.read);
      await changes.addToGroup("ann", "Crew");
      await changes.addToGroup("bob", "Crew");
    });
    const ended = at.one.db.updateTable("sallyport_user_groups").set({ until_at: at.one.now });
    await ended.where("user_id", "=", "ann").execute();
    expect((await rights.subject("ann")).permissions).toEqual([]);
    expect((await rights.get("ann"))?.groups).toEqual([]);
    expect(await rights.holders(chat.read)).toEqual(["bob"]);
    expect(await rights.groups()).toMatchObject([{ name: "Crew", members: 1 }]);
    // Former members are still selected, because they may have lost permissions.
    expect(sorted(await usersOf(rights, { kind: "group", group: "Crew" }))).toEqual(["ann", "bob"]);
  });

  test("do not apply to users, groups or permissions with similar names", async () => {
    const rights = await rightsGiven(at, async (changes, db) => {
      await addGroups(db, ...ALIKE_TRIMMED);
      for (const [index, id] of ALIKE_USERS.entries()) {
        await changes.grant(id, index % 2 === 0 ? chat.read : chat.Read);
      }
      for (const [index, group] of ALIKE_TRIMMED.entries()) {
        await changes.addToGroup(`member ${index}`, group);
        await changes.grant({ group }, chat.write);
      }
    });
    for (const [index, id] of ALIKE_USERS.entries()) {
      const { permissions } = await rights.subject(id);
      expect([id, permissions]).toEqual([id, [index % 2 === 0 ? "chat.read" : "chat.Read"]]);
    }
    for (const [index, group] of ALIKE_TRIMMED.entries()) {
      expect(await usersOf(rights, { kind: "group", group })).toEqual([`member ${index}`]);
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
    const rights = await rightsGiven(at, async (changes) => {
      for (const id of ["active", "asleep"]) await changes.grant(id, chat.read);
      await changes.setActive("asleep", false);
      for (const id of ["super", "former"]) await changes.setSuperuser(id, true);
      await changes.setActive("former", false);
      await changes.grant("super", chat.read);
      await changes.grant("writer", chat.write);
    });
    const holders = async (...options: HolderKinds[]) =>
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
    const selected = await usersOf(rights, { kind: "holders", permission: chat.read });
    expect(sorted(selected)).toEqual(["active", "super"]);
    expect(await rights.subject("former")).toMatchObject({ isActive: false, isSuperuser: true });
    expect(await rights.get("former")).toMatchObject({ isActive: false, isSuperuser: true });
  });

  test("include users with an expired grant in everHolding()", async () => {
    await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      await changes.grant("ann", chat.read);
      await changes.grant({ group: "Crew" }, chat.Read);
      await changes.addToGroup("bob", "Crew");
      await changes.addToGroup("ann", "Crew");
      await changes.grant("eve", chat.write);
    });
    await end({ user: "ann" });
    await end({ group: "Crew" });
    const ever = new SqlUsers(at.two).everHolding(at.two.db, [chat.read, chat.Read]);
    const rows = await at.two.db.selectFrom(ever.as("ever")).select("ever.user_id").execute();
    expect(sorted(rows.map(({ user_id }) => user_id))).toEqual(["ann", "bob"]);
  });
});
