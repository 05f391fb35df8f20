/** The holder of a permission: a user id, or a group. */
export type PermissionHolder = string | { readonly group: string };

/** A grant that applies to a user, directly or through a group. */
export interface EffectiveGrant {
  readonly permission: string;
  /** The group that has the grant, or null if the user has it directly. */
  readonly group: string | null;
  /** When the grant expires, in epoch milliseconds, or null if it does not expire. */
  readonly until: number | null;
}

/** The state and the permissions of a user, read together. */
export interface EffectivePermissions {
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  readonly permissions: readonly string[];
  /** The source of each permission. */
  readonly grants: readonly EffectiveGrant[];
}

/** The user of a request, as the user was read from the database. */
export interface Subject {
  /** The id in the app, or null for an anonymous user. */
  readonly userId: string | null;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /**
   * The effective permissions: direct grants and those of the user's groups, without expired ones.
   */
  readonly permissions: readonly string[];
  /** The source of each permission. It is read together with the permissions. */
  readonly grants?: readonly EffectiveGrant[];
}

/** A user with groups and grants. Expired memberships and grants are not included. */
export interface UserDetails {
  readonly id: string;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /**
   * The groups of the user. `until` is the end of the membership in epoch milliseconds, or null.
   */
  readonly groups: readonly { readonly name: string; readonly until: number | null }[];
  /**
   * The grants and their sources. `until` is the end of the grant in epoch milliseconds, or null.
   */
  readonly grants: readonly {
    readonly permission: string;
    readonly via: "direct" | { readonly group: string };
    readonly until: number | null;
  }[];
}

/** A group with the number of its members and its permissions. Expired ones are not included. */
export interface GroupDetails {
  readonly name: string;
  /** The number of members. */
  readonly members: number;
  /** The granted permissions. `until` is the end of the grant in epoch milliseconds, or null. */
  readonly permissions: readonly { readonly name: string; readonly until: number | null }[];
}

/** A user in a list. */
export interface UserSummary {
  readonly id: string;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /** The groups of the user. */
  readonly groups: readonly string[];
  /** The number of grants, direct and through groups. */
  readonly grants: number;
}

/** Selects users. A user must match all given fields. */
export interface UserFilter {
  readonly active?: boolean | undefined;
  readonly superuser?: boolean | undefined;
  /** Only members of this group. */
  readonly group?: string | undefined;
  /** Only users with this permission, directly or through a group, and superusers. */
  readonly permission?: string | undefined;
  /** The last id of the previous page, to list the next page. Default: the first page. */
  readonly after?: string | undefined;
}

/** Selects among the users with a permission. */
export interface HolderKinds {
  /** `true`: only active users. `false`: only inactive users. `"any"`: both. Default true. */
  readonly active?: boolean | "any" | undefined;
  /** Whether to include superusers, who have all permissions. Default true. */
  readonly superusers?: boolean | undefined;
}

/** The maximum number of users of a page. */
export const USER_PAGE = 500;

/**
 * Selects users.
 *
 * - `user`: one user
 * - `holders`: the users with a permission
 * - `group`: the members of a group
 * - `all`: all users
 */
export type UserSelector =
  | { readonly kind: "user"; readonly userId: string }
  | ({ readonly kind: "holders"; readonly permission: string } & HolderKinds)
  | { readonly kind: "group"; readonly group: string }
  | { readonly kind: "all" };

/**
 * Reads users, groups and effective permissions: direct grants and those of the user's groups,
 * without expired ones. `ChangeStore` changes them.
 */
export interface UserStore {
  /**
   * Returns the state and the permissions of a user. A user without a row is inactive and has none.
   */
  subject(userId: string): Promise<Subject>;

  /** Returns all selected users in pages, ordered by id. It yields to the event loop between pages. */
  pages(selector: UserSelector): AsyncIterable<readonly Subject[]>;

  /** Returns the ids of the users with a permission, ordered by id. */
  holders(permission: string, options?: HolderKinds): Promise<readonly string[]>;

  /** Returns at most `limit` users, ordered by id. */
  list(filter: UserFilter, limit: number): Promise<readonly UserSummary[]>;

  /** Returns a user with groups and grants, or undefined if the user has no row. */
  get(userId: string): Promise<UserDetails | undefined>;

  /** Returns all groups, ordered by name. */
  groups(): Promise<readonly GroupDetails[]>;
}
