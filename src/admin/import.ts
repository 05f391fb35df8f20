import { type ChangeOptions, isName } from "../permissions/grants.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { ImportedRows, ImportedUser } from "../storage/stores/imports.ts";

/**
 * Adds users, groups, memberships and grants of another database in pages, for
 * `sallyport import-django`.
 *
 * It only adds, so no open connection loses access. `access.change()` changes users that exist.
 */
export class AccessImport {
  readonly #services: AdminServices;
  readonly #worker: RevocationWorker;

  constructor(services: AdminServices, worker: RevocationWorker) {
    this.#services = services;
    this.#worker = worker;
  }

  /**
   * Returns why a text of another database cannot be a user id or a name, as a predicate such as
   * "is empty". Returns undefined if it can.
   *
   * @param text the text, or null for a value that is not text
   * @param maxLength the maximum length in characters
   */
  reasonAgainst(text: string | null, maxLength: number): string | undefined {
    if (text === null) return "is NULL, or bytes that are not text";
    if (text.trim() === "") return "is empty";
    if (text.length > maxLength) return `is longer than ${maxLength} characters`;
    if (text.includes("\0")) return "contains a NUL character";
    // The driver of PostgreSQL returns this character for bytes that are not UTF-8.
    if (text.includes("\ufffd")) return "contains bytes that are not UTF-8";
    if (/\p{Cc}/u.test(text)) return "contains a control character";
    return isName(text, maxLength) ? undefined : "has no visible character";
  }

  /** Returns the stored state of users. A user without a row is not in the result. */
  users(ids: readonly string[]): Promise<readonly ImportedUser[]> {
    const { store } = this.#services;
    return withStorageErrors(store, () => store.imports.users(ids));
  }

  /** Returns the rows that {@link add} would add. Nothing is written. */
  missing(rows: ImportedRows): Promise<Required<ImportedRows>> {
    const { store } = this.#services;
    return withStorageErrors(store, () => store.imports.missing(rows));
  }

  /**
   * Adds the rows that do not exist, in one transaction with their audit entries. Names must be valid
   * and in their stored form.
   *
   * @returns the rows that were added
   */
  add(rows: ImportedRows, { by, reason }: ChangeOptions): Promise<Required<ImportedRows>> {
    const { store } = this.#services;
    return withStorageErrors(store, async () => {
      const added = await store.imports.add(rows, { by, reason });
      if (added.memberships.length + added.grants.length > 0) this.#worker.restore();
      return added;
    });
  }
}
