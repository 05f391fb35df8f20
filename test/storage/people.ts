import { definePermissions, PermissionCatalog } from "../../src/permissions/define.ts";
import type { Database } from "../../src/storage/database.ts";
import type {
  AppliedChange,
  ChangeOrigin,
  ChangeStore,
  StoredChange,
} from "../../src/storage/stores/changes.ts";
import type { PermissionHolder, Subject, UserSelector, UserStore } from "../../src/storage/stores/users.ts";
import type { Processes } from "./processes.ts";
import type { Db } from "./tables.ts";

/** Two names differ only in the case of a letter. */
export const chat = definePermissions("chat", {
  read: "Can read",
  write: "Can write",
  Read: "Can read, too",
});

export const catalog = new PermissionCatalog([chat]);

/** The options of a change. */
export type ChangeBy = Partial<Pick<ChangeOrigin, "by" | "reason">>;
/** The options of a grant or a membership. `until` is its end in epoch milliseconds. */
export type GrantedBy = ChangeBy & { readonly until?: number | undefined };

/** Makes changes with the operations of the store. Each returns whether anything has changed. */
export class Changes {
  readonly #store: ChangeStore;

  constructor(database: Database) {
    this.#store = database.store.changes;
  }

  apply(change: StoredChange, { by, reason }: ChangeBy = {}): Promise<AppliedChange> {
    return this.#store.apply(change, { by, reason, claimedBy: "test" });
  }

  grant(holder: PermissionHolder, permission: string, options: GrantedBy = {}): Promise<boolean> {
    return this.#changed({ kind: "grant", holder, permission, until: options.until ?? null }, options);
  }

  revoke(holder: PermissionHolder, permission: string, options?: ChangeBy): Promise<boolean> {
    return this.#changed({ kind: "revoke", holder, permission }, options);
  }

  addToGroup(user: string, group: string, options: GrantedBy = {}): Promise<boolean> {
    return this.#changed({ kind: "add-to-group", user, group, until: options.until ?? null }, options);
  }

  removeFromGroup(user: string, group: string, options?: ChangeBy): Promise<boolean> {
    return this.#changed({ kind: "remove-from-group", user, group }, options);
  }

  setActive(user: string, active: boolean, options?: ChangeBy): Promise<boolean> {
    return this.#changed({ kind: "set-active", user, active }, options);
  }

  setSuperuser(user: string, superuser: boolean, options?: ChangeBy): Promise<boolean> {
    return this.#changed({ kind: "set-superuser", user, superuser }, options);
  }

  async #changed(change: StoredChange, options?: ChangeBy): Promise<boolean> {
    return (await this.apply(change, options)).changed;
  }
}

/** Stores the declared permissions. */
export async function declare(database: Database): Promise<void> {
  const declarations = { permissions: catalog.list(), rules: [] };
  await database.store.changes.declare(declarations, () => undefined, { claimedBy: "test" });
}

/**
 * Stores the declared permissions and makes changes in the first process. Returns the users as the
 * second process reads them.
 */
export async function rightsGiven(
  at: Processes,
  work: (changes: Changes, db: Db) => Promise<unknown> = async () => undefined,
): Promise<UserStore> {
  await declare(at.one);
  await work(new Changes(at.one), at.one.db);
  return at.two.store.users;
}

/** Returns the ids of all users of a selector, read page by page. */
export function usersOf(users: UserStore, selector: UserSelector): Promise<string[]> {
  return idsOf(users.pages(selector));
}

/** Returns the ids of all users of some pages. */
export async function idsOf(pages: AsyncIterable<readonly Subject[]>): Promise<string[]> {
  const ids: string[] = [];
  for await (const page of pages) ids.push(...page.map(({ userId }) => `${userId}`));
  return ids;
}
