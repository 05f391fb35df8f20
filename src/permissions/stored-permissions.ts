import { ConfigurationError } from "../errors.ts";
import type { StoredPermission } from "../storage/stores/changes.ts";
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

/** Returns all permissions that are declared or in the database. */
export function listPermissions(
  catalog: PermissionCatalog,
  stored: readonly StoredPermission[],
): readonly PermissionInfo[] {
  const names = new Set(stored.map(({ name }) => name));
  const declared = catalog
    .list()
    .map(({ name, label }) => ({ name, label, isDeclared: true, isStored: names.has(name) }));
  const stale = stored
    .filter(({ name }) => catalog.find(name) === undefined)
    .map((permission) => ({ ...permission, isDeclared: false, isStored: true }));
  return [...declared, ...stale];
}

/** Returns the names of the permissions in the database that the code no longer declares. */
export function stalePermissions(
  catalog: PermissionCatalog,
  stored: readonly StoredPermission[],
): readonly string[] {
  return stored.map(({ name }) => name).filter((name) => catalog.find(name) === undefined);
}

/**
 * Checks that permissions can be removed.
 *
 * @throws ConfigurationError for a permission that the code declares
 */
export function checkPrunable(catalog: PermissionCatalog, names: readonly string[]): void {
  for (const name of names) {
    if (catalog.find(name) === undefined) continue;
    throw new ConfigurationError(
      `${name} is declared in code, so the next migrate would create it again without its grants. ` +
        "Remove it from definePermissions() first.",
    );
  }
}
