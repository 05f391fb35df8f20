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
  checkSessionId,
  checkUserId,
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

/** Everything that can change who may do what: made by `access.change()`, foretold by `access.preview()`. */
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
  /** Permissions that the code no longer declares, with every grant of them. Default: all such. */
  | { readonly kind: "prune-permissions"; readonly permissions?: readonly string[] | undefined }
  /** A login of the app's that ended: its sockets close, its unused tokens die. */
  | { readonly kind: "end-session"; readonly session: string }
  /** The app's own data changed: every `authorize` is asked again. */
  | { readonly kind: "recheck"; readonly user: string }
  | { readonly kind: "recheck"; readonly channel: string };

/** What a change did. */
export interface ChangeResult {
  /** False when everything was so already: nothing was written. */
  readonly changed: boolean;
  /** The change's number in the audit; undefined when nothing was changed. */
  readonly number: number | undefined;
  /** Permissions that were pruned. */
  readonly pruned: readonly string[];
}

/** A change as the tables took it: nobody has been told and no socket touched yet. */
export interface Written extends ChangeResult {
  /** Whose sockets it can have touched. */
  readonly touched: RevocationTarget | undefined;
  /** What other processes read of it in the change log. */
  readonly subjects: readonly ChangedSubject[];
  /** Its record, which lists the touched users where nothing else would. */
  readonly revocationId: string | undefined;
}

/** The value is checked where it is used. */
const any = v.exactOptional(v.unknown());
/** Without it the grant would not end, so `undefined` is rejected. */
const until = v.exactOptional(instantOption);

/**
 * The fields of each kind of change. A field that is not known is rejected: without a misspelled `until` a grant would not end, and
 * without a misspelled `permissions` everything would be pruned.
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

/** @throws ConfigurationError for an unknown kind, an unknown field, or a field of the wrong kind */
function checkChange(change: AccessChange): void {
  const kinds = Object.keys(FIELDS);
  if (!isPlainObject(change) || !Object.hasOwn(FIELDS, change.kind)) {
    const given = isPlainObject(change) ? `the kind ${formatValue(change.kind)}` : formatValue(change);
    throw new ConfigurationError(
      `A change must be an object with a kind, but received ${given}. The kinds are: ${kinds.join(", ")}.`,
    );
  }
  parseOptions(`change "${change.kind}"`, SCHEMAS.get(change.kind) as v.GenericSchema, change);
}

/**
 * A change of rights, from the call to the last socket: written together with its audit entry and one record of itself,
 * then enforced. Once it resolves, this process starts no frame to a user who lost the right to it, and what it
 * had started has arrived or failed.
 *
 * @throws ConfigurationError for input that cannot be; nothing has changed then
 * @throws StorageError with the code SALLYPORT_COMMITTED where the change is made, but the database failed before the open connections
 *   were judged. With another code, nothing has changed, or the message says that this is not known
 */
export async function changeRights(
  services: Services,
  worker: RevocationWorker,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<ChangeResult> {
  const { changed, number, pruned, touched, subjects, revocationId } = await services.database.transaction(
    (db) => writeChange(services, db, change, options),
  );
  if (narrows(change)) {
    // After the commit: nothing new goes out by the old rights, and what was going out has. Where nothing changed, another
    // process may have been quicker a moment ago, and the caller is promised as much.
    services.changedSubjects.mark(subjects);
    await services.delivery.settled(userOf(change));
  }
  if (touched && revocationId !== undefined) {
    const committed = {
      change: `The change "${change.kind}" (number ${number} in the audit)`,
      next: "A process that serves will judge the open connections. Do not repeat the change.",
    };
    await afterCommit(services.database, committed, () => worker.enforceOne(revocationId));
  }
  return { changed, number, pruned };
}

/** Whose rights a change is about, where that is one user. */
function userOf(change: AccessChange): string | undefined {
  if ("user" in change) return change.user;
  return "holder" in change && typeof change.holder === "string" ? change.holder : undefined;
}

/**
 * Writes a change and what must be told of it, in a transaction of the caller's.
 *
 * @param isTentative the transaction will be undone: the change gets no number and no audit entry, because the counter would make all
 *   other changes wait for the transaction
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
  let counted: Promise<number> | undefined;
  // Only what has changed something gets a number.
  const numbered = () => {
    counted ??= isTentative ? Promise.resolve(0) : services.changeLog.number(db);
    return counted;
  };
  const edit = await editTables(services, db, change, options, numbered);
  const { pruned = [], touched } = edit;
  if (!edit.changed) {
    const subjects = await subjectsOf(services, db, touched, undefined);
    return {
      changed: false,
      number: undefined,
      pruned,
      touched: undefined,
      subjects,
      revocationId: undefined,
    };
  }
  const { by, reason } = options;
  const number = await numbered();
  if (!isTentative)
    await services.audit.record(db, number, { action: change.kind, by, reason, ...edit.audit });
  const revocationId =
    edit.recorded ??
    (touched && narrows(change) ? await services.revocations.record(db, touched, number) : undefined);
  const subjects = await subjectsOf(services, db, touched, revocationId);
  if (!isTentative) await services.changeLog.record(db, [{ number, subjects, removes: narrows(change) }]);
  return { changed: true, number, pruned, touched, subjects, revocationId };
}

/** What a change concerns, as the change log has it. */
async function subjectsOf(
  services: Services,
  db: Kysely<Tables>,
  touched: RevocationTarget | undefined,
  revocationId: string | undefined,
): Promise<readonly ChangedSubject[]> {
  if (touched === undefined) return [];
  switch (touched.scope) {
    case "users": {
      if (revocationId === undefined) return EVERYONE;
      const users = await services.revocations.listed(db, revocationId, MAX_SUBJECTS + 1);
      return users.length > MAX_SUBJECTS ? EVERYONE : users.map((user) => ({ scope: "user", subject: user }));
    }
    case "everyone":
      return EVERYONE;
    case "deleted-user":
      return [{ scope: "user", subject: touched.subject }];
    case "session":
      return [{ scope: "session", subject: touched.subject }];
    default:
      return [{ scope: touched.scope, subject: touched.subject }];
  }
}

/** What only gives takes nothing away: no socket can lose by it, so none is looked at and no hook asked. */
function narrows(change: AccessChange): boolean {
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

/** What a change did to the tables, and what follows from it. */
interface Edit {
  readonly changed: boolean;
  readonly audit?: Omit<AuditSubject, "action">;
  readonly touched?: RevocationTarget;
  /** The record, where it had to be written before the edit removed what tells whom it touches. */
  readonly recorded?: string;
  readonly pruned?: readonly string[];
}

async function editTables(
  services: Services,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
  numbered: () => Promise<number>,
): Promise<Edit> {
  const { grants } = services;
  switch (change.kind) {
    case "grant": {
      const { permission, until } = change;
      await services.permissionRows.require(db, permission);
      const holder = holderOf(change.holder);
      const made = typeof holder === "string" ? {} : await groupMade(services, db, holder.group);
      const changed = await grants.grant(db, holder, permission, { ...options, until });
      const details = { ...ending(until), ...made };
      return { changed, audit: { ...named(holder), permission, details }, touched: of(holder) };
    }
    case "revoke": {
      const { permission } = change;
      const holder = holderOf(change.holder);
      const changed = await grants.revoke(db, holder, permission);
      return { changed, audit: { ...named(holder), permission }, touched: of(holder) };
    }
    case "add-to-group": {
      const { user, until } = change;
      const group = groupNameOf(change.group);
      const made = await groupMade(services, db, group);
      const changed = await grants.addToGroup(db, user, group, { ...options, until });
      return { changed, audit: { user, group, details: { ...ending(until), ...made } }, touched: of(user) };
    }
    case "remove-from-group": {
      const { user } = change;
      const group = groupNameOf(change.group);
      const changed = await grants.removeFromGroup(db, user, group);
      return { changed, audit: { user, group }, touched: of(user) };
    }
    case "create-group": {
      const group = groupNameOf(change.group);
      const changed = await grants.createGroup(db, group);
      return { changed, audit: { group } };
    }
    case "delete-group":
      return deleteGroup(services, db, groupNameOf(change.group), numbered);
    case "set-active": {
      const { user, active } = change;
      const changed = await grants.setFlag(db, user, "is_active", active);
      return { changed, audit: { user, details: { active } }, touched: of(user) };
    }
    case "set-superuser": {
      const { user, superuser } = change;
      const changed = await grants.setFlag(db, user, "is_superuser", superuser);
      return { changed, audit: { user, details: { superuser } }, touched: of(user) };
    }
    case "delete-user": {
      const { user } = change;
      const known = await grants.deleteUser(db, user);
      await services.tokens.forget(db, { user });
      const closed = await services.connections.closeOf(db, { user }, "user deleted");
      const touched = { scope: "deleted-user", subject: user } as const;
      return { changed: known || closed > 0, audit: { user }, touched };
    }
    case "prune-permissions":
      return prunePermissions(services, db, change.permissions, numbered);
    case "end-session": {
      const { session } = change;
      checkSessionId(session);
      const hash = hashSessionId(session);
      await services.endedSessions.remember(db, hash);
      await services.tokens.end(db, hash);
      await services.connections.closeOf(db, { session: hash }, "session ended");
      const touched = { scope: "session", subject: hash } as const;
      return { changed: true, audit: { details: { session: sessionFingerprint(hash) } }, touched };
    }
    case "recheck": {
      if ("user" in change === "channel" in change) {
        throw new ConfigurationError(`recheck takes { user } or { channel }, not ${formatValue(change)}.`);
      }
      if ("user" in change) {
        checkUserId(change.user);
        return { changed: true, audit: { user: change.user }, touched: of(change.user) };
      }
      const { channel } = change;
      if (typeof channel !== "string" || !services.channels.match(channel)) {
        throw new ConfigurationError(`No channel definition matches ${formatValue(channel)}.`, {
          code: "SALLYPORT_UNKNOWN_NAME",
        });
      }
      return {
        changed: true,
        audit: { details: { channel } },
        touched: { scope: "channel", subject: channel },
      };
    }
  }
}

/** Its members are listed first: afterwards nothing tells who they were. */
async function deleteGroup(
  services: Services,
  db: Kysely<Tables>,
  group: string,
  numbered: () => Promise<number>,
): Promise<Edit> {
  if (!(await services.grants.hasGroup(db, group))) return { changed: false };
  const members = db.selectFrom("sallyport_user_groups").select("user_id").where("group_name", "=", group);
  const touched: RevocationTarget = { scope: "users", users: members };
  const recorded = await services.revocations.record(db, touched, await numbered());
  await services.grants.deleteGroup(db, group);
  return { changed: true, audit: { group }, touched, recorded };
}

/** As with a group: whoever holds one is listed before it goes. */
async function prunePermissions(
  services: Services,
  db: Kysely<Tables>,
  permissions: readonly string[] | undefined,
  numbered: () => Promise<number>,
): Promise<Edit> {
  const names = permissions ?? (await services.permissionRows.stale(db));
  if (!Array.isArray(names) || names.some((name) => typeof name !== "string")) {
    throw new ConfigurationError("permissions is a list of names, or left out for all that are stale.");
  }
  if (names.length === 0) return { changed: false };
  services.permissionRows.checkPrunable(names);
  const known = new Set((await services.permissionRows.list(db)).map(({ name }) => name));
  if (!names.some((name) => known.has(name))) return { changed: false };
  const touched: RevocationTarget = {
    scope: "users",
    users: services.userPermissions.everHolding(db, names),
  };
  const recorded = await services.revocations.record(db, touched, await numbered());
  const pruned = await services.permissionRows.prune(db, names);
  return { changed: true, audit: { details: { permissions: pruned } }, touched, recorded, pruned };
}

/** A group's change may be anybody's. */
function of(holder: PermissionHolder): RevocationTarget {
  return typeof holder === "string"
    ? { scope: "user", subject: holder }
    : { scope: "group", subject: holder.group };
}

function named(holder: PermissionHolder) {
  return typeof holder === "string" ? { user: holder } : { group: holder.group };
}

/** A group that is made in passing is told with the change that made it. */
async function groupMade(services: Services, db: Kysely<Tables>, group: string) {
  return (await services.grants.createGroup(db, group)) ? { madeGroup: true } : {};
}

function ending(until: number | Date | undefined) {
  return until === undefined ? {} : { until: Number(until) };
}
