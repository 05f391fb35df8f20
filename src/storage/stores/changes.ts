import type { AuditSubject } from "./audit.ts";
import type { ConnectionWithChannels } from "./connections.ts";
import type { RevocationTarget } from "./revocations.ts";
import type { PermissionHolder, Subject } from "./users.ts";

/**
 * The subject of a permission change.
 *
 * It is a user, the members of a group, a session of the app, a channel, a view or everyone. It can
 * also be one connection, identified by the id of its row.
 */
export interface ChangedSubject {
  readonly scope: "user" | "group" | "session" | "connection" | "channel" | "view" | "everyone";
  /** Id or name of the subject. `""` for everyone. */
  readonly subject: string;
}

/** The subject of a change that affects every connection. */
export const EVERYONE = [{ scope: "everyone", subject: "" }] as const satisfies readonly ChangedSubject[];

/**
 * A valid change of users, groups, grants or sessions. Names are in their stored form, and times in
 * epoch milliseconds.
 */
export type StoredChange =
  | {
      readonly kind: "grant";
      readonly holder: PermissionHolder;
      readonly permission: string;
      /** When the grant expires, or null for never. */
      readonly until: number | null;
    }
  | { readonly kind: "revoke"; readonly holder: PermissionHolder; readonly permission: string }
  | {
      readonly kind: "add-to-group";
      readonly user: string;
      readonly group: string;
      /** When the membership expires, or null for never. */
      readonly until: number | null;
    }
  | { readonly kind: "remove-from-group"; readonly user: string; readonly group: string }
  | { readonly kind: "create-group"; readonly group: string }
  | { readonly kind: "delete-group"; readonly group: string }
  | { readonly kind: "set-active"; readonly user: string; readonly active: boolean }
  | { readonly kind: "set-superuser"; readonly user: string; readonly superuser: boolean }
  | { readonly kind: "delete-user"; readonly user: string }
  /** Deletes permissions with all grants. */
  | { readonly kind: "prune-permissions"; readonly permissions: readonly string[] }
  | {
      readonly kind: "end-session";
      /** SHA-256 of the session id in hexadecimal. */
      readonly sessionHash: string;
      /** The short form of the hash for the audit log. */
      readonly fingerprint: string;
    }
  | { readonly kind: "recheck"; readonly user: string }
  | { readonly kind: "recheck"; readonly channel: string };

/**
 * Returns whether a change can remove access. Otherwise, no connection is checked and no hook
 * called.
 */
export function canRemoveAccess(change: StoredChange): boolean {
  switch (change.kind) {
    case "grant":
    case "add-to-group":
    case "create-group":
      return false;
    case "set-active":
      return !change.active;
    case "set-superuser":
      return !change.superuser;
    default:
      return true;
  }
}

/**
 * Returns whether a change can return access. Then the channels that connections have lost are
 * checked.
 */
export function canReturnAccess(change: StoredChange): boolean {
  switch (change.kind) {
    case "grant":
    case "add-to-group":
    case "recheck":
      return true;
    case "set-active":
      return change.active;
    case "set-superuser":
      return change.superuser;
    default:
      return false;
  }
}

/** Who makes a change, and the process that applies it to open connections. */
export interface ChangeOrigin {
  readonly by: string | undefined;
  readonly reason: string | undefined;
  /** Until its first lease expires, only this process can dequeue the revocation record. */
  readonly claimedBy: string;
}

/** A change that was written. Open connections have not been checked yet. */
export interface AppliedChange {
  /** `false` if the requested state already existed. Nothing was written then. */
  readonly changed: boolean;
  /** Number of the change in the audit log, or `undefined` if nothing was changed. */
  readonly number: number | undefined;
  /** Names of the permissions that were pruned. */
  readonly pruned: readonly string[];
  /** The connections that it can affect, or `undefined` for none. */
  readonly affected: RevocationTarget | undefined;
  /** The subjects of the change in the change log, which other processes read. */
  readonly subjects: readonly ChangedSubject[];
  /** Id of its revocation record, which can list the affected users. */
  readonly revocationId: string | undefined;
}

/** A change that was not made, with the users and connections that it would affect. */
export interface PreviewedChange {
  readonly applied: AppliedChange;
  /** The affected users before the change. */
  readonly before: readonly Subject[];
  /** The affected users after the change. */
  readonly after: readonly Subject[];
  /** The affected open connections after the change. */
  readonly connections: readonly ConnectionWithChannels[];
}

/** A permission that grants can refer to. */
export interface StoredPermission {
  readonly name: string;
  readonly label: string;
}

/** A rule that the code declares. */
export interface StoredRule {
  readonly kind: "view" | "handler" | "channel" | "sending";
  /**
   * The path of a view, the path and the name of a handler with a space between, or the pattern of
   * a channel.
   */
  readonly name: string;
  /** The rule as JSON. */
  readonly rule: string;
}

/** The consequences of rules that differ from the stored ones. */
export interface RuleConsequences {
  readonly audit: AuditSubject;
  /** The views or everyone whose connections must be checked. */
  readonly subjects: readonly { readonly scope: "view" | "everyone"; readonly subject: string }[];
}

/** The permissions and rules that the code declares. */
export interface Declarations {
  readonly permissions: readonly StoredPermission[];
  readonly rules: readonly StoredRule[];
}

/**
 * Writes changes of permissions. Each operation is atomic: the change, its audit entry, its entry
 * in the change log, and its revocation record.
 *
 * Changes have numbers without gaps, in the order of their commits.
 */
export interface ChangeStore {
  /**
   * Makes a change.
   *
   * @throws ConfigurationError if `until` is not in the future, by the clock of the database
   * @throws StorageError if a granted permission is not in the database
   */
  apply(change: StoredChange, origin: ChangeOrigin): Promise<AppliedChange>;

  /** Returns what {@link apply} would do. Nothing is changed. */
  preview(change: StoredChange): Promise<PreviewedChange>;

  /** Returns whether any grant or membership has expired. It takes no lock. */
  hasExpired(): Promise<boolean>;

  /**
   * Deletes at most `limit` expired grants and memberships, with an audit entry each. They have not
   * applied since they expired.
   *
   * @returns the subject of each grant
   */
  expireGrants(limit: number, origin: Pick<ChangeOrigin, "claimedBy">): Promise<readonly ChangedSubject[]>;

  /**
   * Stores the permissions and rules that the code declares. Permissions that are no longer
   * declared are kept.
   *
   * @param compare receives the stored rules, and returns the consequences of the difference, or
   *   undefined for none. It can be called several times
   * @returns the names of the permissions that were added, and of those that are no longer declared
   */
  declare(
    declarations: Declarations,
    compare: (stored: readonly StoredRule[]) => RuleConsequences | undefined,
    origin: Pick<ChangeOrigin, "claimedBy">,
  ): Promise<{ readonly added: readonly string[]; readonly stale: readonly string[] }>;

  /** Returns the stored permissions, ordered by name. */
  permissions(): Promise<readonly StoredPermission[]>;

  /** Returns the stored rules, ordered by kind and name. */
  rules(): Promise<readonly StoredRule[]>;

  /** Returns the number of the last change, 0 if there was none. */
  last(): Promise<number>;

  /**
   * Returns the subjects that may have lost access after a change, and the number of the last
   * change.
   *
   * @param number number of the last change that the caller has read. With `undefined`, every
   *   subject counts as changed
   */
  since(
    number: number | undefined,
  ): Promise<{ readonly number: number; readonly subjects: readonly ChangedSubject[] }>;

  /**
   * Removes changes that are older than ten minutes from the change log.
   *
   * @returns how many were removed, at most `limit`
   */
  removeOld(limit: number): Promise<number>;
}
