import type { Decision } from "../audit/decision.ts";
import { ConfigurationError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import type { Permission } from "../permissions/define.ts";
import type { ChangeOptions, GrantOptions } from "../permissions/grants.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { AdminServices } from "../services.ts";
import { withStorageErrors } from "../storage/storage-errors.ts";
import type { PermissionHolder } from "../storage/stores/users.ts";
import { AccessAudit } from "./audit.ts";
import { type AccessChange, type ChangeResult, changeAccess, splitUntil } from "./change.ts";
import { type AccessQuestion, type Explanation, explain } from "./explain.ts";
import { AccessGroups } from "./groups.ts";
import { AccessLimits } from "./limits.ts";
import { AccessPermissions } from "./permissions.ts";
import { type AccessPreview, previewChange } from "./preview.ts";
import { AccessUsers } from "./users.ts";

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
  readonly users: AccessUsers;
  readonly groups: AccessGroups;
  readonly permissions: AccessPermissions;
  readonly audit: AccessAudit;
  readonly limits: AccessLimits;
  readonly #services: AdminServices;
  readonly #worker: RevocationWorker;

  constructor(services: AdminServices, worker: RevocationWorker) {
    this.#services = services;
    this.#worker = worker;
    const change = this.change.bind(this);
    this.users = new AccessUsers(services, change);
    this.groups = new AccessGroups(services, change);
    this.permissions = new AccessPermissions(services, change);
    this.audit = new AccessAudit(services);
    this.limits = new AccessLimits(services);
  }

  /**
   * Makes a change. The other methods are short forms of it.
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
      typeof about === "string"
        ? this.#services.reports.decisionLog.find(about)
        : explain(this.#services, about),
    );
  }

  /** Converts errors of the database driver to a `StorageError`, which states what to do. */
  #withStorageErrors<Result>(work: () => Promise<Result>): Promise<Result> {
    return withStorageErrors(this.#services.store, work);
  }
}
