import * as v from "valibot";
import type { AuditEntry, AuditFilter } from "../audit/audit-log.ts";
import type { Decision } from "../audit/decision.ts";
import { createDecisionContext } from "../audit/decision.ts";
import type { DecisionFilter } from "../audit/decision-log.ts";
import { requireChannelRules, runChannelAuthorize } from "../auth/authorize.ts";
import { ConfigurationError, RefusedError } from "../errors.ts";
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
import { listOf, userOf } from "../views/user.ts";
import { type AccessChange, type ChangeResult, changeRights } from "./change.ts";
import { compareRules, type RuleChange } from "./compare-rules.ts";
import {
  type AccessQuestion,
  type Explanation,
  explain,
  type UserAccess,
  type UserWithPermission,
  whatCan,
  whoCan,
} from "./explain.ts";
import {
  clearLimitWindows,
  type LimitFilter,
  type LimitsToClear,
  type LimitWindow,
  listLimitWindows,
} from "./limit-windows.ts";
import { type AccessPreview, effective, previewChange } from "./preview.ts";

/** Something a permission is asked about: the data behind a channel, whose rules and hook have the last word. */
export interface PermissionObject {
  readonly channel: string;
}

/**
 * Changes of rights, and questions about them.
 *
 * A change commits together with its audit entry and a record of itself, and resolves when every open socket that it
 * touches has been reconsidered: from then on this process starts no frame to a user who lost the right to it, and
 * what it had started has arrived or failed. What a gateway would not take is told to `onError`; the rows are closed
 * even so.
 */
export class Access {
  readonly #services: Services;
  readonly #worker: RevocationWorker;

  constructor(services: Services, worker: RevocationWorker) {
    this.#services = services;
    this.#worker = worker;
  }

  /**
   * Makes a change; the methods below are shorter names of the same.
   *
   * @throws ConfigurationError for input that cannot be; nothing has changed then
   */
  change(change: AccessChange, options?: ChangeOptions): Promise<ChangeResult> {
    return this.#ask(() => changeRights(this.#services, this.#worker, change, options));
  }

  /** What a change would do, were it made now: who gains or loses what, which sockets and channels would end. */
  preview(change: AccessChange, options?: ChangeOptions): Promise<AccessPreview> {
    return this.#ask(() => previewChange(this.#services, change, options));
  }

  /**
   * Gives a user, by the app's own id, or a group a permission; giving it again replaces its end.
   *
   * @returns false when it stood already, with the same end
   * @throws ConfigurationError when the permission is not declared, or `until` is no coming instant
   */
  async grant(
    holder: PermissionHolder,
    permission: Permission,
    options: GrantOptions = {},
  ): Promise<boolean> {
    const [until, rest] = endOf(options);
    return (await this.change({ kind: "grant", holder, permission, ...until }, rest)).changed;
  }

  /**
   * Takes a permission away. Sockets and channels that rested on it end.
   *
   * @returns whether the holder had it
   */
  async revoke(holder: PermissionHolder, permission: Permission, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "revoke", holder, permission }, options)).changed;
  }

  /**
   * Makes a user a member of a group, which is made when missing.
   *
   * @returns false when the user was one already, with the same end
   */
  async addToGroup(user: string, group: string, options: GrantOptions = {}): Promise<boolean> {
    const [until, rest] = endOf(options);
    return (await this.change({ kind: "add-to-group", user, group, ...until }, rest)).changed;
  }

  /** @returns whether the user was a member */
  async removeFromGroup(user: string, group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "remove-from-group", user, group }, options)).changed;
  }

  /** @returns whether there was no group of that name */
  async createGroup(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "create-group", group }, options)).changed;
  }

  /** Removes a group with all it gave. @returns whether there was one */
  async deleteGroup(group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "delete-group", group }, options)).changed;
  }

  /** An inactive user passes no rule and keeps no socket. @returns whether it was otherwise before */
  async setActive(user: string, active: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "set-active", user, active }, options)).changed;
  }

  /** A superuser passes every permission rule, though no `authorize`. @returns whether it was otherwise before */
  async setSuperuser(user: string, superuser: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "set-superuser", user, superuser }, options)).changed;
  }

  /**
   * Forgets a user with all rights; every socket closes and unused tokens die. The app's own account is the app's to
   * remove first: a login that still stands makes a new user without rights.
   *
   * @returns whether anything was known
   */
  async deleteUser(user: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.change({ kind: "delete-user", user }, options)).changed;
  }

  /**
   * Removes permissions that the code no longer declares, with every grant of them.
   *
   * @param permissions default: all that are stale
   * @returns those that were removed
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

  /** Ends a login of the app: its sockets close and its unused tokens die. */
  async endSession(session: string, options?: ChangeOptions): Promise<void> {
    await this.change({ kind: "end-session", session }, options);
  }

  /** Asks every `authorize` again for a user's sockets, or for everyone in a channel: the app's own data changed. */
  async recheck(
    what: { readonly user: string } | { readonly channel: string },
    options?: ChangeOptions,
  ): Promise<void> {
    const { user, channel, ...others } = what as { user?: string; channel?: string };
    if ((user === undefined) === (channel === undefined) || Object.keys(others).length > 0) {
      throw new ConfigurationError(`recheck takes { user } or { channel }, not ${formatValue(what)}.`);
    }
    const change = user === undefined ? { channel: channel ?? "" } : { user };
    await this.change({ ...change, kind: "recheck" }, options);
  }

  /**
   * Whether a user has a permission now: active, and by a grant, a group or as a superuser.
   *
   * @param object where the question is about data: the channel's rules and every hook of it must say yes as well
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
    return object === undefined || this.#standsIn(subject, object.channel);
  }

  /** Whether a user has any of these now. @throws ConfigurationError for an empty list */
  async hasAnyPermission(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAnyPermission(
      this.#known(permissions),
    );
  }

  /** Whether a user has all of these now. @throws ConfigurationError for an empty list */
  async hasAllPermissions(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAllPermissions(
      this.#known(permissions),
    );
  }

  /** Whether a user has any permission of an app, named by what `definePermissions()` returned. */
  async hasAppPermissions(user: string, app: AnyPermissionSet): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.permissions).hasAppPermissions(app);
  }

  /**
   * A user's effective permissions now: `all` of them, those granted to the `user` directly, or those through a `group`.
   * Of a superuser, `all` is every permission there is; of an inactive user, each is empty. Grants of what the code no
   * longer declares are left out: nothing can ask for it.
   */
  async permissionsOf(
    user: string,
    from: "all" | "user" | "group" = "all",
  ): Promise<ReadonlySet<Permission>> {
    if (!["all", "user", "group"].includes(from)) {
      throw new ConfigurationError(
        `permissionsOf() takes "all", "user" or "group", not ${formatValue(from)}.`,
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
   * Ids of the users who have a permission now.
   *
   * @param options.active only active users (default), only inactive ones, or `"any"`
   * @param options.superusers whether to count superusers, who have every permission. Default true
   * @param options.object only those whom the channel's rules and every hook of it let in, too
   */
  async usersWithPermission(
    permission: Permission,
    options: UsersWithPermissionOptions = {},
  ): Promise<readonly string[]> {
    this.#services.permissions.parse(permission);
    const { object, ...kinds } = parseOptions("usersWithPermission()", USERS_WITH_PERMISSION, options);
    const { userPermissions, database } = this.#services;
    if (object === undefined) return this.#ask(() => userPermissions.holders(permission, kinds));
    const channel = this.#channel(object.channel);
    return this.#ask(async () => {
      const allowed: string[] = [];
      for await (const page of userPermissions.pages(database.db, {
        kind: "holders",
        permission,
        ...kinds,
      })) {
        allowed.push(...(await this.#allowedIn(page, channel)));
      }
      return allowed;
    });
  }

  /** Every group with its permissions that hold now. */
  groups(): Promise<readonly GroupDetails[]> {
    return this.#ask(() => this.#services.userPermissions.groups());
  }

  /** What is known of a user's rights now, or undefined when we have never met. */
  async show(user: string): Promise<UserDetails | undefined> {
    checkUserId(user);
    return this.#ask(() => this.#services.userPermissions.get(user));
  }

  /**
   * Returns users that are known here, in the order of their ids. Read the next page with the last id as `after`.
   *
   * @throws ConfigurationError for a permission that is not declared, or another filter that is not valid
   */
  async listUsers(filter: UserListFilter = {}): Promise<readonly UserSummary[]> {
    const { limit, ...rest } = parseOptions("listUsers()", USER_FILTER, filter);
    if (rest.permission !== undefined) this.#services.permissions.parse(rest.permission);
    return this.#ask(() => this.#services.userPermissions.users(rest, limit));
  }

  /** Returns the open windows of limits that are counted in the database, those with the highest counts first. */
  limits(filter?: LimitFilter): Promise<readonly LimitWindow[]> {
    return this.#ask(() => listLimitWindows(this.#services, filter));
  }

  /**
   * Clears windows of limits, so that the events of a user or from an address are accepted again. The limits of messages are counted
   * in the memory of each process and are not cleared.
   *
   * @returns how many windows were cleared
   */
  clearLimits(which: LimitsToClear, options?: ChangeOptions): Promise<number> {
    return this.#ask(() => clearLimitWindows(this.#services, which, options));
  }

  /**
   * Why something was decided, by the reference that the peer was told; or what the gate would say of a user now, with
   * every rule that stands before a view, a handler or a channel.
   *
   * @returns undefined for a reference that nothing is kept of any more
   * @throws ConfigurationError that names the nearest view, handler or channel when there is none of that name
   */
  explain(reference: string): Promise<Decision | undefined>;
  explain(question: AccessQuestion): Promise<Explanation>;
  async explain(about: string | AccessQuestion): Promise<Decision | Explanation | undefined> {
    if (about === null || (typeof about !== "string" && typeof about !== "object")) {
      throw new ConfigurationError(
        `why() takes a reference, or { user, view, … }, not ${formatValue(about)}.`,
      );
    }
    return this.#ask<Decision | Explanation | undefined>(() =>
      typeof about === "string" ? this.#services.decisionLog.find(about) : explain(this.#services, about),
    );
  }

  /** Decisions that are kept, the newest first. */
  decisions(filter?: DecisionFilter): Promise<readonly Decision[]> {
    return this.#ask(() => this.#services.decisionLog.list(filter));
  }

  /** Active users who have a permission now, each with where it comes from. */
  whoCan(permission: Permission): Promise<readonly UserWithPermission[]> {
    return this.#ask(() => whoCan(this.#services, permission));
  }

  /** Everything that a user, or somebody who has not signed in (null), can reach by rules now. */
  whatCan(user: string | null): Promise<UserAccess> {
    return this.#ask(() => whatCan(this.#services, user));
  }

  /** Who did what, the newest first. */
  audit(filter?: AuditFilter): Promise<readonly AuditEntry[]> {
    return this.#ask(() => this.#services.audit.list(filter));
  }

  /** Every permission that is declared or in the database; one that is no longer declared is stale. */
  permissions(): Promise<readonly PermissionInfo[]> {
    return this.#ask(() => this.#services.permissionRows.list(this.#services.database.db));
  }

  /** How the rules that this code declares differ from those of the code that ran `migrate` last, and for whom. */
  compareRules(): Promise<readonly RuleChange[]> {
    return this.#ask(() => compareRules(this.#services));
  }

  /** What a database says of itself becomes what to do about it, as in changes. */
  #ask<Result>(question: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.database, question);
  }

  #subject(user: string): Promise<Subject> {
    checkUserId(user);
    return this.#ask(() => this.#services.userPermissions.subject(this.#services.database.db, user));
  }

  #known(permissions: Iterable<Permission>): readonly Permission[] {
    const list = listOf(permissions);
    for (const permission of list) this.#services.permissions.parse(permission);
    return list;
  }

  #channel(name: string): MatchedChannel {
    const channel = this.#services.channels.match(name);
    if (channel) return channel;
    throw new ConfigurationError(`No channel definition matches ${JSON.stringify(name)}.`, {
      code: "SALLYPORT_UNKNOWN_NAME",
    });
  }

  /** Returns the ids of those users who are allowed in a channel: each hook is called once for all of them, where it can be. */
  async #allowedIn(page: readonly Subject[], channel: MatchedChannel): Promise<readonly string[]> {
    let users = page
      .filter((subject) => channel.rules.every((rule) => evaluateRule(rule, subject).allowed))
      .map((subject) => userOf(subject, this.#services.permissions));
    for (const authorize of channel.authorizeAll) {
      if (users.length > 0) users = [...(await authorize(users))];
    }
    return users.flatMap(({ id }) => id ?? []);
  }

  async #standsIn(subject: Subject, name: string): Promise<boolean> {
    const channel = this.#channel(name);
    const context = createDecisionContext("message", name);
    try {
      requireChannelRules(context, channel, subject);
      await runChannelAuthorize(context, channel, userOf(subject, this.#services.permissions));
      return true;
    } catch (error) {
      if (error instanceof RefusedError) return false;
      throw error;
    }
  }
}

/** Which users {@link Access.listUsers} returns. */
export interface UserListFilter extends UserFilter {
  /** At most this many. Default 100, at most 1000. */
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
function endOf(options: GrantOptions): [until: { until?: number | Date | undefined }, rest: ChangeOptions] {
  checkGrantOptions(options);
  const { until, ...rest } = options;
  return [until === undefined ? {} : { until }, rest];
}
