import type { Kysely } from "kysely";
import { ConfigurationError, StorageError } from "../errors.ts";
import type { Database, Tables } from "../storage/database.ts";
import type { PermissionCatalog } from "./define.ts";

/** A permission, and where it is known. */
export interface PermissionInfo {
  readonly name: string;
  readonly label: string;
  /** In the code. One that is not is stale. */
  readonly isDeclared: boolean;
  /** In the database. One that is not comes there with the next `migrate`. */
  readonly isStored: boolean;
}

/**
 * The rows of permissions, which grants refer to. They follow the code by `migrate`; what is gone from the code is pruned
 * on request.
 */
export class PermissionRows {
  readonly #database: Database;
  readonly #catalog: PermissionCatalog;

  constructor(database: Database, catalog: PermissionCatalog) {
    this.#database = database;
    this.#catalog = catalog;
  }

  /** Every permission that is declared or in the database. */
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
   * Brings the permissions declared in code into the database.
   *
   * @returns what was added, and what is in the database but no longer declared; that is left alone
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

  /** Permissions in the database that the code no longer declares. */
  async stale(db: Kysely<Tables>): Promise<readonly string[]> {
    return (await this.list(db)).filter(({ isDeclared }) => !isDeclared).map(({ name }) => name);
  }

  /** @throws ConfigurationError for a permission that the code declares */
  checkPrunable(names: readonly string[]): void {
    for (const name of names) {
      if (this.#catalog.find(name) === undefined) continue;
      throw new ConfigurationError(
        `${name} is declared in code, and the next migrate would bring it back without its grants. Remove it from definePermissions() first.`,
      );
    }
  }

  /** Removes permissions with every grant of them. @returns those that were there */
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

  /** @throws ConfigurationError when it is not declared, StorageError when no `migrate` has brought it here yet */
  async require(db: Kysely<Tables>, permission: string): Promise<void> {
    this.#catalog.parse(permission);
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
}
