import { ConfigurationError } from "../../errors.ts";
import { quoted } from "../terminal.ts";
import type { Column, DjangoDatabase } from "./database.ts";

/** How UUIDs are written as user ids: with hyphens, as Django prints them, or 32 hexadecimal characters. */
export type UuidFormat = "hyphens" | "hex";

/** The options that select the users. */
export interface UserOptions {
  /** The table of the user model. Default `auth_user`. */
  readonly userTable?: string | undefined;
  /** The column with the user id of the app. Default: the primary key. */
  readonly userIdColumn?: string | undefined;
  readonly uuidFormat: UuidFormat;
}

/** The table of the users, and its columns. */
export interface UserTable {
  readonly name: string;
  readonly key: string;
  readonly id: Column;
  readonly hasActive: boolean;
  readonly hasSuperuser: boolean;
}

/** A table with a row for each group or permission of a user. */
export interface UserLinks {
  readonly name: string;
  readonly key: string;
  /** The column that refers to the user. Django names it after the model. */
  readonly user: string;
  /** The column that refers to the group or the permission. */
  readonly other: string;
}

/** The tables of `django.contrib.auth`. */
export interface AuthLayout {
  readonly users: UserTable;
  /** Undefined if the user model has no groups. */
  readonly memberships: UserLinks | undefined;
  /** Undefined if the user model has no permissions. */
  readonly userPermissions: UserLinks | undefined;
}

const DEFAULT_USERS = "auth_user";
/** The tables that every project with `django.contrib.auth` has. */
const REQUIRED: Readonly<Record<string, readonly string[]>> = {
  auth_group: ["id", "name"],
  auth_permission: ["id", "content_type_id", "codename"],
  auth_group_permissions: ["id", "group_id", "permission_id"],
  django_content_type: ["id", "app_label"],
};

/**
 * Finds the tables of users, groups and permissions.
 *
 * @throws ConfigurationError if a table or a column is missing. The message names user tables that
 *   exist
 */
export async function authLayout(database: DjangoDatabase, options: UserOptions): Promise<AuthLayout> {
  for (const [table, columns] of Object.entries(REQUIRED)) {
    const found = new Set((await database.columns(table)).map(({ name }) => name));
    const missing = columns.find((column) => !found.has(column));
    if (missing === undefined) continue;
    const what = found.size === 0 ? `has no table ${table}` : `has no column ${table}.${missing}`;
    throw new ConfigurationError(
      `The database ${database.name} ${what}, so it does not contain the tables of django.contrib.auth. ` +
        "Check --database. If they are in another PostgreSQL schema, add ?options=-c%20search_path%3DSCHEMA to the URL.",
    );
  }
  const users = await userTable(database, options);
  return {
    users,
    memberships: await userLinks(database, `${users.name}_groups`, "group_id"),
    userPermissions: await userLinks(database, `${users.name}_user_permissions`, "permission_id"),
  };
}

async function userTable(database: DjangoDatabase, options: UserOptions): Promise<UserTable> {
  const name = options.userTable ?? DEFAULT_USERS;
  if (name === "" || name.includes("\0")) {
    throw new ConfigurationError(
      "--user-table is empty or contains a NUL character. Pass the name of the table.",
    );
  }
  const columns = await database.columns(name);
  if (columns.length === 0) throw await noUserTable(database, name);
  const keys = columns.filter(({ isPrimaryKey }) => isPrimaryKey);
  const [key] = keys;
  if (key === undefined || keys.length > 1) {
    throw new ConfigurationError(
      `The table ${quoted(name)} has ${keys.length} primary key columns, but a table of Django has one. Check --user-table.`,
    );
  }
  const wanted = options.userIdColumn;
  const id = wanted === undefined ? key : columns.find((column) => column.name === wanted);
  if (id === undefined) {
    throw new ConfigurationError(
      `The table ${quoted(name)} has no column ${quoted(wanted ?? "")}. Pass one of these to --user-id-column: ${columns.map((column) => column.name).join(", ")}.`,
    );
  }
  const has = (column: string) => columns.some((each) => each.name === column);
  return {
    name,
    key: key.name,
    id,
    hasActive: has("is_active"),
    hasSuperuser: has("is_superuser"),
  };
}

/** Every user model of Django has the column `password`. */
async function noUserTable(database: DjangoDatabase, name: string): Promise<ConfigurationError> {
  const [tables, active] = [await database.tablesWith("password"), await database.tablesWith("last_login")];
  const candidates = tables.filter((table) => active.includes(table));
  const advice =
    candidates.length === 0
      ? "Pass the table of AUTH_USER_MODEL to --user-table."
      : `These look like user tables: ${candidates.join(", ")}. Pass one of them to --user-table.`;
  return new ConfigurationError(`The database ${database.name} has no table ${quoted(name)}. ${advice}`);
}

/** Returns a table that links users, or undefined if the user model has none. */
async function userLinks(
  database: DjangoDatabase,
  name: string,
  other: string,
): Promise<UserLinks | undefined> {
  const columns = await database.columns(name);
  if (columns.length === 0) return undefined;
  const names = columns.map((column) => column.name);
  const key = columns.find(({ isPrimaryKey }) => isPrimaryKey)?.name;
  const users = names.filter((column) => column !== key && column !== other);
  const [user] = users;
  if (key === undefined || user === undefined || users.length > 1 || !names.includes(other)) {
    throw new ConfigurationError(
      `The table ${quoted(name)} must have a primary key, ${other} and one column of the user, but it has the columns ${names.join(", ")}. ` +
        "The import cannot read it. Restore the columns that Django created.",
    );
  }
  return { name, key, user, other };
}
