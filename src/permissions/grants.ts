import type { InsertResult, Kysely } from "kysely";
import * as v from "valibot";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { instantOption, optionsOf, parseOptions } from "../options.ts";
import type { Database, Tables } from "../storage/database.ts";
import type { Permission } from "./define.ts";

/** Who gets or loses a right: a user by the app's own id, or a group. */
export type PermissionHolder = string | { readonly group: string };

/** What is remembered about a change of rights. */
export interface ChangeOptions {
  /** Who makes it, such as a user's id: at most 255 characters. */
  readonly by?: string | undefined;
  /** Why: at most 1 000 characters. */
  readonly reason?: string | undefined;
}

/** What is remembered about a grant. */
export interface GrantOptions extends ChangeOptions {
  /** When the grant ends by itself: a coming instant in epoch milliseconds, or a Date. Default: never. */
  readonly until?: number | Date | undefined;
}

/** What a user is of whom nothing is known. */
const DEFAULT_FLAGS = { is_active: true, is_superuser: false } as const;

/** A grant or membership whose end came. */
export interface ExpiredGrant {
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  readonly until: number;
}

/**
 * Edits of users, groups and grants, each inside a transaction of the caller's. They only edit: that a change leaves a
 * record and is enforced is the story's to see to.
 */
export class Grants {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Makes the row of a user whom the app knows; an existing one stays as it is. */
  async know(db: Kysely<Tables>, userId: string): Promise<void> {
    checkUserId(userId);
    await db
      .insertInto("sallyport_users")
      .values({ id: userId, is_active: 1, is_superuser: 0, created_at: this.#database.now })
      .onConflict((conflict) => conflict.column("id").doNothing())
      .execute();
  }

  /**
   * Gives a right; a group must be there. Giving it again with another end replaces end, giver and reason.
   *
   * @returns false when it stood already, with the same end
   */
  async grant(
    db: Kysely<Tables>,
    holder: PermissionHolder,
    permission: Permission,
    options: GrantOptions,
  ): Promise<boolean> {
    const who = holderOf(holder);
    const fields = { ...(await this.#terms(db, options)), permission };
    if (typeof who === "string") {
      await this.know(db, who);
      return wrote(
        await db
          .insertInto("sallyport_user_permissions")
          .values({ ...fields, user_id: who })
          .onConflict((conflict) =>
            conflict
              .columns(["user_id", "permission"])
              .doUpdateSet(fields)
              .where("sallyport_user_permissions.until_at", "is distinct from", fields.until_at),
          )
          .executeTakeFirst(),
      );
    }
    return wrote(
      await db
        .insertInto("sallyport_group_permissions")
        .values({ ...fields, group_name: who.group })
        .onConflict((conflict) =>
          conflict
            .columns(["group_name", "permission"])
            .doUpdateSet(fields)
            .where("sallyport_group_permissions.until_at", "is distinct from", fields.until_at),
        )
        .executeTakeFirst(),
    );
  }

  /** @returns whether the holder had it */
  async revoke(db: Kysely<Tables>, holder: PermissionHolder, permission: Permission): Promise<boolean> {
    const who = holderOf(holder);
    if (!isName(permission, 255))
      throw new ConfigurationError(`${formatValue(permission)} is no permission.`);
    const { numDeletedRows } =
      typeof who === "string"
        ? await db
            .deleteFrom("sallyport_user_permissions")
            .where("user_id", "=", who)
            .where("permission", "=", permission)
            .executeTakeFirst()
        : await db
            .deleteFrom("sallyport_group_permissions")
            .where("group_name", "=", who.group)
            .where("permission", "=", permission)
            .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /**
   * Makes a user a member of a group that is there.
   *
   * @returns false when the user was one already, with the same end
   */
  async addToGroup(
    db: Kysely<Tables>,
    userId: string,
    group: string,
    options: GrantOptions,
  ): Promise<boolean> {
    const fields = await this.#terms(db, options);
    await this.know(db, userId);
    return wrote(
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

  /** @returns whether the user was a member */
  async removeFromGroup(db: Kysely<Tables>, userId: string, group: string): Promise<boolean> {
    checkUserId(userId);
    const { numDeletedRows } = await db
      .deleteFrom("sallyport_user_groups")
      .where("user_id", "=", userId)
      .where("group_name", "=", groupNameOf(group))
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** @returns whether there was none of that name */
  async createGroup(db: Kysely<Tables>, name: string): Promise<boolean> {
    return wrote(
      await db
        .insertInto("sallyport_groups")
        .values({ name: groupNameOf(name), created_at: this.#database.now })
        .onConflict((conflict) => conflict.column("name").doNothing())
        .executeTakeFirst(),
    );
  }

  async hasGroup(db: Kysely<Tables>, name: string): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_groups")
      .select("name")
      .where("name", "=", groupNameOf(name))
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Removes a group with its grants and memberships; an app's own Kysely may have foreign keys turned off. */
  async deleteGroup(db: Kysely<Tables>, given: string): Promise<void> {
    const name = groupNameOf(given);
    await db.deleteFrom("sallyport_group_permissions").where("group_name", "=", name).execute();
    await db.deleteFrom("sallyport_user_groups").where("group_name", "=", name).execute();
    await db.deleteFrom("sallyport_groups").where("name", "=", name).execute();
  }

  /** @returns whether it differed before */
  async setFlag(
    db: Kysely<Tables>,
    userId: string,
    flag: "is_active" | "is_superuser",
    value: boolean,
  ): Promise<boolean> {
    if (typeof value !== "boolean") {
      throw new ConfigurationError(`${flag} is true or false, not ${JSON.stringify(value)}.`);
    }
    checkUserId(userId);
    // Somebody unknown is active and no superuser: to say so again makes no row.
    if (value !== DEFAULT_FLAGS[flag]) await this.know(db, userId);
    const { numUpdatedRows } = await db
      .updateTable("sallyport_users")
      .set({ [flag]: value ? 1 : 0 })
      .where("id", "=", userId)
      .where(flag, "=", value ? 0 : 1)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /** Removes what we know of a user, grants and memberships included. @returns whether there was a row */
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

  /** Whether any grant or membership has come to its end. A read, so that looking costs no lock. */
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

  /** Takes away the grants whose end has come. They counted for nothing from that moment on. */
  async expire(db: Kysely<Tables>, limit: number): Promise<readonly ExpiredGrant[]> {
    const { now } = this.#database;
    const direct = await db
      .deleteFrom("sallyport_user_permissions")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("user_id", "permission"),
          "in",
          selectFrom("sallyport_user_permissions as over")
            .select(["over.user_id", "over.permission"])
            .where("over.until_at", "<=", now)
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
          selectFrom("sallyport_user_groups as over")
            .select(["over.user_id", "over.group_name"])
            .where("over.until_at", "<=", now)
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
          selectFrom("sallyport_group_permissions as over")
            .select(["over.group_name", "over.permission"])
            .where("over.until_at", "<=", now)
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

  async #terms(db: Kysely<Tables>, { by, reason, until }: GrantOptions) {
    const until_at = until === undefined ? null : Number(until);
    if (until_at !== null && !(await this.#isComing(db, until_at))) {
      throw new ConfigurationError(
        `until is ${new Date(until_at).toISOString()}, which has passed, so the grant would never apply. Give an instant in the future.`,
      );
    }
    return { until_at, granted_at: this.#database.now, granted_by: by ?? null, reason: reason ?? null };
  }

  /** By the database's clock, which is the one that ends it. */
  async #isComing(db: Kysely<Tables>, instant: number): Promise<boolean> {
    const row = await db
      .selectNoFrom(({ eb, val }) => eb(val(instant), ">", this.#database.now).as("is_coming"))
      .executeTakeFirst();
    return Boolean(row?.is_coming);
  }
}

/** Whether an upsert inserted or updated anything. */
function wrote({ numInsertedOrUpdatedRows = 0n }: InsertResult): boolean {
  return numInsertedOrUpdatedRows > 0n;
}

/**
 * Returns the holder with the name of a group as it is stored.
 *
 * @throws ConfigurationError for what cannot hold a permission
 */
export function holderOf(holder: unknown): PermissionHolder {
  if (typeof holder !== "object" || holder === null) {
    checkUserId(holder);
    return holder;
  }
  if (Object.keys(holder).join() === "group") {
    return { group: groupNameOf((holder as { group: unknown }).group) };
  }
  throw new ConfigurationError(`A holder is a user's id or { group }, not ${formatValue(holder)}.`);
}

/** @throws ConfigurationError for what no user of an app can be called */
export function checkUserId(userId: unknown): asserts userId is string {
  if (isName(userId, 255)) return;
  throw new ConfigurationError(
    `A user id must be a string of 1 to 255 characters that is not blank and has no control characters, but received ${formatValue(userId)}.`,
  );
}

/**
 * Returns the name of a group as it is stored, in Unicode's composed form (NFC). Programs and file systems write the same letter in
 * several forms, and two groups with the same visible name would be confused.
 *
 * @throws ConfigurationError for what cannot be the name of a group
 */
export function groupNameOf(name: unknown): string {
  const composed = typeof name === "string" ? name.normalize("NFC") : name;
  if (isName(composed, 150) && composed.trim() === composed) return composed;
  throw new ConfigurationError(
    "The name of a group must be a string of 1 to 150 characters that is not blank, has no control characters and no spaces around it, " +
      `but received ${formatValue(name)}.`,
  );
}

/** @throws ConfigurationError for what no login of an app can be called */
export function checkSessionId(login: unknown): asserts login is string {
  if (isName(login, 255)) return;
  throw new ConfigurationError(
    "session must be a session id as authenticate() returns it: a string of 1 to 255 characters without control characters.",
  );
}

/**
 * Returns true for a text that identifies something: not blank, and without control characters, which would make two ids look alike.
 * Both databases store it unchanged.
 */
export function isName(text: unknown, most: number): text is string {
  return isStorableText(text, most) && VISIBLE.test(text) && !/\p{Cc}/u.test(text);
}

/** A character that can be seen. U+2800 is a Braille pattern without dots. */
const VISIBLE = /[^\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u;

/**
 * Returns true for a text that both databases store unchanged. PostgreSQL rejects NUL, and SQLite returns half a surrogate pair as
 * another character.
 */
function isStorableText(text: unknown, most: number): text is string {
  return typeof text === "string" && text !== "" && text.length <= most && !/\0|\p{Surrogate}/u.test(text);
}

/** The schemas of the options that every change has. */
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
  until: "Only access.grant() and access.addToGroup() have until.",
});
const GRANT_OPTIONS = optionsOf<GrantOptions>()({
  ...CHANGE_SCHEMAS,
  // Without it the grant would not end, so `undefined` is rejected.
  until: v.exactOptional(instantOption),
});

/** @throws ConfigurationError for an unknown option or a value that cannot be stored */
export function checkChangeOptions(options: ChangeOptions): void {
  parseOptions("options of a change", CHANGE_OPTIONS, options);
}

/** @throws ConfigurationError for an unknown option or a value that cannot be stored */
export function checkGrantOptions(options: GrantOptions): void {
  parseOptions("options of a grant", GRANT_OPTIONS, options);
}
