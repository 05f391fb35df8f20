import type { Kysely } from "kysely";
import * as v from "valibot";
import type { AuditSubject } from "../access/audit.ts";
import { MAX_SUBJECTS } from "../access/change-log.ts";
import { type ChangedSubject, EVERYONE } from "../access/changed-subjects.ts";
import { sessionFingerprint } from "../access/decisions.ts";
import { hashSessionId } from "../access/ended-sessions.ts";
import type { Touched } from "../access/evictions.ts";
import {
  type ChangeOptions,
  checkChangeOptions,
  checkLoginId,
  checkUserId,
  groupNameOf,
  type Holder,
  holderOf,
} from "../access/grants.ts";
import type { Permission } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue, isPlainObject } from "../format-value.ts";
import { booleanOption, instantOption, optionsOf, parseOptions } from "../options.ts";
import type { Tables } from "../storage/database.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import type { Enforcer } from "./evict.ts";
import type { Rooms } from "./rooms.ts";

/** Everything that can change who may do what: made by `access.change()`, foretold by `access.preview()`. */
export type AccessChange =
  | {
      readonly kind: "grant";
      readonly holder: Holder;
      readonly permission: Permission;
      readonly until?: number | Date | undefined;
    }
  | { readonly kind: "revoke"; readonly holder: Holder; readonly permission: Permission }
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
export interface Applied {
  /** False when everything was so already: nothing was written. */
  readonly changed: boolean;
  /** The change's number in the audit; undefined when nothing was changed. */
  readonly number: number | undefined;
  /** Permissions that were pruned. */
  readonly pruned: readonly string[];
}

/** A change as the tables took it: nobody has been told and no socket touched yet. */
export interface Written extends Applied {
  /** Whose sockets it can have touched. */
  readonly touched: Touched | undefined;
  /** What other processes read of it in the change log. */
  readonly subjects: readonly ChangedSubject[];
  /** Its record, which lists the touched users where nothing else would. */
  readonly evictionId: string | undefined;
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
  rooms: Rooms,
  enforcer: Enforcer,
  change: AccessChange,
  options: ChangeOptions = {},
): Promise<Applied> {
  const { changed, number, pruned, touched, subjects, evictionId } = await rooms.database.write((db) =>
    writeChange(rooms, db, change, options),
  );
  if (narrows(change)) {
    // After the commit: nothing new goes out by the old rights, and what was going out has. Where nothing changed, another
    // process may have been quicker a moment ago, and the caller is promised as much.
    rooms.changedSubjects.mark(subjects);
    await rooms.delivery.settled(userOf(change));
  }
  if (touched && evictionId !== undefined) {
    const committed = {
      change: `The change "${change.kind}" (number ${number} in the audit)`,
      next: "A process that serves will judge the open connections. Do not repeat the change.",
    };
    await afterCommit(rooms.database, committed, () => enforcer.enforceOne(evictionId));
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
  rooms: Rooms,
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
    counted ??= isTentative ? Promise.resolve(0) : rooms.changeLog.number(db);
    return counted;
  };
  const edit = await editTables(rooms, db, change, options, numbered);
  const { pruned = [], touched } = edit;
  if (!edit.changed) {
    const subjects = await subjectsOf(rooms, db, touched, undefined);
    return { changed: false, number: undefined, pruned, touched: undefined, subjects, evictionId: undefined };
  }
  const { by, reason } = options;
  const number = await numbered();
  if (!isTentative) await rooms.audit.record(db, number, { action: change.kind, by, reason, ...edit.audit });
  const evictionId =
    edit.recorded ??
    (touched && narrows(change) ? await rooms.evictions.record(db, touched, number) : undefined);
  const subjects = await subjectsOf(rooms, db, touched, evictionId);
  if (!isTentative) await rooms.changeLog.record(db, [{ number, subjects, removes: narrows(change) }]);
  return { changed: true, number, pruned, touched, subjects, evictionId };
}

/** What a change concerns, as the change log has it. */
async function subjectsOf(
  rooms: Rooms,
  db: Kysely<Tables>,
  touched: Touched | undefined,
  evictionId: string | undefined,
): Promise<readonly ChangedSubject[]> {
  if (touched === undefined) return [];
  switch (touched.scope) {
    case "users": {
      if (evictionId === undefined) return EVERYONE;
      const users = await rooms.evictions.listed(db, evictionId, MAX_SUBJECTS + 1);
      return users.length > MAX_SUBJECTS ? EVERYONE : users.map((user) => ({ scope: "user", subject: user }));
    }
    case "everyone":
      return EVERYONE;
    case "deleted-user":
      return [{ scope: "user", subject: touched.subject }];
    case "login":
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
  readonly touched?: Touched;
  /** The record, where it had to be written before the edit removed what tells whom it touches. */
  readonly recorded?: string;
  readonly pruned?: readonly string[];
}

async function editTables(
  rooms: Rooms,
  db: Kysely<Tables>,
  change: AccessChange,
  options: ChangeOptions,
  numbered: () => Promise<number>,
): Promise<Edit> {
  const { grants } = rooms;
  switch (change.kind) {
    case "grant": {
      const { permission, until } = change;
      await rooms.permissionRows.require(db, permission);
      const holder = holderOf(change.holder);
      const made = typeof holder === "string" ? {} : await groupMade(rooms, db, holder.group);
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
      const made = await groupMade(rooms, db, group);
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
      return deleteGroup(rooms, db, groupNameOf(change.group), numbered);
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
      await rooms.tokens.forget(db, { user });
      const closed = await rooms.sessions.closeOf(db, { user }, "user deleted");
      const touched = { scope: "deleted-user", subject: user } as const;
      return { changed: known || closed > 0, audit: { user }, touched };
    }
    case "prune-permissions":
      return prunePermissions(rooms, db, change.permissions, numbered);
    case "end-session": {
      const { session } = change;
      checkLoginId(session);
      const hash = hashSessionId(session);
      await rooms.endedSessions.remember(db, hash);
      await rooms.tokens.end(db, hash);
      await rooms.sessions.closeOf(db, { login: hash }, "login ended");
      const touched = { scope: "login", subject: hash } as const;
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
      if (typeof channel !== "string" || !rooms.channels.match(channel)) {
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
  rooms: Rooms,
  db: Kysely<Tables>,
  group: string,
  numbered: () => Promise<number>,
): Promise<Edit> {
  if (!(await rooms.grants.hasGroup(db, group))) return { changed: false };
  const members = db.selectFrom("sallyport_user_groups").select("user_id").where("group_name", "=", group);
  const touched: Touched = { scope: "users", users: members };
  const recorded = await rooms.evictions.record(db, touched, await numbered());
  await rooms.grants.deleteGroup(db, group);
  return { changed: true, audit: { group }, touched, recorded };
}

/** As with a group: whoever holds one is listed before it goes. */
async function prunePermissions(
  rooms: Rooms,
  db: Kysely<Tables>,
  permissions: readonly string[] | undefined,
  numbered: () => Promise<number>,
): Promise<Edit> {
  const names = permissions ?? (await rooms.permissionRows.stale(db));
  if (!Array.isArray(names) || names.some((name) => typeof name !== "string")) {
    throw new ConfigurationError("permissions is a list of names, or left out for all that are stale.");
  }
  if (names.length === 0) return { changed: false };
  rooms.permissionRows.checkPrunable(names);
  const known = new Set((await rooms.permissionRows.list(db)).map(({ name }) => name));
  if (!names.some((name) => known.has(name))) return { changed: false };
  const touched: Touched = { scope: "users", users: rooms.rights.everHolding(db, names) };
  const recorded = await rooms.evictions.record(db, touched, await numbered());
  const pruned = await rooms.permissionRows.prune(db, names);
  return { changed: true, audit: { details: { permissions: pruned } }, touched, recorded, pruned };
}

/** A group's change may be anybody's. */
function of(holder: Holder): Touched {
  return typeof holder === "string"
    ? { scope: "user", subject: holder }
    : { scope: "group", subject: holder.group };
}

function named(holder: Holder) {
  return typeof holder === "string" ? { user: holder } : { group: holder.group };
}

/** A group that is made in passing is told with the change that made it. */
async function groupMade(rooms: Rooms, db: Kysely<Tables>, group: string) {
  return (await rooms.grants.createGroup(db, group)) ? { madeGroup: true } : {};
}

function ending(until: number | Date | undefined) {
  return until === undefined ? {} : { until: Number(until) };
}
