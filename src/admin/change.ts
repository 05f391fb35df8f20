import * as v from "valibot";
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
  isName,
} from "../permissions/grants.ts";
import { checkPrunable, stalePermissions } from "../permissions/stored-permissions.ts";
import type { RevocationOutcome, RevocationWorker } from "../revocation/worker.ts";
import type { AdminServices } from "../services.ts";
import { afterCommit } from "../storage/storage-errors.ts";
import { canRemoveAccess, canReturnAccess, type StoredChange } from "../storage/stores/changes.ts";
import type { PermissionHolder } from "../storage/stores/users.ts";

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

/**
 * What a change ended for open connections. Connections that another process closes at the same time are
 * not counted.
 */
export interface EndedAccess {
  /** Number of open connections that were closed. */
  readonly closedConnections: number;
  /** Number of channels that remaining connections left. */
  readonly leftChannels: number;
  /**
   * Number of open connections with a view or channel of another app, which that app checks.
   */
  readonly uncheckedConnections: number;
  /**
   * `false` if the numbers are only a lower bound, because another process checks connections for
   * this change too, or the check failed and is repeated.
   */
  readonly isComplete: boolean;
}

/** The result of a change. */
export interface ChangeResult {
  /** `false` if the requested state already existed. Nothing was written then. */
  readonly changed: boolean;
  /** Number of the change in the audit log, or `undefined` if nothing was changed. */
  readonly number: number | undefined;
  /** Names of the permissions that were pruned. */
  readonly pruned: readonly string[];
  /**
   * What it ended for open connections, or `undefined` if it cannot end access or nothing was
   * changed.
   */
  readonly ended: EndedAccess | undefined;
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
  services: AdminServices,
  worker: RevocationWorker,
  given: AccessChange,
  options: ChangeOptions = {},
): Promise<ChangeResult> {
  const change = await storedChange(services, given, options);
  const { by, reason } = options;
  const origin = { by, reason, claimedBy: services.revocations.claimant.id };
  const applied = await services.store.changes.apply(change, origin);
  const { changed, number, pruned, affected, subjects, revocationId } = applied;
  if (canRemoveAccess(change)) {
    // Also if nothing changed: another process can have made the same change a moment ago, and the
    // caller relies on the same guarantee.
    services.changedSubjects.mark(subjects);
    await services.delivery.settled(userOf(change));
  }
  let ended: EndedAccess | undefined;
  if (affected && revocationId !== undefined) {
    const committed = {
      change: `The change "${change.kind}" (number ${number} in the audit log)`,
      next: "A serving process will check the open connections. Do not repeat the change.",
    };
    ended = endedAccess(await afterCommit(services.store, committed, () => worker.enforceOne(revocationId)));
  }
  if (changed && canReturnAccess(change)) worker.restore();
  return { changed, number, pruned, ended };
}

function endedAccess(outcome: RevocationOutcome | undefined): EndedAccess {
  if (!outcome) return { closedConnections: 0, leftChannels: 0, uncheckedConnections: 0, isComplete: false };
  const { closed, left, unknown, isComplete } = outcome;
  return { closedConnections: closed, leftChannels: left, uncheckedConnections: unknown, isComplete };
}

/** Returns the user that a change is about, or `undefined` if it is not about one user. */
function userOf(change: StoredChange): string | undefined {
  if ("user" in change) return change.user;
  return "holder" in change && typeof change.holder === "string" ? change.holder : undefined;
}

/**
 * Validates a change and its options, and returns the change as it is stored.
 *
 * @throws ConfigurationError if the change is invalid
 */
export async function storedChange(
  services: AdminServices,
  given: AccessChange,
  options: ChangeOptions,
): Promise<StoredChange> {
  checkChange(given);
  checkChangeOptions(options);
  // The caller may change its object before the change is stored.
  const change = { ...given };
  switch (change.kind) {
    case "grant":
      services.definitions.permissions.parse(change.permission);
      return { ...change, holder: holderOf(change.holder), until: instantOf(change.until) };
    case "revoke": {
      const holder = holderOf(change.holder);
      checkRevokedPermission(change.permission);
      return { ...change, holder };
    }
    case "add-to-group": {
      const group = groupNameOf(change.group);
      checkUserId(change.user);
      return { ...change, group, until: instantOf(change.until) };
    }
    case "remove-from-group": {
      const group = groupNameOf(change.group);
      checkUserId(change.user);
      return { ...change, group };
    }
    case "create-group":
    case "delete-group":
      return { ...change, group: groupNameOf(change.group) };
    case "set-active":
    case "set-superuser":
    case "delete-user":
      checkUserId(change.user);
      return { ...change };
    case "prune-permissions":
      return { ...change, permissions: await prunedPermissions(services, change.permissions) };
    case "end-session":
      return storedSessionEnd(change.session);
    case "recheck":
      return storedRecheck(services, change);
  }
}

/** Returns the stored form of the end of a session. The session id is not stored. */
function storedSessionEnd(session: unknown): StoredChange {
  checkSessionId(session);
  const sessionHash = hashSessionId(session);
  return { kind: "end-session", sessionHash, fingerprint: sessionFingerprint(sessionHash) };
}

/** @throws ConfigurationError if a value cannot be the name of a permission */
function checkRevokedPermission(permission: unknown): void {
  if (isName(permission, 255)) return;
  throw new ConfigurationError(
    `revoke(): the permission must be a string of 1 to 255 characters, but received ${formatValue(permission)}. ` +
      "Pass a permission of definePermissions().",
  );
}

/**
 * Returns the names of the permissions to prune. By default, these are the stale ones.
 *
 * @throws ConfigurationError for a permission that the code declares
 */
async function prunedPermissions(
  { store, definitions: { permissions: catalog } }: AdminServices,
  given: readonly string[] | undefined,
): Promise<readonly string[]> {
  const names =
    given === undefined ? stalePermissions(catalog, await store.changes.permissions()) : [...given];
  checkPrunable(catalog, names);
  return names;
}

function storedRecheck(
  services: AdminServices,
  change: Extract<AccessChange, { readonly kind: "recheck" }>,
): StoredChange {
  const { kind } = change;
  if ("user" in change === "channel" in change) {
    throw new ConfigurationError(
      `recheck received ${formatValue(change)}. Pass either { user } or { channel }.`,
    );
  }
  if ("user" in change) {
    const { user } = change;
    checkUserId(user);
    return { kind, user };
  }
  const { channel } = change;
  if (typeof channel !== "string" || !services.definitions.channels.match(channel)) {
    throw new ConfigurationError(
      `No channel definition matches ${formatValue(channel)}. Pass the name of a channel of the app.`,
      {
        code: "SALLYPORT_UNKNOWN_NAME",
      },
    );
  }
  return { kind, channel };
}

/** Returns the end of a grant in epoch milliseconds, or null if it does not end. */
function instantOf(until: number | Date | undefined): number | null {
  return until === undefined ? null : Number(until);
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
