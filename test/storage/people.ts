import { definePermissions, PermissionCatalog } from "../../src/permissions/define.ts";
import { UserPermissions, type UserSelector } from "../../src/permissions/effective.ts";
import { Grants } from "../../src/permissions/grants.ts";
import { PermissionRows } from "../../src/permissions/sync.ts";
import type { Processes } from "./processes.ts";
import type { Db } from "./tables.ts";

/** Two names differ only in the case of a letter. */
export const chat = definePermissions("chat", {
  read: "Can read",
  write: "Can write",
  Read: "Can read, too",
});

export const catalog = new PermissionCatalog([chat]);

/** Makes changes in the first process, and returns them as the second process reads them. */
export async function rightsGiven(
  at: Processes,
  work: (grants: Grants, db: Db) => Promise<unknown> = async () => undefined,
): Promise<UserPermissions> {
  await at.one.transaction((db) => new PermissionRows(at.one, catalog).sync(db));
  await at.one.transaction((db) => work(new Grants(at.one), db));
  return new UserPermissions(at.two);
}

/** Returns all users of a selector, read page by page. */
export async function usersOf(rights: UserPermissions, db: Db, selector: UserSelector): Promise<string[]> {
  const ids: string[] = [];
  for await (const page of rights.pages(db, selector)) ids.push(...page.map(({ userId }) => `${userId}`));
  return ids;
}
