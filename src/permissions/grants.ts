import type { InsertResult, Kysely } from "kysely";
import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { instantOption, optionsOf, parseOptions } from "../options.ts";
import type { Database, Tables } from "../storage/database.ts";
import type { Permission } from "./define.ts";

/** The holder of a permission: a user id, or a group. */
export type PermissionHolder = string | { readonly group: string };

/** What the audit log stores about a change of permissions. */
export interface ChangeOptions {
  /** Who makes the change, such as a user id: at most 255 characters. Default: not stored. */
  readonly by?: string | undefined;
  /** Why the change is made: at most 1 000 characters. Default: not stored. */
  readonly reason?: string | undefined;
}

/** The options of a grant or a membership. */
export interface GrantOptions extends ChangeOptions {
  /**
   * When the grant expires: a time in the future, as a Date or in epoch milliseconds. Default:
   * never.
   */
  readonly until?: number | Date | undefined;
}

/** The state of a user who has no row. */
const DEFAULT_FLAGS = { is_active: true, is_superuser: false } as const;

/** A grant or a membership that has expired. */
export interface ExpiredGrant {
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  readonly until: number;
}

/**
 * Changes users, groups and grants, in the transaction of the caller.
 *
 * It only changes rows. The caller writes the audit log and starts the revocation.
 */
export class Grants {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Creates the row of a user. An existing row stays unchanged. */
  async ensureUser(db: Kysely<Tables>, userId: string): Promise<void> {
    checkUserId(userId);
    await db
      .insertInto("sallyport_users")
      .values({ id: userId, is_active: 1, is_superuser: 0, created_at: this.#database.now })
      .onConflict((conflict) => conflict.column("id").doNothing())
      .execute();
  }

  /**
   * Grants a permission to a user or to an existing group.
   *
   * Granting it again with another `until` replaces `until`, `by` and `reason`.
   *
   * @returns false if the same grant with the same `until` existed already
   */
  async grant(
    db: Kysely<Tables>,
    holder: PermissionHolder,
    permission: Permission,
    options: GrantOptions,
  ): Promise<boolean> {
    const target = holderOf(holder);
    const fields = { ...(await this.#grantColumns(db, options)), permission };
    if (typeof target === "string") {
      await this.ensureUser(db, target);
      return hasWritten(
        await db
          .insertInto("sallyport_user_permissions")
          .values({ ...fields, user_id: target })
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
        .values({ ...fields, group_name: target.group })
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
  async revoke(db: Kysely<Tables>, holder: PermissionHolder, permission: Permission): Promise<boolean> {
    const target = holderOf(holder);
    if (!isName(permission, 255)) {
      throw new ConfigurationError(
        `revoke(): the permission must be a string of 1 to 255 characters, but received ${formatValue(permission)}. ` +
          "Pass a permission of definePermissions().",
      );
    }
    const { numDeletedRows } =
      typeof target === "string"
        ? await db
            .deleteFrom("sallyport_user_permissions")
            .where("user_id", "=", target)
            .where("permission", "=", permission)
            .executeTakeFirst()
        : await db
            .deleteFrom("sallyport_group_permissions")
            .where("group_name", "=", target.group)
            .where("permission", "=", permission)
            .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /**
   * Adds a user to an existing group.
   *
   * @returns false if the user was a member already, with the same `until`
   */
  async addToGroup(
    db: Kysely<Tables>,
    userId: string,
    group: string,
    options: GrantOptions,
  ): Promise<boolean> {
    const fields = await this.#grantColumns(db, options);
    await this.ensureUser(db, userId);
    return hasWritten(
      await db
        .insertInto("sallyport_user_groups")
        .values({ ...fields, user_id: userId, group_name: groupNameOf(group) })
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
    checkUserId(userId);
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_user_groups")
      .where("user_id", "=", userId)
      .where("group_name", "=", groupNameOf(group))
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
        .values({ name: groupNameOf(name), created_at: this.#database.now })
        .onConflict((conflict) => conflict.column("name").doNothing())
        .executeTakeFirst(),
    );
  }

  /** Returns whether a group exists. */
  async hasGroup(db: Kysely<Tables>, name: string): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_groups")
      .select("name")
      .where("name", "=", groupNameOf(name))
      .executeTakeFirst();
    return row !== undefined;
  }

  /**
   * Deletes a group, its grants and its memberships. Foreign keys can be disabled in the Kysely of
   * an app.
   */
  async deleteGroup(db: Kysely<Tables>, given: string): Promise<void> {
    const name = groupNameOf(given);
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
    if (typeof value !== "boolean") {
      throw new ConfigurationError(`${flag} must be true or false, but received ${JSON.stringify(value)}.`);
    }
    checkUserId(userId);
    // A user without a row is active and not a superuser. Setting these values creates no row.
    if (value !== DEFAULT_FLAGS[flag]) await this.ensureUser(db, userId);
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
    checkUserId(userId);
    await db.deleteFrom("sallyport_user_permissions").where("user_id", "=", userId).execute();
    await db.deleteFrom("sallyport_user_groups").where("user_id", "=", userId).execute();
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_users")
      .where("id", "=", userId)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** Returns whether any grant or membership has expired. It only reads, so it takes no lock. */
  async hasExpired(): Promise<boolean> {
    const { db, now } = this.#database;
    const ended = db
      .selectFrom("sallyport_user_permissions")
      .select("user_id as id")
      .where("until_at", "<=", now)
      .unionAll(db.selectFrom("sallyport_user_groups").select("user_id as id").where("until_at", "<=", now))
      .unionAll(
        db.selectFrom("sallyport_group_permissions").select("group_name as id").where("until_at", "<=", now),
      );
    return (await ended.limit(1).executeTakeFirst()) !== undefined;
  }

  /**
   * Deletes expired grants and memberships. They have not applied since they expired.
   *
   * @returns the deleted grants and memberships, at most `limit`
   */
  async expire(db: Kysely<Tables>, limit: number): Promise<readonly ExpiredGrant[]> {
    const { now } = this.#database;
    const direct = await db
      .deleteFrom("sallyport_user_permissions")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("user_id", "permission"),
          "in",
          selectFrom("sallyport_user_permissions as expired")
            .select(["expired.user_id", "expired.permission"])
            .where("expired.until_at", "<=", now)
            .limit(limit)
            .$asTuple("user_id", "permission"),
        ),
      )
      .returning(["user_id", "permission", "until_at"])
      .execute();
    const memberships = await db
      .deleteFrom("sallyport_user_groups")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("user_id", "group_name"),
          "in",
          selectFrom("sallyport_user_groups as expired")
            .select(["expired.user_id", "expired.group_name"])
            .where("expired.until_at", "<=", now)
            .limit(limit - direct.length)
            .$asTuple("user_id", "group_name"),
        ),
      )
      .returning(["user_id", "group_name", "until_at"])
      .execute();
    const groups = await db
      .deleteFrom("sallyport_group_permissions")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("group_name", "permission"),
          "in",
          selectFrom("sallyport_group_permissions as expired")
            .select(["expired.group_name", "expired.permission"])
            .where("expired.until_at", "<=", now)
            .limit(limit - direct.length - memberships.length)
            .$asTuple("group_name", "permission"),
        ),
      )
      .returning(["group_name", "permission", "until_at"])
      .execute();
    type Row = { user_id?: string; group_name?: string; permission?: string; until_at: number | null };
    return [...direct, ...memberships, ...groups].map((row: Row) => ({
      user: row.user_id ?? null,
      group: row.group_name ?? null,
      permission: row.permission ?? null,
      until: Number(row.until_at),
    }));
  }

  async #grantColumns(db: Kysely<Tables>, { by, reason, until }: GrantOptions) {
    const until_at = until === undefined ? null : Number(until);
    if (until_at !== null && !(await this.#isFuture(db, until_at))) {
      throw new ConfigurationError(
        `until is ${new Date(until_at).toISOString()}, which has passed, so the grant would never apply. Set it to a time in the future.`,
      );
    }
    return { until_at, granted_at: this.#database.now, granted_by: by ?? null, reason: reason ?? null };
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

/**
 * Validates a holder, and normalizes the name of a group to its stored form.
 *
 * @throws ConfigurationError if the value is not a holder
 */
export function holderOf(holder: unknown): PermissionHolder {
  if (typeof holder !== "object" || holder === null) {
    checkUserId(holder);
    return holder;
  }
  if (Object.keys(holder).join() === "group") {
    return { group: groupNameOf((holder as { group: unknown }).group) };
  }
  throw new ConfigurationError(
    `A holder is a user id or { group }, but received ${formatValue(holder)}. Pass one of the two.`,
  );
}

/**
 * Validates a user id.
 *
 * @throws ConfigurationError if the value cannot be a user id
 */
export function checkUserId(userId: unknown): asserts userId is string {
  if (isName(userId, 255)) return;
  throw new ConfigurationError(
    `A user id must be a string of 1 to 255 characters that is not blank and has no control characters, but received ${formatValue(userId)}.`,
  );
}

/**
 * Returns the stored form of the name of a group: normalized to NFC.
 *
 * Programs and file systems write the same letter in several forms. Without normalization, two
 * groups could have the same visible name.
 *
 * @throws ConfigurationError if the value cannot be the name of a group
 */
export function groupNameOf(name: unknown): string {
  const composed = typeof name === "string" ? name.normalize("NFC") : name;
  if (isName(composed, 150) && composed.trim() === composed) return composed;
  throw new ConfigurationError(
    "The name of a group must be a string of 1 to 150 characters that is not blank, has no control characters and no spaces around it, " +
      `but received ${formatValue(name)}.`,
  );
}

/**
 * Validates a session id.
 *
 * @throws ConfigurationError if the value cannot be a session id. The message does not repeat it
 */
export function checkSessionId(sessionId: unknown): asserts sessionId is string {
  if (isName(sessionId, 255)) return;
  throw new ConfigurationError(
    "session must be a session id as authenticate() returns it: a string of 1 to 255 characters without control characters.",
  );
}

/**
 * Returns whether a value is a valid name or id. Both databases store it unchanged.
 *
 * It is a text that is not blank and has no control characters. Control characters would make two
 * ids look the same.
 */
export function isName(text: unknown, maxLength: number): text is string {
  return isStorableText(text, maxLength) && VISIBLE.test(text) && !/\p{Cc}/u.test(text);
}

/** A visible character. U+2800 is a Braille pattern without dots. */
const VISIBLE = /[^\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u;

/**
 * Returns whether a value is a text that both databases store unchanged.
 *
 * PostgreSQL rejects NUL. SQLite returns an unpaired surrogate as another character.
 */
function isStorableText(text: unknown, maxLength: number): text is string {
  if (typeof text !== "string" || text === "" || text.length > maxLength) return false;
  return !/\0|\p{Surrogate}/u.test(text);
}

/** The schemas of the options that all changes have. */
export const CHANGE_SCHEMAS = {
  by: v.optional(
    v.custom<string>(
      (value) => value === "" || isName(value, 255),
      "must be the user who makes the change: a string of at most 255 characters without control characters",
    ),
  ),
  reason: v.optional(
    v.custom<string>(
      (value) => value === "" || isStorableText(value, 1000),
      "must be why the change is made: a string of at most 1000 characters",
    ),
  ),
};
const CHANGE_OPTIONS = optionsOf<ChangeOptions>()(CHANGE_SCHEMAS, {
  until: "Only access.grant() and access.users.addToGroup() have until.",
});
const GRANT_OPTIONS = optionsOf<GrantOptions>()({
  ...CHANGE_SCHEMAS,
  // `undefined` is rejected, because the grant would never expire.
  until: v.exactOptional(instantOption),
});

/**
 * Validates the options of a change.
 *
 * @throws ConfigurationError for an unknown option, or a value that cannot be stored
 */
export function checkChangeOptions(options: ChangeOptions): void {
  parseOptions("options of a change", CHANGE_OPTIONS, options);
}

/**
 * Validates the options of a grant.
 *
 * @throws ConfigurationError for an unknown option, or a value that cannot be stored
 */
export function checkGrantOptions(options: GrantOptions): void {
  parseOptions("options of a grant", GRANT_OPTIONS, options);
}
