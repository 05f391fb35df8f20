import type { Expression, Kysely, RawBuilder } from "kysely";
import { ConfigurationError, StorageError } from "../errors.ts";
import type { RightsOf } from "../sessions/sessions.ts";
import { type Database, parseList, type Tables } from "../storage/database.ts";
import type { Evictions } from "./evictions.ts";
import type { Permission, PermissionCatalog } from "./permissions.ts";
import type { Subject } from "./rules.ts";

/** Who gets or loses a right: a user by the app's own id, or a group. */
export type Holder = string | { readonly group: string };

/** What is remembered about a grant. */
export interface GrantOptions {
  /** Who made it, such as a user's id. */
  readonly by?: string;
  readonly reason?: string;
  /** When the grant ends by itself: an instant in epoch milliseconds, or a Date. Default: never. */
  readonly until?: number | Date;
}

/** Everything that is known of one user's rights. */
export interface UserRights {
  readonly id: string;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /** The groups whose membership holds now. */
  readonly groups: readonly string[];
  /** Each grant that holds now, and where it comes from; `until` in epoch milliseconds or null for good. */
  readonly grants: readonly {
    readonly permission: string;
    readonly via: "direct" | { readonly group: string };
    readonly until: number | null;
  }[];
}

/** Users, groups and grants: Django's model. Effective rights are direct grants and those of the user's groups. */
export class Rights {
  readonly #database: Database;
  readonly #catalog: PermissionCatalog;
  readonly #evictions: Evictions;

  /** @param evictions where each change leaves its record */
  constructor(database: Database, catalog: PermissionCatalog, evictions: Evictions) {
    this.#database = database;
    this.#catalog = catalog;
    this.#evictions = evictions;
  }

  /** True for a permission that is declared in code. */
  isKnown(permission: string): boolean {
    return this.#catalog.find(permission) !== undefined;
  }

  /** A user's effective permissions as a list expression, for statements that bring rights along. */
  readonly listOf: RightsOf = (db, userId, only) => effectivePermissions(this.#database, db, userId, only);

  /** A user's state and rights at this moment. Without a row of ours there is no user, and nothing passes. */
  async subject(db: Kysely<Tables>, userId: string): Promise<Subject> {
    const row = await db
      .selectFrom("sallyport_users as u")
      .select((eb) => ["u.is_active", "u.is_superuser", this.listOf(db, eb.ref("u.id")).as("permissions")])
      .where("u.id", "=", userId)
      .executeTakeFirst();
    if (!row) return { userId, isActive: false, isSuperuser: false, permissions: [] };
    return {
      userId,
      isActive: row.is_active === 1,
      isSuperuser: row.is_superuser === 1,
      permissions: parseList(row.permissions),
    };
  }

  /** Makes the row of a user whom the app knows; an existing one stays as it is. */
  async know(db: Kysely<Tables>, userId: string): Promise<void> {
    if (userId === "" || userId.length > 255) {
      throw new ConfigurationError(`A user's id has 1 to 255 characters, not ${userId.length}.`);
    }
    await db
      .insertInto("sallyport_users")
      .values({ id: userId, is_active: 1, is_superuser: 0, created_at: this.#database.now })
      .onConflict((conflict) => conflict.column("id").doNothing())
      .execute();
  }

  /** Gives a right; giving it again replaces until, giver and reason. */
  async grant(holder: Holder, permission: Permission, options: GrantOptions = {}): Promise<void> {
    this.#catalog.parse(permission);
    const fields = { ...this.#grantFields(options), permission };
    await this.#database.write(async (db) => {
      await this.#requireMigrated(db, permission);
      if (typeof holder === "string") {
        await this.know(db, holder);
        await db
          .insertInto("sallyport_user_permissions")
          .values({ ...fields, user_id: holder })
          .onConflict((conflict) => conflict.columns(["user_id", "permission"]).doUpdateSet(fields))
          .execute();
        await this.#evictions.record(db, "user", holder);
      } else {
        await this.#knowGroup(db, holder.group);
        await db
          .insertInto("sallyport_group_permissions")
          .values({ ...fields, group_name: holder.group })
          .onConflict((conflict) => conflict.columns(["group_name", "permission"]).doUpdateSet(fields))
          .execute();
        await this.#evictions.record(db, "group", holder.group);
      }
    });
  }

  /** Takes a right away. @returns whether the holder had it */
  async revoke(holder: Holder, permission: Permission): Promise<boolean> {
    return this.#database.write(async (db) => {
      const result =
        typeof holder === "string"
          ? await db
              .deleteFrom("sallyport_user_permissions")
              .where("user_id", "=", holder)
              .where("permission", "=", permission)
              .executeTakeFirst()
          : await db
              .deleteFrom("sallyport_group_permissions")
              .where("group_name", "=", holder.group)
              .where("permission", "=", permission)
              .executeTakeFirst();
      const [scope, subject] =
        typeof holder === "string" ? (["user", holder] as const) : (["group", holder.group] as const);
      if (result.numDeletedRows > 0n) await this.#evictions.record(db, scope, subject);
      return result.numDeletedRows > 0n;
    });
  }

  /** Makes a user a member; the group is made when missing. */
  async addToGroup(userId: string, group: string, options: GrantOptions = {}): Promise<void> {
    const fields = this.#grantFields(options);
    await this.#database.write(async (db) => {
      await this.know(db, userId);
      await this.#knowGroup(db, group);
      await db
        .insertInto("sallyport_user_groups")
        .values({ ...fields, user_id: userId, group_name: group })
        .onConflict((conflict) => conflict.columns(["user_id", "group_name"]).doUpdateSet(fields))
        .execute();
      await this.#evictions.record(db, "user", userId);
    });
  }

  /** @returns whether the user was a member */
  async removeFromGroup(userId: string, group: string): Promise<boolean> {
    return this.#database.write(async (db) => {
      const result = await db
        .deleteFrom("sallyport_user_groups")
        .where("user_id", "=", userId)
        .where("group_name", "=", group)
        .executeTakeFirst();
      if (result.numDeletedRows > 0n) await this.#evictions.record(db, "user", userId);
      return result.numDeletedRows > 0n;
    });
  }

  /** An inactive user passes no rule and keeps no socket. */
  async setActive(userId: string, active: boolean): Promise<void> {
    await this.#setFlag(userId, { is_active: active ? 1 : 0 });
  }

  /** A superuser passes every permission rule, though not `authorize`. */
  async setSuperuser(userId: string, superuser: boolean): Promise<void> {
    await this.#setFlag(userId, { is_superuser: superuser ? 1 : 0 });
  }

  /**
   * Takes away the grants whose end has come, and records whom that touches. They counted for nothing from that
   * moment on; this is for the sockets that are open on them.
   *
   * @returns whether there were any
   */
  async expire(): Promise<boolean> {
    if (!(await this.#hasExpired())) return false;
    const { now } = this.#database;
    await this.#database.write(async (db) => {
      const direct = await db
        .deleteFrom("sallyport_user_permissions")
        .where("until_at", "<=", now)
        .returning("user_id as id")
        .execute();
      const memberships = await db
        .deleteFrom("sallyport_user_groups")
        .where("until_at", "<=", now)
        .returning("user_id as id")
        .execute();
      const groups = await db
        .deleteFrom("sallyport_group_permissions")
        .where("until_at", "<=", now)
        .returning("group_name as id")
        .execute();
      const users = new Set([...direct, ...memberships].map((row) => row.id));
      for (const user of users) await this.#evictions.record(db, "user", user);
      for (const group of new Set(groups.map((row) => row.id)))
        await this.#evictions.record(db, "group", group);
    });
    return true;
  }

  async #hasExpired(): Promise<boolean> {
    const { db, now } = this.#database;
    const ended = db
      .selectFrom("sallyport_user_permissions")
      .select("user_id as id")
      .where("until_at", "<=", now)
      .unionAll(db.selectFrom("sallyport_user_groups").select("user_id as id").where("until_at", "<=", now))
      .unionAll(
        db.selectFrom("sallyport_group_permissions").select("group_name as id").where("until_at", "<=", now),
      );
    return (await ended.executeTakeFirst()) !== undefined;
  }

  /** What is known of a user, or undefined when there is no row. */
  async show(userId: string): Promise<UserRights | undefined> {
    const { db, now } = this.#database;
    const user = await db
      .selectFrom("sallyport_users")
      .selectAll()
      .where("id", "=", userId)
      .executeTakeFirst();
    if (!user) return undefined;
    const groups = await db
      .selectFrom("sallyport_user_groups")
      .select(["group_name", "until_at"])
      .where("user_id", "=", userId)
      .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", now)]))
      .orderBy("group_name")
      .execute();
    const direct = await db
      .selectFrom("sallyport_user_permissions")
      .select(["permission", "until_at"])
      .where("user_id", "=", userId)
      .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", now)]))
      .orderBy("permission")
      .execute();
    const viaGroups = await db
      .selectFrom("sallyport_group_permissions")
      .select(["permission", "group_name", "until_at"])
      .where("group_name", "in", [...groups.map((group) => group.group_name), ""])
      .where((eb) => eb.or([eb("until_at", "is", null), eb("until_at", ">", now)]))
      .orderBy("permission")
      .execute();
    return {
      id: user.id,
      isActive: user.is_active === 1,
      isSuperuser: user.is_superuser === 1,
      groups: groups.map((group) => group.group_name),
      grants: [
        ...direct.map((row) => ({
          permission: row.permission,
          via: "direct" as const,
          until: instant(row.until_at),
        })),
        ...viaGroups.map((row) => ({
          permission: row.permission,
          via: { group: row.group_name },
          until: instant(row.until_at),
        })),
      ],
    };
  }

  /**
   * Brings the permissions declared in code into the database.
   *
   * @returns what was added, and what is in the database but no longer declared; that is left alone
   */
  async sync(): Promise<{ readonly added: readonly string[]; readonly stale: readonly string[] }> {
    const declared = this.#catalog.list();
    return this.#database.write(async (db) => {
      const rows = await db.selectFrom("sallyport_permissions").select("name").execute();
      const known = new Set(rows.map((row) => row.name));
      const added = declared.filter(({ name }) => !known.has(name)).map(({ name }) => name);
      for (const { name, label } of declared) {
        await db
          .insertInto("sallyport_permissions")
          .values({ name, label, created_at: this.#database.now })
          .onConflict((conflict) => conflict.column("name").doUpdateSet({ label }))
          .execute();
      }
      const stale = [...known].filter((name) => this.#catalog.find(name) === undefined);
      return { added, stale };
    });
  }

  async #requireMigrated(db: Kysely<Tables>, permission: Permission): Promise<void> {
    const row = await db
      .selectFrom("sallyport_permissions")
      .select("name")
      .where("name", "=", permission)
      .executeTakeFirst();
    if (row) return;
    throw new StorageError(
      `${permission} is declared, but not in the database yet. Run: npx sallyport migrate`,
      {
        code: "SALLYPORT_NOT_MIGRATED",
      },
    );
  }

  async #setFlag(userId: string, flag: { is_active?: 0 | 1; is_superuser?: 0 | 1 }): Promise<void> {
    await this.#database.write(async (db) => {
      await this.know(db, userId);
      await db.updateTable("sallyport_users").set(flag).where("id", "=", userId).execute();
      await this.#evictions.record(db, "user", userId);
    });
  }

  async #knowGroup(db: Kysely<Tables>, name: string): Promise<void> {
    if (name.trim() === "" || name.length > 150) {
      throw new ConfigurationError(`A group's name has 1 to 150 characters, not ${name.length}.`);
    }
    await db
      .insertInto("sallyport_groups")
      .values({ name, created_at: this.#database.now })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
  }

  #grantFields({ by, reason, until }: GrantOptions) {
    const until_at = until === undefined ? null : Number(until);
    if (until_at !== null && !Number.isSafeInteger(until_at)) {
      throw new ConfigurationError("until is an instant: a Date, or whole epoch milliseconds.");
    }
    return { until_at, granted_at: this.#database.now, granted_by: by ?? null, reason: reason ?? null };
  }
}

/** PostgreSQL gives a BIGINT as text. */
function instant(value: number | string | null): number | null {
  return value === null ? null : Number(value);
}

/** Direct grants and those through groups that hold at this moment by the database's clock. */
function effectivePermissions(
  database: Database,
  db: Kysely<Tables>,
  userId: Expression<string | null>,
  only?: readonly string[],
): RawBuilder<unknown> {
  const { now } = database;
  let direct = db
    .selectFrom("sallyport_user_permissions as held")
    .select("held.permission")
    .where((eb) => eb("held.user_id", "=", userId as Expression<string>))
    .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]));
  let throughGroups = db
    .selectFrom("sallyport_user_groups as member")
    .innerJoin("sallyport_group_permissions as held", "held.group_name", "member.group_name")
    .select("held.permission")
    .where((eb) => eb("member.user_id", "=", userId as Expression<string>))
    .where((eb) => eb.or([eb("member.until_at", "is", null), eb("member.until_at", ">", now)]))
    .where((eb) => eb.or([eb("held.until_at", "is", null), eb("held.until_at", ">", now)]));
  if (only) {
    const names = only.length > 0 ? only : [""];
    direct = direct.where("held.permission", "in", names);
    throughGroups = throughGroups.where("held.permission", "in", names);
  }
  return database.listOf(direct.unionAll(throughGroups), "permission");
}
