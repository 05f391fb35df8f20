import type { ChangeOptions } from "../permissions/grants.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import {
  clearLimitWindows,
  type LimitFilter,
  type LimitsToClear,
  type LimitWindow,
  listLimitWindows,
} from "./limit-windows.ts";

/** `access.limits`: lists and clears the windows of rate limits. */
export class AccessLimits {
  readonly #services: AdminServices;

  constructor(services: AdminServices) {
    this.#services = services;
  }

  /** Returns the open windows of the rate limits in the database, highest counts first. */
  list(filter?: LimitFilter): Promise<readonly LimitWindow[]> {
    return withStorageErrors(this.#services.store, () => listLimitWindows(this.#services, filter));
  }

  /**
   * Clears windows of rate limits, so that the events of a user or an address are accepted again.
   *
   * Limits of messages are counted in the memory of each process. They are not cleared.
   *
   * @returns the number of windows that were cleared
   */
  clear(which: LimitsToClear, options?: ChangeOptions): Promise<number> {
    return withStorageErrors(this.#services.store, () => clearLimitWindows(this.#services, which, options));
  }
}
