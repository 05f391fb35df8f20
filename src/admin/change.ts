import type { Kysely } from "kysely";
import * as v from "valibot";
import type { AuditSubject } from "../audit/audit-log.ts";
import { sessionFingerprint } from "../audit/decision.ts";
import { hashSessionId } from "../auth/ended-sessions.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue, isPlainObject } from "../format-value.ts";
import { booleanOption, instantOption, optionsOf, parseOptions } from "../options.ts";
import type { Permission } from "../permissions/define.ts";
import {
  type ChangeOptions,
  checkChangeOptions,
  checkGrantOptions,
  checkSessionId,
  checkUserId,
  type GrantOptions,
  groupNameOf,
  holderOf,
  type PermissionHolder,
} from "../permissions/grants.ts";
import { MAX_SUBJECTS } from "../revocation/change-log.ts";
import { type ChangedSubject, EVERYONE } from "../revocation/changed-subjects.ts";
import type { RevocationTarget } from "../revocation/queue.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import type { Tables } from "../storage/database.ts";
import { afterCommit } from "../storage/storage-errors.ts";

/**
 * A change of users, groups, grants or sessions.
 *
 * `access.change()` makes it. `access.preview()` returns its effects without making it.
 */
export type AccessChange =
  | {
      readonly kind: "grant";
      readonly holder: PermissionHolder;
      readonly permission: Permission;
      readonly until?: number | Date | undefined;
    }
  | { readonly kind: "revoke"; readonly holder: PermissionHolder; readonly permission: Permission }
  | {
      readonly kind: "add-to-group";
      readonly user: string;
      readonly group: string;
      readonly until?: number | Date | undefined;
    }
  | { readonly kind: "remove-from-group"; readonly user: string; readonly group: string }
  | { readonly kind: "create-group"; readonly group: string }
  | { readonly kind: "delete-group"; readonly group: string }
  | { readonly kind: "set-active"; readonly user: string; readonly active: boolean }
  | { readonly kind: "set-superuser"; readonly user: string; readonly superuser: boolean }
  | { readonly kind: "delete-user"; readonly user: string }
  /**
   * Removes permissions that the code no longer declares, with all grants. Default: all of them.
   */
  | { readonly kind: "prune-permissions"; readonly permissions?: readonly string[] | undefined }
  /** Ends a session of the app. Its connections are closed and its unused tokens become invalid. */
  | { readonly kind: "end-session"; readonly session: string }
  /** Calls every `authorize` again, because the data of the app has changed. */
  | { readonly kind: "recheck"; readonly user: string }
  | { readonly kind: "recheck"; readonly channel: string };

/** The result of a change. */
export interface ChangeResult {
  /** `false` if the requested state already existed. Nothing was written then. */
  readonly changed: boolean;
  /** Number of the change in the audit log, or `undefined` if nothing was changed. */
  readonly number: number | undefined;
  /** Names of the permissions that were pruned. */
  readonly pruned: readonly string[];
}

/** A change that was written to the tables. Open connections have not been checked yet. */
export interface Written extends ChangeResult {
  /** The connections that it can affect. */
  readonly affected: RevocationTarget | undefined;
  /** The subjects of the change in the change log, which other processes read. */
  readonly subjects: readonly ChangedSubject[];
  /** Id of its revocation record, which can list the affected users. */
  readonly revocationId: string | undefined;
}

/** A field that is checked by the code that uses it. */
const any = v.exactOptional(v.unknown());
/** The end of a grant. An explicit `undefined` is rejected, because the grant would not end. */
const until = v.exactOptional(instantOption);

/**
 * The fields of each kind of change.
 *
 * Unknown fields are rejected. If a misspelled `until` were ignored, a grant would not end. If a
 * misspelled `permissions` were ignored, all stale permissions would be pruned.
 */
const FIELDS: Readonly<Record<AccessChange["kind"], v.ObjectEntries>> = {
  grant: { holder: any, permission: any, until },
  revoke: { holder: any, permission: any },
  "add-to-group": { user: any, group: any, until },
  "remove-from-group": { user: any, group: any },
  "create-group": { group: any },
  "delete-group": { group: any },
  "set-active": { user: any, active: booleanOption },
  "set-superuser": { user: any, superuser: booleanOption },
  "delete-user": { user: any },
  "prune-permissions": {
    permissions: v.exactOptional(
      v.array(v.string("must be the name of a permission"), "must be an array of the names of permissions"),
    ),
  },
  "end-session": { session: any },
  recheck: { user: any, channel: any },
};

const SCHEMAS = new Map(
  Object.entries(FIELDS).map(([kind, fields]) => [
    kind,
    optionsOf<Record<string, unknown>>()({ kind: any, ...fields }),
  ]),
);

/** Checks the kind and fields of a change. @throws ConfigurationError if one of them is invalid */
function checkChange(change: AccessChange): void {
  const kinds = Object.keys(FIELDS);
  if (!isPlainObject(change) || !Object.hasOwn(FIELDS, change.kind)) {
    const received = isPlainObject(change) ? `the kind ${formatValue(change.kind)}` : formatValue(change);
    throw new ConfigurationError(
      `A change must be an object with a kind, but received ${received}. The kinds are: ${kinds.join(", ")}. Use one of them.`,
    );
  }
  parseOptions(`change "${change.kind}"`, SCHEMAS.get(change.kind) as v.GenericSchema, change);
}

/**
 * Makes a change and applies it to open connections.
 *
 * One transaction writes the change, its audit entry and its revocation record. When the call
 * resolves, this process starts no further message to a user who lost the permission. Messages that
 * it had started before have arrived or failed.
 *
 * @throws ConfigurationError if the change is invalid. Nothing has changed then
 * @throws StorageError if the database fails. With the code SALLYPORT_COMMITTED, the change is
 *   made, but not all open connections were checked. With another code, nothing has changed, or the
 *   message states that the result is not known
 */
export async function changeAccess(
  services: Services,
  worker: RevocationWorker,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<ChangeResult> {
  const { changed, number, pruned, affected, subjects, revocationId } = await services.database.transaction(
    (db) => writeChange(services, db, change, options),
  );
  if (canRemoveAccess(change)) {
    // Also if nothing changed: another process can have made the same change a moment ago, and the
    // caller relies on the same guarantee.
    services.changedSubjects.mark(subjects);
    await services.delivery.settled(userOf(change));
  }
  if (affected && revocationId !== undefined) {
    const committed = {
      change: `The change "${change.kind}" (number ${number} in the audit log)`,
      next: "A serving process will check the open connections. Do not repeat the change.",
    };
    await afterCommit(services.database, committed, () => worker.enforceOne(revocationId));
  }
  return { changed, number, pruned };
}

/** Returns the user that a change is about, or `undefined` if it is not about one user. */
function userOf(change: AccessChange): string | undefined {
  if ("user" in change) return change.user;
  return "holder" in change && typeof change.holder === "string" ? change.holder : undefined;
}

/**
 * Writes a change with its audit entry, change log entry and revocation record, in the transaction
 * of the caller.
 *
 * @param isTentative whether the transaction will be rolled back. Then the change has no number and
 *   no audit entry, because the counter would make all other changes wait
 */
export async function writeChange(
  services: Services,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
  { isTentative = false }: { readonly isTentative?: boolean } = {},
): Promise<Written> {
  checkChange(change);
  checkChangeOptions(options);
  let reserved: Promise<number> | undefined;
  // A change without an effect does not use up a number.
  const nextNumber = () => {
    reserved ??= isTentative ? Promise.resolve(0) : services.changeLog.number(db);
    return reserved;
  };
  const edit = await editTables(services, db, change, options, nextNumber);
  const { pruned = [], affected } = edit;
  if (!edit.changed) {
    const subjects = await subjectsOf(services, db, affected, undefined);
    return {
      changed: false,
      number: undefined,
      pruned,
      affected: undefined,
      subjects,
      revocationId: undefined,
    };
  }
  const { by, reason } = options;
  const number = await nextNumber();
  if (!isTentative)
    await services.audit.record(db, number, { action: change.kind, by, reason, ...edit.audit });
  const revocationId =
    edit.recorded ??
    (affected && canRemoveAccess(change)
      ? await services.revocations.record(db, affected, number)
      : undefined);
  const subjects = await subjectsOf(services, db, affected, revocationId);
  if (!isTentative)
    await services.changeLog.record(db, [{ number, subjects, removes: canRemoveAccess(change) }]);
  return { changed: true, number, pruned, affected, subjects, revocationId };
}

/** Returns the subjects of a change for the change log. */
async function subjectsOf(
  services: Services,
  db: Kysely<Tables>,
  affected: RevocationTarget | undefined,
  revocationId: string | undefined,
): Promise<readonly ChangedSubject[]> {
  if (affected === undefined) return [];
  switch (affected.scope) {
    case "users": {
      if (revocationId === undefined) return EVERYONE;
      const users = await services.revocations.listed(db, revocationId, MAX_SUBJECTS + 1);
      return users.length > MAX_SUBJECTS ? EVERYONE : users.map((user) => ({ scope: "user", subject: user }));
    }
    case "everyone":
      return EVERYONE;
    case "deleted-user":
      return [{ scope: "user", subject: affected.subject }];
    case "session":
      return [{ scope: "session", subject: affected.subject }];
    default:
      return [{ scope: affected.scope, subject: affected.subject }];
  }
}

/**
 * Returns whether a change can remove access. Otherwise, no connection is checked and no hook
 * called.
 */
function canRemoveAccess(change: AccessChange): boolean {
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

/** The effect of a change on the tables, and its consequences. */
interface Edit {
  readonly changed: boolean;
  readonly audit?: Omit<AuditSubject, "action">;
  readonly affected?: RevocationTarget;
  /** Id of the revocation record, if it was written before the edit deleted the affected users. */
  readonly recorded?: string;
  readonly pruned?: readonly string[];
}

async function editTables(
  services: Services,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
  nextNumber: () => Promise<number>,
): Promise<Edit> {
  const { grants } = services;
  switch (change.kind) {
    case "grant": {
      const { permission, until } = change;
      await services.permissionRows.require(db, permission);
      const holder = holderOf(change.holder);
      const created = typeof holder === "string" ? {} : await ensureGroup(services, db, holder.group);
      const changed = await grants.grant(db, holder, permission, { ...options, until });
      const details = { ...untilDetails(until), ...created };
      return { changed, audit: { ...holderFields(holder), permission, details }, affected: targetOf(holder) };
    }
    case "revoke": {
      const { permission } = change;
      const holder = holderOf(change.holder);
      const changed = await grants.revoke(db, holder, permission);
      return { changed, audit: { ...holderFields(holder), permission }, affected: targetOf(holder) };
    }
    case "add-to-group": {
      const { user, until } = change;
      const group = groupNameOf(change.group);
      const created = await ensureGroup(services, db, group);
      const changed = await grants.addToGroup(db, user, group, { ...options, until });
      return {
        changed,
        audit: { user, group, details: { ...untilDetails(until), ...created } },
        affected: targetOf(user),
      };
    }
    case "remove-from-group": {
      const { user } = change;
      const group = groupNameOf(change.group);
      const changed = await grants.removeFromGroup(db, user, group);
      return { changed, audit: { user, group }, affected: targetOf(user) };
    }
    case "create-group": {
      const group = groupNameOf(change.group);
      const changed = await grants.createGroup(db, group);
      return { changed, audit: { group } };
    }
    case "delete-group":
      return deleteGroup(services, db, groupNameOf(change.group), nextNumber);
    case "set-active": {
      const { user, active } = change;
      const changed = await grants.setFlag(db, user, "is_active", active);
      return { changed, audit: { user, details: { active } }, affected: targetOf(user) };
    }
    case "set-superuser": {
      const { user, superuser } = change;
      const changed = await grants.setFlag(db, user, "is_superuser", superuser);
      return { changed, audit: { user, details: { superuser } }, affected: targetOf(user) };
    }
    case "delete-user": {
      const { user } = change;
      const known = await grants.deleteUser(db, user);
      await services.tokens.delete(db, { user });
      const closed = await services.connections.closeForSessionOrUser(db, { user }, "user deleted");
      const affected = { scope: "deleted-user", subject: user } as const;
      return { changed: known || closed > 0, audit: { user }, affected };
    }
    case "prune-permissions":
      return prunePermissions(services, db, change.permissions, nextNumber);
    case "end-session": {
      const { session } = change;
      checkSessionId(session);
      const hash = hashSessionId(session);
      await services.endedSessions.add(db, hash);
      await services.tokens.end(db, hash);
      await services.connections.closeForSessionOrUser(db, { session: hash }, "session ended");
      const affected = { scope: "session", subject: hash } as const;
      return { changed: true, audit: { details: { session: sessionFingerprint(hash) } }, affected };
    }
    case "recheck": {
      if ("user" in change === "channel" in change) {
        throw new ConfigurationError(
          `recheck received ${formatValue(change)}. Pass either { user } or { channel }.`,
        );
      }
      if ("user" in change) {
        checkUserId(change.user);
        return { changed: true, audit: { user: change.user }, affected: targetOf(change.user) };
      }
      const { channel } = change;
      if (typeof channel !== "string" || !services.channels.match(channel)) {
        throw new ConfigurationError(
          `No channel definition matches ${formatValue(channel)}. Pass the name of a channel of the app.`,
          {
            code: "SALLYPORT_UNKNOWN_NAME",
          },
        );
      }
      return {
        changed: true,
        audit: { details: { channel } },
        affected: { scope: "channel", subject: channel },
      };
    }
  }
}

/** Deletes a group. Its members are listed first, because the deletion removes them. */
async function deleteGroup(
  services: Services,
  db: Kysely<Tables>,
  group: string,
  nextNumber: () => Promise<number>,
): Promise<Edit> {
  if (!(await services.grants.hasGroup(db, group))) return { changed: false };
  const members = db.selectFrom("sallyport_user_groups").select("user_id").where("group_name", "=", group);
  const affected: RevocationTarget = { scope: "users", users: members };
  const recorded = await services.revocations.record(db, affected, await nextNumber());
  await services.grants.deleteGroup(db, group);
  return { changed: true, audit: { group }, affected, recorded };
}

/** Prunes permissions. Their holders are listed first, because the grants are deleted. */
async function prunePermissions(
  services: Services,
  db: Kysely<Tables>,
  permissions: readonly string[] | undefined,
  nextNumber: () => Promise<number>,
): Promise<Edit> {
  const names = permissions ?? (await services.permissionRows.stale(db));
  if (!Array.isArray(names) || names.some((name) => typeof name !== "string")) {
    throw new ConfigurationError(
      "permissions must be a list of names. Pass a list, or omit it to prune all stale permissions.",
    );
  }
  if (names.length === 0) return { changed: false };
  services.permissionRows.checkPrunable(names);
  const known = new Set((await services.permissionRows.list(db)).map(({ name }) => name));
  if (!names.some((name) => known.has(name))) return { changed: false };
  const affected: RevocationTarget = {
    scope: "users",
    users: services.userPermissions.everHolding(db, names),
  };
  const recorded = await services.revocations.record(db, affected, await nextNumber());
  const pruned = await services.permissionRows.prune(db, names);
  return { changed: true, audit: { details: { permissions: pruned } }, affected, recorded, pruned };
}

/** Returns the connections that a change of a holder can affect. */
function targetOf(holder: PermissionHolder): RevocationTarget {
  return typeof holder === "string"
    ? { scope: "user", subject: holder }
    : { scope: "group", subject: holder.group };
}

function holderFields(holder: PermissionHolder) {
  return typeof holder === "string" ? { user: holder } : { group: holder.group };
}

/** Creates a group if it does not exist, for the audit entry of the change that needs it. */
async function ensureGroup(services: Services, db: Kysely<Tables>, group: string) {
  return (await services.grants.createGroup(db, group)) ? { madeGroup: true } : {};
}

function untilDetails(until: number | Date | undefined) {
  return until === undefined ? {} : { until: Number(until) };
}

/** Makes a change. See `Access.change()`. */
export type ChangeFunction = (change: AccessChange, options?: ChangeOptions) => Promise<ChangeResult>;

/** Separates the end of a grant from the options that every change has. */
export function splitUntil(
  options: GrantOptions,
): [until: { until?: number | Date | undefined }, rest: ChangeOptions] {
  checkGrantOptions(options);
  const { until, ...rest } = options;
  return [until === undefined ? {} : { until }, rest];
}
