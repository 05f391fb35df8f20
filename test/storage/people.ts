import { Grants } from "../../src/access/grants.ts";
import { PermissionRows } from "../../src/access/permission-rows.ts";
import { definePermissions, PermissionCatalog } from "../../src/access/permissions.ts";
import { Rights, type UserSelector } from "../../src/access/rights.ts";
import type { Processes } from "./processes.ts";
import type { Db } from "./tables.ts";

/** Two of them differ by a capital only. */
export const chat = definePermissions("chat", {
  read: "Can read",
  write: "Can write",
  Read: "Can read, too",
});

export const catalog = new PermissionCatalog([chat]);

/** Rights as the second process reads what the first one gives here. */
export async function rightsGiven(
  at: Processes,
  work: (grants: Grants, db: Db) => Promise<unknown> = async () => undefined,
): Promise<Rights> {
  await at.one.write((db) => new PermissionRows(at.one, catalog).sync(db));
  await at.one.write((db) => work(new Grants(at.one), db));
  return new Rights(at.two);
}

/** Every user of a selector, page by page. */
export async function usersOf(rights: Rights, db: Db, selector: UserSelector): Promise<string[]> {
  const ids: string[] = [];
  for await (const page of rights.pages(db, selector)) ids.push(...page.map(({ userId }) => `${userId}`));
  return ids;
}
