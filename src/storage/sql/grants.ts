import type { InsertResult, Kysely } from "kysely";
import { ConfigurationError } from "../../errors.ts";
import type { Database, Tables } from "../database.ts";
import type { ChangeOrigin } from "../stores/changes.ts";
import type { PermissionHolder } from "../stores/users.ts";
import { ensureUser } from "./users.ts";

/** Who grants a permission, and until when. */
export interface GrantTerms extends Pick<ChangeOrigin, "by" | "reason"> {
  /** When the grant expires, in epoch milliseconds, or null for never. */
  readonly until: number | null;
}

/** The state of a user who has no row. */
const DEFAULT_FLAGS = { is_active: true, is_superuser: false } as const;

/**
 * Changes users, groups and grants, in the transaction of the caller.
 *
 * It only changes rows. The caller writes the audit log and starts the revocation. Names are valid
 * and in their stored form.
 */
export class SqlGrants {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Grants a permission to a user or to an existing group.
   *
   * Granting it again with another `until` replaces `until`, `by` and `reason`.
   *
   * @returns false if the same grant with the same `until` existed already
   * @throws ConfigurationError if `until` is not in the future
   */
  async grant(
    db: Kysely<Tables>,
    holder: PermissionHolder,
    permission: string,
    terms: GrantTerms,
  ): Promise<boolean> {
    const fields = { ...(await this.#grantColumns(db, terms)), permission };
    if (typeof holder === "string") {
      await ensureUser(this.#database, db, holder);
      return hasWritten(
        await db
          .insertInto("sallyport_user_permissions")
          .values({ ...fields, user_id: holder })
          .onConflict((conflict) =>
            conflict
              .columns(["user_id", "permission"])
              .doUpdateSet(fields)
              .where("sallyport_user_permissions.until_at", "is distinct from", fields.until_at),
          )
          .executeTakeFirst(),
      );
    }
    return hasWritten(
      await db
        .insertInto("sallyport_group_permissions")
        .values({ ...fields, group_name: holder.group })
        .onConflict((conflict) =>
          conflict
            .columns(["group_name", "permission"])
            .doUpdateSet(fields)
            .where("sallyport_group_permissions.until_at", "is distinct from", fields.until_at),
        )
        .executeTakeFirst(),
    );
  }

  /**
   * Revokes a permission that was granted to the holder directly.
   *
   * @returns whether the holder had it
   */
  async revoke(db: Kysely<Tables>, holder: PermissionHolder, permission: string): Promise<boolean> {
    const { numDeletedRows } =
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
    return numDeletedRows > 0n;
  }

  /**
   * Adds a user to an existing group.
   *
   * @returns false if the user was a member already, with the same `until`
   * @throws ConfigurationError if `until` is not in the future
   */
  async addToGroup(db: Kysely<Tables>, userId: string, group: string, terms: GrantTerms): Promise<boolean> {
    const fields = await this.#grantColumns(db, terms);
    await ensureUser(this.#database, db, userId);
    return hasWritten(
      await db
        .insertInto("sallyport_user_groups")
        .values({ ...fields, user_id: userId, group_name: group })
        .onConflict((conflict) =>
          conflict
            .columns(["user_id", "group_name"])
            .doUpdateSet(fields)
            .where("sallyport_user_groups.until_at", "is distinct from", fields.until_at),
        )
        .executeTakeFirst(),
    );
  }

  /**
   * Removes a user from a group.
   *
   * @returns whether the user was a member
   */
  async removeFromGroup(db: Kysely<Tables>, userId: string, group: string): Promise<boolean> {
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_user_groups")
      .where("user_id", "=", userId)
      .where("group_name", "=", group)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /**
   * Creates a group.
   *
   * @returns false if a group with that name existed already
   */
  async createGroup(db: Kysely<Tables>, name: string): Promise<boolean> {
    return hasWritten(
      await db
        .insertInto("sallyport_groups")
        .values({ name, created_at: this.#database.now })
        .onConflict((conflict) => conflict.column("name").doNothing())
        .executeTakeFirst(),
    );
  }

  /** Returns whether a group exists. */
  async hasGroup(db: Kysely<Tables>, name: string): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_groups")
      .select("name")
      .where("name", "=", name)
      .executeTakeFirst();
    return row !== undefined;
  }

  /**
   * Deletes a group, its grants and its memberships. Foreign keys can be disabled in the Kysely of
   * an app.
   */
  async deleteGroup(db: Kysely<Tables>, name: string): Promise<void> {
    await db.deleteFrom("sallyport_group_permissions").where("group_name", "=", name).execute();
    await db.deleteFrom("sallyport_user_groups").where("group_name", "=", name).execute();
    await db.deleteFrom("sallyport_groups").where("name", "=", name).execute();
  }

  /**
   * Sets a flag of a user.
   *
   * @returns whether the value changed
   */
  async setFlag(
    db: Kysely<Tables>,
    userId: string,
    flag: "is_active" | "is_superuser",
    value: boolean,
  ): Promise<boolean> {
    // The row of a new user is active and not a superuser. Setting these values creates no row.
    if (value !== DEFAULT_FLAGS[flag]) await ensureUser(this.#database, db, userId);
    const { numUpdatedRows } = await db
      .updateTable("sallyport_users")
      .set({ [flag]: value ? 1 : 0 })
      .where("id", "=", userId)
      .where(flag, "=", value ? 0 : 1)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /**
   * Deletes a user with all grants and memberships.
   *
   * @returns whether the user had a row
   */
  async deleteUser(db: Kysely<Tables>, userId: string): Promise<boolean> {
    await db.deleteFrom("sallyport_user_permissions").where("user_id", "=", userId).execute();
    await db.deleteFrom("sallyport_user_groups").where("user_id", "=", userId).execute();
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_users")
      .where("id", "=", userId)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  async #grantColumns(db: Kysely<Tables>, { by, reason, until }: GrantTerms) {
    if (until !== null && !(await this.#isFuture(db, until))) {
      throw new ConfigurationError(
        `until is ${new Date(until).toISOString()}, which has passed, so the grant would never apply. Set it to a time in the future.`,
      );
    }
    return {
      until_at: until,
      granted_at: this.#database.now,
      granted_by: by ?? null,
      reason: reason ?? null,
    };
  }

  /** Compares with the clock of the database, because it determines when a grant expires. */
  async #isFuture(db: Kysely<Tables>, instant: number): Promise<boolean> {
    const row = await db
      .selectNoFrom(({ eb, val }) => eb(val(instant), ">", this.#database.now).as("is_future"))
      .executeTakeFirst();
    return Boolean(row?.is_future);
  }
}

/** Returns whether an upsert inserted or updated a row. */
function hasWritten({ numInsertedOrUpdatedRows = 0n }: InsertResult): boolean {
  return numInsertedOrUpdatedRows > 0n;
}
