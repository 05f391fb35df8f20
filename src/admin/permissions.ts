import type { Permission } from "../permissions/define.ts";
import type { ChangeOptions } from "../permissions/grants.ts";
import { listPermissions, type PermissionInfo } from "../permissions/stored-permissions.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { ChangeFunction } from "./change.ts";
import { compareRules, type RuleChange } from "./compare-rules.ts";
import { listHolders, type UserWithPermission } from "./explain.ts";

/** `access.permissions`: lists permissions and who has them, and removes stale ones. */
export class AccessPermissions {
  readonly #services: AdminServices;
  readonly #change: ChangeFunction;

  constructor(services: AdminServices, change: ChangeFunction) {
    this.#services = services;
    this.#change = change;
  }

  /**
   * Returns every permission that is declared or in the database. A permission that is no longer
   * declared is stale.
   */
  list(): Promise<readonly PermissionInfo[]> {
    const { definitions, store } = this.#services;
    return this.#withStorageErrors(async () =>
      listPermissions(definitions.permissions, await store.changes.permissions()),
    );
  }

  /** Returns the active users who have a permission now, each with its grants. */
  holders(permission: Permission): Promise<readonly UserWithPermission[]> {
    return this.#withStorageErrors(() => listHolders(this.#services, permission));
  }

  /**
   * Removes permissions that the code no longer declares, with all their grants.
   *
   * @param permissions names of stale permissions. Default: all stale permissions
   * @returns the names of the removed permissions
   */
  async prune(permissions?: readonly string[], options?: ChangeOptions): Promise<readonly string[]> {
    return (
      await this.#change(
        { kind: "prune-permissions", ...(permissions === undefined ? {} : { permissions }) },
        options,
      )
    ).pruned;
  }

  /**
   * Returns how the rules of this code differ from those that the last `migrate` stored, with the
   * users who gain or lose access.
   *
   * @throws ConfigurationError if no `migrate` has stored rules yet
   */
  ruleChanges(): Promise<readonly RuleChange[]> {
    return this.#withStorageErrors(() => compareRules(this.#services));
  }

  /** Converts errors of the database driver to a `StorageError`, which states what to do. */
  #withStorageErrors<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.store, work);
  }
}
