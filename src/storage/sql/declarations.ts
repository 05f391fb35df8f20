import type { Kysely } from "kysely";
import { StorageError } from "../../errors.ts";
import type { Database, Tables } from "../database.ts";
import type { StoredPermission, StoredRule } from "../stores/changes.ts";

/**
 * The permissions and rules that the code declared at the last `migrate`. Grants refer to the
 * permissions.
 */
export class SqlDeclarations {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns the stored permissions, ordered by name. */
  permissions(db: Kysely<Tables>): Promise<readonly StoredPermission[]> {
    return db.selectFrom("sallyport_permissions").select(["name", "label"]).orderBy("name").execute();
  }

  /**
   * Writes the declared permissions.
   *
   * @returns the names of the added permissions, and of those that are no longer declared. The
   *   latter are not removed
   */
  async syncPermissions(
    db: Kysely<Tables>,
    declared: readonly StoredPermission[],
  ): Promise<{ readonly added: readonly string[]; readonly stale: readonly string[] }> {
    const stored = new Set((await this.permissions(db)).map(({ name }) => name));
    const added = declared.filter(({ name }) => !stored.has(name)).map(({ name }) => name);
    for (const { name, label } of declared) {
      await db
        .insertInto("sallyport_permissions")
        .values({ name, label, created_at: this.#database.now })
        .onConflict((conflict) => conflict.column("name").doUpdateSet({ label }))
        .execute();
    }
    const names = new Set(declared.map(({ name }) => name));
    return { added, stale: [...stored].filter((name) => !names.has(name)) };
  }

  /**
   * Checks that a permission is stored.
   *
   * @throws StorageError if `migrate` has not added it to the database
   */
  async requirePermission(db: Kysely<Tables>, permission: string): Promise<void> {
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

  /**
   * Deletes permissions and all their grants.
   *
   * @returns the deleted permissions
   */
  async prunePermissions(db: Kysely<Tables>, names: readonly string[]): Promise<readonly string[]> {
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

  /** Returns the stored rules, ordered by kind and name. */
  rules(db: Kysely<Tables>): Promise<readonly StoredRule[]> {
    return db
      .selectFrom("sallyport_rules")
      .select(["kind", "name", "rule"])
      .orderBy("kind")
      .orderBy("name")
      .execute();
  }

  /** Replaces the stored rules. */
  async replaceRules(db: Kysely<Tables>, rules: readonly StoredRule[]): Promise<void> {
    await db.deleteFrom("sallyport_rules").execute();
    for (const { kind, name, rule } of rules) {
      await db
        .insertInto("sallyport_rules")
        .values({ kind, name, rule, recorded_at: this.#database.now })
        .execute();
    }
  }
}
