import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { ImportedGrant, ImportedMembership, ImportedRows, ImportedUser } from "../stores/imports.ts";

/** Compares the rows of an import with the stored ones. */
export class ImportedRowReader {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns the stored state of users. */
  async users(db: Kysely<Tables>, ids: readonly string[]): Promise<readonly ImportedUser[]> {
    if (ids.length === 0) return [];
    const rows = await db
      .selectFrom("sallyport_users")
      .select(["id", "is_active", "is_superuser"])
      .where("id", "in", ids)
      .execute();
    return rows.map(({ id, is_active, is_superuser }) => ({
      id,
      isActive: Number(is_active) === 1,
      isSuperuser: Number(is_superuser) === 1,
    }));
  }

  /** Returns the rows that are not stored, without duplicates. Expired rows do not count as stored. */
  async missing(db: Kysely<Tables>, rows: ImportedRows): Promise<Required<ImportedRows>> {
    const { users = [], groups = [], memberships = [], grants = [] } = rows;
    const known = await this.users(
      db,
      users.map(({ id }) => id),
    );
    const ids = new Set(known.map(({ id }) => id));
    const names = await this.#groups(db, groups);
    return {
      users: unique(users, ({ id }) => id).filter(({ id }) => !ids.has(id)),
      groups: [...new Set(groups)].filter((group) => !names.has(group)),
      memberships: await this.#missingMemberships(db, unique(memberships, pairOf)),
      grants: await this.#missingGrants(db, unique(grants, grantKey)),
    };
  }

  /** Returns the memberships and grants of users and groups that have a row. */
  async withHolders(
    db: Kysely<Tables>,
    { memberships, grants }: Pick<Required<ImportedRows>, "memberships" | "grants">,
  ): Promise<Pick<Required<ImportedRows>, "memberships" | "grants">> {
    const direct = grants.flatMap(({ holder }) => (typeof holder === "string" ? [holder] : []));
    const groupsOfGrants = grants.flatMap(({ holder }) => (typeof holder === "string" ? [] : [holder.group]));
    const found = await this.users(db, [...new Set([...direct, ...memberships.map(({ user }) => user)])]);
    const users = new Set(found.map(({ id }) => id));
    const names = [...new Set([...groupsOfGrants, ...memberships.map(({ group }) => group)])];
    const groups = await this.#groups(db, names);
    return {
      memberships: memberships.filter(({ user, group }) => users.has(user) && groups.has(group)),
      grants: grants.filter(({ holder }) =>
        typeof holder === "string" ? users.has(holder) : groups.has(holder.group),
      ),
    };
  }

  async #groups(db: Kysely<Tables>, names: readonly string[]): Promise<ReadonlySet<string>> {
    if (names.length === 0) return new Set();
    const rows = await db.selectFrom("sallyport_groups").select("name").where("name", "in", names).execute();
    return new Set(rows.map(({ name }) => name));
  }

  async #missingMemberships(
    db: Kysely<Tables>,
    memberships: readonly ImportedMembership[],
  ): Promise<readonly ImportedMembership[]> {
    if (memberships.length === 0) return [];
    const rows = await db
      .selectFrom("sallyport_user_groups")
      .select(["user_id as user", "group_name as group"])
      .where("user_id", "in", [...new Set(memberships.map(({ user }) => user))])
      .where("group_name", "in", [...new Set(memberships.map(({ group }) => group))])
      .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", this.#database.now)]))
      .execute();
    const known = new Set(rows.map(pairOf));
    return memberships.filter((membership) => !known.has(pairOf(membership)));
  }

  async #missingGrants(
    db: Kysely<Tables>,
    grants: readonly ImportedGrant[],
  ): Promise<readonly ImportedGrant[]> {
    const users = grants.flatMap(({ holder }) => (typeof holder === "string" ? [holder] : []));
    const groups = grants.flatMap(({ holder }) => (typeof holder === "string" ? [] : [holder.group]));
    const known = new Set<string>();
    if (users.length > 0) {
      const rows = await db
        .selectFrom("sallyport_user_permissions")
        .select(["user_id as holder", "permission"])
        .where("user_id", "in", [...new Set(users)])
        .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", this.#database.now)]))
        .execute();
      for (const row of rows) known.add(grantKey(row));
    }
    if (groups.length > 0) {
      const rows = await db
        .selectFrom("sallyport_group_permissions")
        .select(["group_name", "permission"])
        .where("group_name", "in", [...new Set(groups)])
        .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", this.#database.now)]))
        .execute();
      for (const { group_name, permission } of rows)
        known.add(grantKey({ holder: { group: group_name }, permission }));
    }
    return grants.filter((grant) => !known.has(grantKey(grant)));
  }
}

function pairOf({ user, group }: ImportedMembership): string {
  return JSON.stringify([user, group]);
}

function grantKey({ holder, permission }: ImportedGrant): string {
  return JSON.stringify([holder, permission]);
}

/** Returns the items with different keys. Of equal ones, the first is kept. */
function unique<Item>(items: readonly Item[], keyOf: (item: Item) => string): readonly Item[] {
  const seen = new Set<string>();
  return items.filter((item) => {
    const key = keyOf(item);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
