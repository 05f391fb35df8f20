import * as v from "valibot";
import type { AuditEntry, AuditFilter } from "../audit/audit-log.ts";
import type { Decision } from "../audit/decision.ts";
import { createDecisionContext } from "../audit/decision.ts";
import type { DecisionFilter } from "../audit/decision-log.ts";
import { requireChannelRules, runChannelAuthorize } from "../auth/authorize.ts";
import { ConfigurationError, RequestError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { booleanOption, optionsOf, parseOptions, rowLimit, searchedGroup, searchedText } from "../options.ts";
import type { AnyPermissionSet, Permission } from "../permissions/define.ts";
import type { GroupDetails, UserDetails, UserFilter, UserSummary } from "../permissions/effective.ts";
import {
  type ChangeOptions,
  checkGrantOptions,
  checkUserId,
  type GrantOptions,
  type PermissionHolder,
} from "../permissions/grants.ts";
import { evaluateRule, type Subject } from "../permissions/rules.ts";
import type { PermissionInfo } from "../permissions/sync.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { MatchedChannel } from "../views/channels.ts";
import { permissionArray, userOf } from "../views/user.ts";
import { type AccessChange, type ChangeResult, changeAccess } from "./change.ts";
import { compareRules, type RuleChange } from "./compare-rules.ts";
import {
  type AccessQuestion,
  type Explanation,
  explain,
  type UserAccess,
  type UserWithPermission,
  getUserAccess,
  listHolders,
} from "./explain.ts";
import {
  clearLimitWindows,
  type LimitFilter,
  type LimitsToClear,
  type LimitWindow,
  listLimitWindows,
} from "./limit-windows.ts";
import { type AccessPreview, effective, previewChange } from "./preview.ts";

/** The object of a permission check: a channel. Its rules and hooks must allow access too. */
export interface PermissionObject {
  readonly channel: string;
}

/**
 * Changes users, groups, grants and sessions, and answers questions about them.
 *
 * A change is committed with its audit entry. It resolves when every open connection that it
 * affects has been checked. From then on, this process starts no message to a user who lost the
 * permission, and messages that it had started have arrived or failed.
 *
 * Failures of a gateway are reported to `onError`. The rows of the connections are closed anyway.
 * Calls can run concurrently.
 *
 * All methods throw `ConfigurationError` if an argument is invalid, and `StorageError` if the
 * database fails. A change that fails with the code `SALLYPORT_COMMITTED` is made. Do not repeat
 * it.
 */
export class Access {
  readonly #services: Services;
  readonly #worker: RevocationWorker;

  constructor(services: Services, worker: RevocationWorker) {
    this.#services = services;
    this.#worker = worker;
  }

  /**
   * Makes a change. The methods below are short forms of it.
   *
   * @param options `by` and `reason` for the audit log
   * @returns whether anything has changed, and the number of the change in the audit log
   * @throws ConfigurationError if the change is invalid. Nothing has changed then
   */
  change(change: AccessChange, options?: ChangeOptions): Promise<ChangeResult> {
    return this.#withStorageErrors(() => changeAccess(this.#services, this.#worker, change, options));
  }

  /**
   * Returns the effects that a change would have, without making it.
   *
   * `authorize` hooks are called with the users as they would be after the change.
   *
   * @returns the permissions that users would gain or lose, and the connections and channels that
   *   would be closed or left
   * @throws ConfigurationError if the change is invalid
   */
  preview(change: AccessChange, options?: ChangeOptions): Promise<AccessPreview> {
    return this.#withStorageErrors(() => previewChange(this.#services, change, options));
  }

  /**
   * Grants a permission to a user or a group. Another grant of the same permission replaces its
   * end.
   *
   * @param holder user id of the app, or `{ group }`. A missing user or group is created
   * @param options.until when the grant ends, a `Date` or epoch milliseconds. Default: never
   * @returns `false` if the same grant with the same end already existed
   * @throws ConfigurationError if the permission is not declared, or `until` is not in the future
   */
  async grant(
    holder: PermissionHolder,
    permission: Permission,
    options: GrantOptions = {},
  ): Promise<boolean> {
    const [until, rest] = splitUntil(options);
    return (await this.change({ kind: "grant", holder, permission, ...until }, rest)).changed;
  }

  /**
   * Revokes a permission. Connections and channels that depended on it are closed or left.
   *
   * @param holder user id of the app, or `{ group }`
   * @returns whether the holder had the permission
   */
  async revoke(holder: PermissionHolder, permission: Permission, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "revoke", holder, permission }, options)).changed;
  }

  /**
   * Adds a user to a group. A missing group is created.
   *
   * @param options.until when the membership ends, a `Date` or epoch milliseconds. Default: never
   * @returns `false` if the user already was a member with the same end
   */
  async addToGroup(user: string, group: string, options: GrantOptions = {}): Promise<boolean> {
    const [until, rest] = splitUntil(options);
    return (await this.change({ kind: "add-to-group", user, group, ...until }, rest)).changed;
  }

  /** Removes a user from a group. @returns whether the user was a member */
  async removeFromGroup(user: string, group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "remove-from-group", user, group }, options)).changed;
  }

  /** Creates an empty group. @returns `false` if a group of that name already existed */
  async createGroup(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "create-group", group }, options)).changed;
  }

  /** Deletes a group with its grants and memberships. @returns whether the group existed */
  async deleteGroup(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "delete-group", group }, options)).changed;
  }

  /**
   * Activates or deactivates a user. An inactive user has no access, and its connections are
   * closed.
   *
   * @returns whether the state has changed
   */
  async setActive(user: string, active: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "set-active", user, active }, options)).changed;
  }

  /**
   * Makes a user a superuser, or not. A superuser passes every permission rule. `authorize` hooks
   * still apply.
   *
   * @returns whether the state has changed
   */
  async setSuperuser(user: string, superuser: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "set-superuser", user, superuser }, options)).changed;
  }

  /**
   * Deletes a user with all grants. Connections are closed, and unused tokens become invalid.
   *
   * End the sessions of the user in your app first. Otherwise, the next token request creates a new
   * user without permissions.
   *
   * @returns whether the user existed or had an open connection
   */
  async deleteUser(user: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "delete-user", user }, options)).changed;
  }

  /**
   * Removes permissions that the code no longer declares, with all their grants.
   *
   * @param permissions names of stale permissions. Default: all stale permissions
   * @returns the names of the removed permissions
   */
  async prunePermissions(
    permissions?: readonly string[],
    options?: ChangeOptions,
  ): Promise<readonly string[]> {
    return (
      await this.change(
        { kind: "prune-permissions", ...(permissions === undefined ? {} : { permissions }) },
        options,
      )
    ).pruned;
  }

  /**
   * Ends a session of the app. Its connections are closed, and its unused tokens become invalid.
   *
   * @param session the session id that `authenticate()` returned
   */
  async endSession(session: string, options?: ChangeOptions): Promise<void> {
    await this.change({ kind: "end-session", session }, options);
  }

  /**
   * Calls every `authorize` again for the connections of a user, or for all connections in a
   * channel.
   *
   * Call it after a change in the data of your app that `authorize` depends on.
   *
   * @param what either `{ user }` or `{ channel }`
   */
  async recheck(
    what: { readonly user: string } | { readonly channel: string },
    options?: ChangeOptions,
  ): Promise<void> {
    const { user, channel, ...others } = what as { user?: string; channel?: string };
    if ((user === undefined) === (channel === undefined) || Object.keys(others).length > 0) {
      throw new ConfigurationError(
        `recheck received ${formatValue(what)}. Pass either { user } or { channel }.`,
      );
    }
    const change = user === undefined ? { channel: channel ?? "" } : { user };
    await this.change({ ...change, kind: "recheck" }, options);
  }

  /**
   * Returns whether a user has a permission now: the user is active, and has a grant, a group with
   * it, or is a superuser.
   *
   * @param about a channel. Its rules and every `authorize` of it must allow the user too. Default:
   *   none
   */
  async hasPermission(
    user: string,
    permission: Permission,
    ...about: readonly [object?: PermissionObject]
  ): Promise<boolean> {
    this.#services.permissions.parse(permission);
    const [object] = about;
    if (about.length > 0) parseOptions("hasPermission(): object", PERMISSION_OBJECT, object);
    const subject = await this.#subject(user);
    if (!userOf(subject, this.#services.permissions).hasPermission(permission)) return false;
    return object === undefined || this.#isAllowedIn(subject, object.channel);
  }

  /**
   * Returns whether a user has any of the permissions now.
   *
   * @throws ConfigurationError if the list is empty
   */
  async hasAnyPermission(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAnyPermission(
      this.#checkedList(permissions),
    );
  }

  /**
   * Returns whether a user has all of the permissions now.
   *
   * @throws ConfigurationError if the list is empty
   */
  async hasAllPermissions(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAllPermissions(
      this.#checkedList(permissions),
    );
  }

  /**
   * Returns whether a user has any permission of a set now.
   *
   * @param app the result of `definePermissions()`
   */
  async hasAppPermissions(user: string, app: AnyPermissionSet): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAppPermissions(app);
  }

  /**
   * Returns the permissions of a user now.
   *
   * For an inactive user, the result is empty. Permissions that the code no longer declares are not
   * included.
   *
   * @param from `"user"` for direct grants, `"group"` for grants through groups. Default `"all"`,
   *   which contains every declared permission for a superuser
   */
  async permissionsOf(
    user: string,
    from: "all" | "user" | "group" = "all",
  ): Promise<ReadonlySet<Permission>> {
    if (!["all", "user", "group"].includes(from)) {
      throw new ConfigurationError(
        `permissionsOf(): "from" must be "all", "user" or "group", but received ${formatValue(from)}. Pass one of them.`,
      );
    }
    const subject = await this.#subject(user);
    const grants = subject.isActive ? (subject.grants ?? []) : [];
    const names =
      from === "all"
        ? [...effective(this.#services, subject)]
        : grants
            .filter(({ group }) => (group === null) === (from === "user"))
            .map(({ permission }) => permission);
    return new Set(names.flatMap((name) => this.#services.permissions.find(name) ?? []));
  }

  /**
   * Returns the ids of the users who have a permission now.
   *
   * @param options.active `true` for active users, `false` for inactive users, or `"any"`. Default
   *   `true`
   * @param options.superusers whether to include superusers, who have every permission. Default
   *   `true`
   * @param options.object a channel. Its rules and every hook of it must allow the user too.
   *   Default: none
   */
  async usersWithPermission(
    permission: Permission,
    options: UsersWithPermissionOptions = {},
  ): Promise<readonly string[]> {
    this.#services.permissions.parse(permission);
    const { object, ...filter } = parseOptions("usersWithPermission()", USERS_WITH_PERMISSION, options);
    const { userPermissions, database } = this.#services;
    if (object === undefined)
      return this.#withStorageErrors(() => userPermissions.holders(permission, filter));
    const channel = this.#channel(object.channel);
    return this.#withStorageErrors(async () => {
      const allowed: string[] = [];
      for await (const page of userPermissions.pages(database.db, {
        kind: "holders",
        permission,
        ...filter,
      })) {
        allowed.push(...(await this.#allowedIn(page, channel)));
      }
      return allowed;
    });
  }

  /** Returns every group with its current permissions. */
  groups(): Promise<readonly GroupDetails[]> {
    return this.#withStorageErrors(() => this.#services.userPermissions.groups());
  }

  /** Returns the state, groups and grants of a user, or `undefined` if the user does not exist. */
  async show(user: string): Promise<UserDetails | undefined> {
    checkUserId(user);
    return this.#withStorageErrors(() => this.#services.userPermissions.get(user));
  }

  /**
   * Returns users in the order of their ids, one page at a time.
   *
   * @param filter which users to return. To read the next page, pass the last id as `after`
   * @throws ConfigurationError if the filter is invalid, for example with an undeclared permission
   */
  async listUsers(filter: UserListFilter = {}): Promise<readonly UserSummary[]> {
    const { limit, ...rest } = parseOptions("listUsers()", USER_FILTER, filter);
    if (rest.permission !== undefined) this.#services.permissions.parse(rest.permission);
    return this.#withStorageErrors(() => this.#services.userPermissions.users(rest, limit));
  }

  /** Returns the open windows of the rate limits in the database, highest counts first. */
  limits(filter?: LimitFilter): Promise<readonly LimitWindow[]> {
    return this.#withStorageErrors(() => listLimitWindows(this.#services, filter));
  }

  /**
   * Clears windows of rate limits, so that the events of a user or an address are accepted again.
   *
   * Limits of messages are counted in the memory of each process. They are not cleared.
   *
   * @returns the number of windows that were cleared
   */
  clearLimits(which: LimitsToClear, options?: ChangeOptions): Promise<number> {
    return this.#withStorageErrors(() => clearLimitWindows(this.#services, which, options));
  }

  /**
   * Explains a decision, or whether a user is allowed now.
   *
   * With a reference that a client received, it returns the stored decision. With a question, it
   * evaluates every rule of a view, a handler or a channel.
   *
   * @returns `undefined` if no decision is stored for the reference
   * @throws ConfigurationError if the view, handler or channel does not exist. The message suggests
   *   the closest name
   */
  explain(reference: string): Promise<Decision | undefined>;
  explain(question: AccessQuestion): Promise<Explanation>;
  async explain(about: string | AccessQuestion): Promise<Decision | Explanation | undefined> {
    if (about === null || (typeof about !== "string" && typeof about !== "object")) {
      throw new ConfigurationError(
        `explain(): the argument must be a reference or a question, but received ${formatValue(about)}. ` +
          "Pass a reference, or { user, view }.",
      );
    }
    return this.#withStorageErrors<Decision | Explanation | undefined>(() =>
      typeof about === "string" ? this.#services.decisionLog.find(about) : explain(this.#services, about),
    );
  }

  /** Returns stored decisions, newest first. */
  decisions(filter?: DecisionFilter): Promise<readonly Decision[]> {
    return this.#withStorageErrors(() => this.#services.decisionLog.list(filter));
  }

  /** Returns the active users who have a permission now, each with its grants. */
  whoCan(permission: Permission): Promise<readonly UserWithPermission[]> {
    return this.#withStorageErrors(() => listHolders(this.#services, permission));
  }

  /**
   * Returns the views, handlers and channels that a user is allowed to use now, by their rules.
   *
   * @param user user id of the app, or `null` for a client that is not signed in
   */
  whatCan(user: string | null): Promise<UserAccess> {
    return this.#withStorageErrors(() => getUserAccess(this.#services, user));
  }

  /** Returns entries of the audit log, newest first. */
  audit(filter?: AuditFilter): Promise<readonly AuditEntry[]> {
    return this.#withStorageErrors(() => this.#services.audit.list(filter));
  }

  /**
   * Returns every permission that is declared or in the database. A permission that is no longer
   * declared is stale.
   */
  permissions(): Promise<readonly PermissionInfo[]> {
    return this.#withStorageErrors(() => this.#services.permissionRows.list(this.#services.database.db));
  }

  /**
   * Returns how the rules of this code differ from those that the last `migrate` stored, with the
   * users who gain or lose access.
   *
   * @throws ConfigurationError if no `migrate` has stored rules yet
   */
  compareRules(): Promise<readonly RuleChange[]> {
    return this.#withStorageErrors(() => compareRules(this.#services));
  }

  /** Converts errors of the database driver to a `StorageError`, which states what to do. */
  #withStorageErrors<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.database, work);
  }

  #subject(user: string): Promise<Subject> {
    checkUserId(user);
    return this.#withStorageErrors(() =>
      this.#services.userPermissions.subject(this.#services.database.db, user),
    );
  }

  #checkedList(permissions: Iterable<Permission>): readonly Permission[] {
    const list = permissionArray(permissions);
    for (const permission of list) this.#services.permissions.parse(permission);
    return list;
  }

  #channel(name: string): MatchedChannel {
    const channel = this.#services.channels.match(name);
    if (channel) return channel;
    throw new ConfigurationError(
      `No channel definition matches ${JSON.stringify(name)}. Pass the name of a channel of the app.`,
      { code: "SALLYPORT_UNKNOWN_NAME" },
    );
  }

  /**
   * Returns the ids of the users who are allowed in a channel. `authorizeMany` is
   * called once for all users.
   */
  async #allowedIn(page: readonly Subject[], channel: MatchedChannel): Promise<readonly string[]> {
    let users = page
      .filter((subject) => channel.rules.every((rule) => evaluateRule(rule, subject).allowed))
      .map((subject) => userOf(subject, this.#services.permissions));
    for (const authorize of channel.authorizeAll) {
      if (users.length > 0) users = [...(await authorize(users))];
    }
    return users.flatMap(({ id }) => id ?? []);
  }

  async #isAllowedIn(subject: Subject, name: string): Promise<boolean> {
    const channel = this.#channel(name);
    const context = createDecisionContext("message", name);
    try {
      requireChannelRules(context, channel, subject);
      await runChannelAuthorize(context, channel, userOf(subject, this.#services.permissions));
      return true;
    } catch (error) {
      if (error instanceof RequestError) return false;
      throw error;
    }
  }
}

/** Selects the users that {@link Access.listUsers} returns. */
export interface UserListFilter extends UserFilter {
  /** Maximum number of users, 1 to 1000. Default 100. */
  readonly limit?: number | undefined;
}

const USER_FILTER = optionsOf<UserListFilter>()({
  active: v.optional(booleanOption),
  superuser: v.optional(booleanOption),
  group: v.optional(searchedGroup),
  permission: v.optional(searchedText),
  after: v.optional(searchedText),
  limit: rowLimit,
});

interface UsersWithPermissionOptions {
  readonly active?: boolean | "any" | undefined;
  readonly superusers?: boolean | undefined;
  readonly object?: PermissionObject | undefined;
}

const PERMISSION_OBJECT = optionsOf<PermissionObject>()({
  channel: v.string("must be the name of a channel"),
});

const USERS_WITH_PERMISSION = optionsOf<UsersWithPermissionOptions>()({
  active: v.optional(
    v.custom<boolean | "any">(
      (value) => typeof value === "boolean" || value === "any",
      'must be true, false or "any"',
    ),
  ),
  superusers: v.optional(booleanOption),
  object: v.exactOptional(PERMISSION_OBJECT),
});

/** Separates the end of a grant from the options that every change has. */
function splitUntil(
  options: GrantOptions,
): [until: { until?: number | Date | undefined }, rest: ChangeOptions] {
  checkGrantOptions(options);
  const { until, ...rest } = options;
  return [until === undefined ? {} : { until }, rest];
}
