import type { ChangeOrigin } from "./changes.ts";
import type { PermissionHolder } from "./users.ts";

/** A user of another database. */
export interface ImportedUser {
  readonly id: string;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
}

/** A user, and a group of the user. */
export interface ImportedMembership {
  readonly user: string;
  readonly group: string;
}

/** A permission that a user or a group has. */
export interface ImportedGrant {
  readonly holder: PermissionHolder;
  readonly permission: string;
}

/** Rows of another database. Names are valid and in their stored form. Nothing has an end. */
export interface ImportedRows {
  readonly users?: readonly ImportedUser[];
  readonly groups?: readonly string[];
  readonly memberships?: readonly ImportedMembership[];
  readonly grants?: readonly ImportedGrant[];
}

/** The maximum number of rows of one call. */
export const IMPORT_PAGE = 1000;

/**
 * Adds users, groups, memberships and grants of another database in pages. It changes no existing
 * row, except for grants and memberships that have expired.
 */
export interface ImportStore {
  /** Returns the stored state of users. A user without a row is not in the result. */
  users(ids: readonly string[]): Promise<readonly ImportedUser[]>;

  /** Returns the rows that {@link add} would add. Nothing is written. */
  missing(rows: ImportedRows): Promise<Required<ImportedRows>>;

  /**
   * Adds the rows that do not exist, in one transaction with their audit entries.
   *
   * It adds no membership and no grant to a user or a group that has no row.
   *
   * @param rows at most {@link IMPORT_PAGE} rows
   * @returns the rows that were added
   */
  add(rows: ImportedRows, origin: Pick<ChangeOrigin, "by" | "reason">): Promise<Required<ImportedRows>>;
}
