import type { ChangeOptions } from "../permissions/grants.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { GroupDetails } from "../storage/stores/users.ts";
import type { ChangeFunction } from "./change.ts";

/** `access.groups`: lists, creates and deletes groups. */
export class AccessGroups {
  readonly #services: AdminServices;
  readonly #change: ChangeFunction;

  constructor(services: AdminServices, change: ChangeFunction) {
    this.#services = services;
    this.#change = change;
  }

  /** Returns every group with its current permissions. */
  list(): Promise<readonly GroupDetails[]> {
    const { store } = this.#services;
    return withStorageErrors(store, () => store.users.groups());
  }

  /** Creates an empty group. @returns `false` if a group of that name already existed */
  async create(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "create-group", group }, options)).changed;
  }

  /** Deletes a group with its grants and memberships. @returns whether the group existed */
  async delete(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "delete-group", group }, options)).changed;
  }
}
