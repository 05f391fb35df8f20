import type { ChangeOptions } from "../permissions/grants.ts";
import type { Services } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { GroupDetails } from "../storage/stores/users.ts";
import type { ChangeFunction } from "./change.ts";

/** `access.groups`: lists, creates and deletes groups. */
export class AccessGroups {
  readonly #services: Services;
  readonly #change: ChangeFunction;

  constructor(services: Services, change: ChangeFunction) {
    this.#services = services;
    this.#change = change;
  }

  /** Returns every group with its current permissions. */
  list(): Promise<readonly GroupDetails[]> {
    const { storage, store } = this.#services;
    return withStorageErrors(storage, () => store.users.groups());
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
