import type { Permission } from "../access/permissions.ts";
import type { GrantOptions, Holder, UserRights } from "../access/rights.ts";
import { userOf } from "../access/user.ts";
import type { Enforcer } from "./evict.ts";
import type { Rooms } from "./rooms.ts";

/**
 * Changes of rights. Each commits together with a record of itself, and resolves when every open socket that it
 * touches has been reconsidered: from then on this process starts no frame to a user who lost the right to it, and
 * what it had started has arrived or failed. What a gateway would not take is told to `onError`; the rows are closed even so.
 */
export class Access {
  readonly #rooms: Rooms;
  readonly #enforcer: Enforcer;

  constructor(rooms: Rooms, enforcer: Enforcer) {
    this.#rooms = rooms;
    this.#enforcer = enforcer;
  }

  /**
   * Gives a user, by the app's own id, or a group a permission; giving it again replaces its end.
   *
   * @throws ConfigurationError when the permission is not declared, or `until` is no instant
   */
  async grant(holder: Holder, permission: Permission, options?: GrantOptions): Promise<void> {
    await this.#rooms.rights.grant(holder, permission, options);
    await this.#enforce(userOfHolder(holder));
  }

  /**
   * Takes a permission away. Sockets and channels that rested on it end.
   *
   * @returns whether the holder had it
   */
  async revoke(holder: Holder, permission: Permission): Promise<boolean> {
    const had = await this.#rooms.rights.revoke(holder, permission);
    await this.#enforce(userOfHolder(holder));
    return had;
  }

  /** Makes a user a member of a group, which is made when missing. */
  async addToGroup(userId: string, group: string, options?: GrantOptions): Promise<void> {
    await this.#rooms.rights.addToGroup(userId, group, options);
    await this.#enforce(userId);
  }

  /** @returns whether the user was a member */
  async removeFromGroup(userId: string, group: string): Promise<boolean> {
    const was = await this.#rooms.rights.removeFromGroup(userId, group);
    await this.#enforce(userId);
    return was;
  }

  /** An inactive user passes no rule and keeps no socket. */
  async setActive(userId: string, active: boolean): Promise<void> {
    await this.#rooms.rights.setActive(userId, active);
    await this.#enforce(userId);
  }

  /** A superuser passes every permission rule, though no `authorize`. */
  async setSuperuser(userId: string, superuser: boolean): Promise<void> {
    await this.#rooms.rights.setSuperuser(userId, superuser);
    await this.#enforce(userId);
  }

  /** Ends a login of the app: its sockets close and its unused tokens die. */
  async endSession(sessionId: string): Promise<void> {
    const { database, evictions, sessions, tokens } = this.#rooms;
    await database.write(async (db) => {
      await tokens.forgetLogin(db, sessionId);
      await sessions.closeOfLogin(db, sessionId);
      await evictions.record(db, "login", sessionId);
    });
    await this.#enforce();
  }

  /** Asks every `authorize` again for a user's sockets, or for everyone in a channel: the app's own data changed. */
  async recheck(what: { readonly user: string } | { readonly channel: string }): Promise<void> {
    const [scope, subject] =
      "user" in what ? (["user", what.user] as const) : (["channel", what.channel] as const);
    const { database, evictions } = this.#rooms;
    await database.write((db) => evictions.record(db, scope, subject));
    await this.#enforce();
  }

  /** Whether a user has a permission now: active, and by a grant, a group or as a superuser. */
  async hasPermission(userId: string, permission: Permission): Promise<boolean> {
    const { rights, database } = this.#rooms;
    return userOf(await rights.subject(database.db, userId)).hasPermission(permission);
  }

  /** What is known of a user's rights now, or undefined when we have never met. */
  show(userId: string): Promise<UserRights | undefined> {
    return this.#rooms.rights.show(userId);
  }

  /** After the commit: nothing new goes out by the old rights, what was going out has, and sockets follow. */
  async #enforce(userId?: string): Promise<void> {
    this.#rooms.changes.mark(userId);
    await this.#rooms.delivery.settled(userId);
    await this.#enforcer.enforce();
  }
}

/** A group's change may be anybody's. */
function userOfHolder(holder: Holder): string | undefined {
  return typeof holder === "string" ? holder : undefined;
}
