import type { Kysely } from "kysely";
import { ConfigurationError, StorageError } from "../errors.ts";
import type { Database, Tables } from "../storage/database.ts";
import type { PermissionCatalog } from "./define.ts";

/** A permission, and whether the code and the database contain it. */
export interface PermissionInfo {
  readonly name: string;
  readonly label: string;
  /** Whether the code declares it. A permission that is not declared is stale. */
  readonly isDeclared: boolean;
  /** Whether the database contains it. The next `migrate` adds missing permissions. */
  readonly isStored: boolean;
}

/**
 * The rows of permissions. Grants refer to them.
 *
 * `migrate` adds the permissions that the code declares. Stale permissions are removed on request.
 */
export class PermissionRows {
  readonly #database: Database;
  readonly #catalog: PermissionCatalog;

  constructor(database: Database, catalog: PermissionCatalog) {
    this.#database = database;
    this.#catalog = catalog;
  }

  /** Returns all permissions that are declared or in the database. */
  async list(db: Kysely<Tables>): Promise<readonly PermissionInfo[]> {
    const rows = await db
      .selectFrom("sallyport_permissions")
      .select(["name", "label"])
      .orderBy("name")
      .execute();
    const stored = new Set(rows.map(({ name }) => name));
    const declared = this.#catalog
      .list()
      .map(({ name, label }) => ({ name, label, isDeclared: true, isStored: stored.has(name) }));
    const stale = rows
      .filter(({ name }) => this.#catalog.find(name) === undefined)
      .map((row) => ({ ...row, isDeclared: false, isStored: true }));
    return [...declared, ...stale];
  }

  /**
   * Writes the declared permissions to the database.
   *
   * @returns the added permissions, and the stale ones. Stale permissions are not removed
   */
  async sync(
    db: Kysely<Tables>,
  ): Promise<{ readonly added: readonly string[]; readonly stale: readonly string[] }> {
    const before = await this.list(db);
    const declared = before.filter(({ isDeclared }) => isDeclared);
    const added = declared.filter(({ isStored }) => !isStored).map(({ name }) => name);
    for (const { name, label } of declared) {
      await db
        .insertInto("sallyport_permissions")
        .values({ name, label, created_at: this.#database.now })
        .onConflict((conflict) => conflict.column("name").doUpdateSet({ label }))
        .execute();
    }
    return { added, stale: before.filter(({ isDeclared }) => !isDeclared).map(({ name }) => name) };
  }

  /** Returns the permissions in the database that the code no longer declares. */
  async stale(db: Kysely<Tables>): Promise<readonly string[]> {
    return (await this.list(db)).filter(({ isDeclared }) => !isDeclared).map(({ name }) => name);
  }

  /**
   * Checks that permissions can be removed.
   *
   * @throws ConfigurationError for a permission that the code declares
   */
  checkPrunable(names: readonly string[]): void {
    for (const name of names) {
      if (this.#catalog.find(name) === undefined) continue;
      throw new ConfigurationError(
        `${name} is declared in code, so the next migrate would create it again without its grants. ` +
          "Remove it from definePermissions() first.",
      );
    }
  }

  /**
   * Deletes permissions and all their grants.
   *
   * @returns the deleted permissions
   */
  async prune(db: Kysely<Tables>, names: readonly string[]): Promise<readonly string[]> {
    if (names.length === 0) return [];
    await db.deleteFrom("sallyport_user_permissions").where("permission", "in", names).execute();
    await db.deleteFrom("sallyport_group_permissions").where("permission", "in", names).execute();
    const rows = await db
      .deleteFrom("sallyport_permissions")
      .where("name", "in", names)
      .returning("name")
      .execute();
    return rows.map((row) => row.name).sort();
  }

  /**
   * Checks that a permission is declared and in the database.
   *
   * @throws ConfigurationError if it is not declared
   * @throws StorageError if `migrate` has not added it to the database
   */
  async require(db: Kysely<Tables>, permission: string): Promise<void> {
    this.#catalog.parse(permission);
    const row = await db
      .selectFrom("sallyport_permissions")
      .select("name")
      .where("name", "=", permission)
      .executeTakeFirst();
    if (row) return;
    throw new StorageError(
      `${permission} is declared, but not in the database, so it cannot be granted. Run: npx sallyport migrate`,
      {
        code: "SALLYPORT_NOT_MIGRATED",
      },
    );
  }
}
