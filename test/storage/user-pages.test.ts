import { describe, expect, test } from "vitest";
import { SqlRevocations } from "../../src/storage/sql/revocations.ts";
import { type SqlUserSelector, SqlUsers } from "../../src/storage/sql/users.ts";
import { USER_PAGE } from "../../src/storage/stores/users.ts";
import { idsOf, usersOf } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, addUsers, type Db } from "./tables.ts";
import { idsOfAllForms } from "./texts.ts";

const at = twoProcesses();

function addMembers(db: Db, users: readonly string[], group: string): Promise<unknown> {
  const grant = { until_at: null, granted_at: 1, granted_by: null, reason: null };
  return db
    .insertInto("sallyport_user_groups")
    .values(users.map((user_id) => ({ user_id, group_name: group, ...grant })))
    .execute();
}

describe("pages of users", () => {
  const ids = idsOfAllForms(2 * USER_PAGE + 7);

  test("are complete and without duplicates, for any order of ids in the database", async () => {
    await addUsers(at.one.db, ids);
    const users = new SqlUsers(at.two);
    const pages: number[] = [];
    const seen: string[] = [];
    for await (const page of users.pages({ kind: "all" })) {
      pages.push(page.length);
      seen.push(...page.map(({ userId }) => `${userId}`));
    }
    expect(pages).toEqual([USER_PAGE, USER_PAGE, 7]);
    expect(sorted(seen)).toEqual(sorted(ids));
    expect(await users.subjectsIn(at.two.db, { kind: "all" }, seen.at(-1) ?? "")).toEqual([]);
  });

  test("end if the number of users is exactly one page", async () => {
    await addUsers(at.one.db, ids.slice(0, USER_PAGE));
    expect(sorted(await usersOf(at.two.store.users, { kind: "all" }))).toEqual(
      sorted(ids.slice(0, USER_PAGE)),
    );
  });

  test("contain each remaining user once while others are added and deleted", async () => {
    await addUsers(at.one.db, ids);
    const [staying, leaving] = [ids.slice(0, 600), ids.slice(600)];
    const seen: string[] = [];
    let came = 0;
    for await (const page of at.two.store.users.pages({ kind: "all" })) {
      seen.push(...page.map(({ userId }) => `${userId}`));
      const coming = idsOfAllForms(60).map((id) => `${id} came ${came}`);
      came += coming.length;
      if (came < 300) await addUsers(at.one.db, coming);
      const gone = leaving.splice(0, 40);
      await at.one.db
        .deleteFrom("sallyport_users")
        .where("id", "in", [...gone, ""])
        .execute();
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(staying.filter((id) => !seen.includes(id))).toEqual([]);
  });

  test("can be the members of a group, the users of a revocation, or given ids", async () => {
    const many = ids.slice(0, USER_PAGE + 1);
    const { db } = at.one;
    await addGroups(db, "Crew", "crew");
    await addUsers(db, ids);
    await addMembers(db, many, "Crew");
    await addMembers(db, ids.slice(-1), "crew");
    const revocations = new SqlRevocations(at.one);
    const record = (users: readonly string[]) =>
      at.one.transaction((tx) => revocations.record(tx, { scope: "users", users }, null, "test"));
    const revocationId = await record([...many, "who has no row"]);
    await record(ids.slice(-1));
    const selected = (selector: SqlUserSelector) => idsOf(new SqlUsers(at.two).pagesIn(at.two.db, selector));
    expect(sorted(await selected({ kind: "group", group: "Crew" }))).toEqual(sorted(many));
    expect(sorted(await selected({ kind: "listed", revocationId }))).toEqual(sorted(many));
    const named = [...ids.slice(-USER_PAGE + 1), "who has no row"];
    expect(sorted(await selected({ kind: "these", ids: named }))).toEqual(sorted(named.slice(0, -1)));
    expect(await selected({ kind: "these", ids: [] })).toEqual([]);
    expect(await selected({ kind: "user", userId: ids[3] as string })).toEqual([ids[3]]);
  });
});
