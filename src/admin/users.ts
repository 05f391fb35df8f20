import * as v from "valibot";
import { createDecisionContext } from "../audit/decision.ts";
import { requireChannelRules, runChannelAuthorize } from "../auth/authorize.ts";
import { ConfigurationError, RequestError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { booleanOption, optionsOf, parseOptions, rowLimit, searchedGroup, searchedText } from "../options.ts";
import type { AnyPermissionSet, Permission } from "../permissions/define.ts";
import { type ChangeOptions, checkUserId, type GrantOptions } from "../permissions/grants.ts";
import { evaluateRule } from "../permissions/rules.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { Subject, UserDetails, UserFilter, UserSummary } from "../storage/stores/users.ts";
import type { MatchedChannel } from "../views/channels.ts";
import { permissionArray, userOf } from "../views/user.ts";
import { type ChangeFunction, splitUntil } from "./change.ts";
import { getUserAccess, type UserAccess } from "./explain.ts";
import { effective } from "./preview.ts";

/** The object of a permission check: a channel. Its rules and hooks must allow access too. */
export interface PermissionObject {
  readonly channel: string;
}

/** `access.users`: changes users and their memberships, and checks their permissions. */
export class AccessUsers {
  readonly #services: AdminServices;
  readonly #change: ChangeFunction;

  constructor(services: AdminServices, change: ChangeFunction) {
    this.#services = services;
    this.#change = change;
  }

  /**
   * Returns users in the order of their ids, one page at a time.
   *
   * @param filter which users to return. To read the next page, pass the last id as `after`
   * @throws ConfigurationError if the filter is invalid, for example with an undeclared permission
   */
  async list(filter: UserListFilter = {}): Promise<readonly UserSummary[]> {
    const { limit, ...rest } = parseOptions("access.users.list()", USER_FILTER, filter);
    if (rest.permission !== undefined) this.#services.definitions.permissions.parse(rest.permission);
    return this.#withStorageErrors(() => this.#services.store.users.list(rest, limit));
  }

  /** Returns the state, groups and grants of a user, or `undefined` if the user does not exist. */
  async get(user: string): Promise<UserDetails | undefined> {
    checkUserId(user);
    return this.#withStorageErrors(() => this.#services.store.users.get(user));
  }

  /**
   * Adds a user to a group. A missing group is created.
   *
   * @param options.until when the membership ends, a `Date` or epoch milliseconds. Default: never
   * @returns `false` if the user already was a member with the same end
   */
  async addToGroup(user: string, group: string, options: GrantOptions = {}): Promise<boolean> {
    const [until, rest] = splitUntil(options);
    return (await this.#change({ kind: "add-to-group", user, group, ...until }, rest)).changed;
  }

  /** Removes a user from a group. @returns whether the user was a member */
  async removeFromGroup(user: string, group: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "remove-from-group", user, group }, options)).changed;
  }

  /**
   * Activates or deactivates a user. An inactive user has no access, and its connections are
   * closed.
   *
   * @returns whether the state has changed
   */
  async setActive(user: string, active: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "set-active", user, active }, options)).changed;
  }

  /**
   * Makes a user a superuser, or not. A superuser passes every permission rule. `authorize` hooks
   * still apply.
   *
   * @returns whether the state has changed
   */
  async setSuperuser(user: string, superuser: boolean, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "set-superuser", user, superuser }, options)).changed;
  }

  /**
   * Deletes a user with all grants. Connections are closed, and unused tokens become invalid.
   *
   * End the sessions of the user in your app first. Otherwise, the next token request creates a new
   * user without permissions.
   *
   * @returns whether the user existed or had an open connection
   */
  async delete(user: string, options?: ChangeOptions): Promise<boolean> {
    return (await this.#change({ kind: "delete-user", user }, options)).changed;
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
    this.#services.definitions.permissions.parse(permission);
    const [object] = about;
    if (about.length > 0) parseOptions("hasPermission(): object", PERMISSION_OBJECT, object);
    const subject = await this.#subject(user);
    if (!userOf(subject, this.#services.definitions.permissions).hasPermission(permission)) return false;
    return object === undefined || this.#isAllowedIn(subject, object.channel);
  }

  /**
   * Returns whether a user has any of the permissions now.
   *
   * @throws ConfigurationError if the list is empty
   */
  async hasAnyPermission(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.definitions.permissions).hasAnyPermission(
      this.#checkedList(permissions),
    );
  }

  /**
   * Returns whether a user has all of the permissions now.
   *
   * @throws ConfigurationError if the list is empty
   */
  async hasAllPermissions(user: string, permissions: Iterable<Permission>): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.definitions.permissions).hasAllPermissions(
      this.#checkedList(permissions),
    );
  }

  /**
   * Returns whether a user has any permission of a set now.
   *
   * @param app the result of `definePermissions()`
   */
  async hasAppPermissions(user: string, app: AnyPermissionSet): Promise<boolean> {
    return userOf(await this.#subject(user), this.#services.definitions.permissions).hasAppPermissions(app);
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
  async permissions(user: string, from: "all" | "user" | "group" = "all"): Promise<ReadonlySet<Permission>> {
    if (!["all", "user", "group"].includes(from)) {
      throw new ConfigurationError(
        `access.users.permissions(): "from" must be "all", "user" or "group", but received ${formatValue(from)}. Pass one of them.`,
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
    return new Set(names.flatMap((name) => this.#services.definitions.permissions.find(name) ?? []));
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
  async withPermission(
    permission: Permission,
    options: UsersWithPermissionOptions = {},
  ): Promise<readonly string[]> {
    this.#services.definitions.permissions.parse(permission);
    const { object, ...filter } = parseOptions(
      "access.users.withPermission()",
      USERS_WITH_PERMISSION,
      options,
    );
    const { users } = this.#services.store;
    if (object === undefined) return this.#withStorageErrors(() => users.holders(permission, filter));
    const channel = this.#channel(object.channel);
    return this.#withStorageErrors(async () => {
      const allowed: string[] = [];
      for await (const page of users.pages({ kind: "holders", permission, ...filter })) {
        allowed.push(...(await this.#allowedIn(page, channel)));
      }
      return allowed;
    });
  }

  /**
   * Returns the views, handlers and channels that a user is allowed to use now, by their rules.
   *
   * @param user user id of the app, or `null` for a client that is not signed in
   */
  access(user: string | null): Promise<UserAccess> {
    return this.#withStorageErrors(() => getUserAccess(this.#services, user));
  }

  /** Converts errors of the database driver to a `StorageError`, which states what to do. */
  #withStorageErrors<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.store, work);
  }

  #subject(user: string): Promise<Subject> {
    checkUserId(user);
    return this.#withStorageErrors(() => this.#services.store.users.subject(user));
  }

  #checkedList(permissions: Iterable<Permission>): readonly Permission[] {
    const list = permissionArray(permissions);
    for (const permission of list) this.#services.definitions.permissions.parse(permission);
    return list;
  }

  #channel(name: string): MatchedChannel {
    const channel = this.#services.definitions.channels.match(name);
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
      .map((subject) => userOf(subject, this.#services.definitions.permissions));
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
      await runChannelAuthorize(context, channel, userOf(subject, this.#services.definitions.permissions));
      return true;
    } catch (error) {
      if (error instanceof RequestError) return false;
      throw error;
    }
  }
}

/** Selects the users that {@link AccessUsers.list} returns. */
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
