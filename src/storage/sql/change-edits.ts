import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { AuditSubject } from "../stores/audit.ts";
import type { ChangeOrigin, StoredChange } from "../stores/changes.ts";
import type { RevocationTarget } from "../stores/revocations.ts";
import type { PermissionHolder } from "../stores/users.ts";
import type { SqlConnections } from "./connections.ts";
import type { SqlDeclarations } from "./declarations.ts";
import type { SqlEndedSessions } from "./ended-sessions.ts";
import { SqlGrants } from "./grants.ts";
import type { SqlRevocations } from "./revocations.ts";
import type { SqlTokens } from "./tokens.ts";
import type { SqlUsers } from "./users.ts";

/** The effect of a change on the tables, and its consequences. */
export interface Edit {
  readonly changed: boolean;
  readonly audit?: Omit<AuditSubject, "action">;
  readonly affected?: RevocationTarget;
  /** Id of the revocation record, if it was written before the edit deleted the affected users. */
  readonly recorded?: string;
  readonly pruned?: readonly string[];
}

/** The change with this `kind`. */
type ChangeOf<Kind extends StoredChange["kind"]> = Extract<StoredChange, { readonly kind: Kind }>;

/** The transaction of a change, and who makes it. */
interface EditContext {
  readonly db: Kysely<Tables>;
  readonly origin: ChangeOrigin;
  /** Reserves the number of the change. Another call returns the same number. */
  readonly nextNumber: () => Promise<number>;
}

/** The tables that changes write to. */
export interface TableWriters {
  readonly users: SqlUsers;
  readonly endedSessions: SqlEndedSessions;
  readonly tokens: SqlTokens;
  readonly connections: SqlConnections;
  readonly revocations: SqlRevocations;
  readonly declarations: SqlDeclarations;
}

/** Edits the tables for each kind of change. */
export class ChangeEdits {
  readonly #grants: SqlGrants;
  readonly #tables: TableWriters;

  constructor(database: Database, tables: TableWriters) {
    this.#grants = new SqlGrants(database);
    this.#tables = tables;
  }

  /** Makes a change in a transaction, without its audit entry and its entry in the change log. */
  async edit(change: StoredChange, context: EditContext): Promise<Edit> {
    const { db } = context;
    switch (change.kind) {
      case "grant":
        return this.#grant(change, context);
      case "revoke":
        return this.#revoke(change, context);
      case "add-to-group":
        return this.#addToGroup(change, context);
      case "remove-from-group": {
        const { user, group } = change;
        const changed = await this.#grants.removeFromGroup(db, user, group);
        return { changed, audit: { user, group }, affected: targetOf(user) };
      }
      case "create-group": {
        const { group } = change;
        return { changed: await this.#grants.createGroup(db, group), audit: { group } };
      }
      case "delete-group":
        return this.#deleteGroup(change, context);
      case "set-active": {
        const { user, active } = change;
        const changed = await this.#grants.setFlag(db, user, "is_active", active);
        return { changed, audit: { user, details: { active } }, affected: targetOf(user) };
      }
      case "set-superuser": {
        const { user, superuser } = change;
        const changed = await this.#grants.setFlag(db, user, "is_superuser", superuser);
        return { changed, audit: { user, details: { superuser } }, affected: targetOf(user) };
      }
      case "delete-user":
        return this.#deleteUser(change, context);
      case "prune-permissions":
        return this.#prunePermissions(change, context);
      case "end-session":
        return this.#endSession(change, context);
      case "recheck":
        return recheck(change);
    }
  }

  async #grant(change: ChangeOf<"grant">, { db, origin }: EditContext): Promise<Edit> {
    const { holder, permission, until } = change;
    await this.#tables.declarations.requirePermission(db, permission);
    const created = typeof holder === "string" ? {} : await this.#ensureGroup(db, holder.group);
    const changed = await this.#grants.grant(db, holder, permission, { ...origin, until });
    const details = { ...untilDetails(until), ...created };
    return { changed, audit: { ...holderFields(holder), permission, details }, affected: targetOf(holder) };
  }

  async #revoke({ holder, permission }: ChangeOf<"revoke">, { db }: EditContext): Promise<Edit> {
    const changed = await this.#grants.revoke(db, holder, permission);
    return { changed, audit: { ...holderFields(holder), permission }, affected: targetOf(holder) };
  }

  async #addToGroup(change: ChangeOf<"add-to-group">, { db, origin }: EditContext): Promise<Edit> {
    const { user, group, until } = change;
    const created = await this.#ensureGroup(db, group);
    const changed = await this.#grants.addToGroup(db, user, group, { ...origin, until });
    const details = { ...untilDetails(until), ...created };
    return { changed, audit: { user, group, details }, affected: targetOf(user) };
  }

  /** Deletes a group. Its members are listed first, because the deletion removes them. */
  async #deleteGroup({ group }: ChangeOf<"delete-group">, context: EditContext): Promise<Edit> {
    const { db, origin, nextNumber } = context;
    if (!(await this.#grants.hasGroup(db, group))) return { changed: false };
    const users = db.selectFrom("sallyport_user_groups").select("user_id").where("group_name", "=", group);
    const recorded = await this.#tables.revocations.record(
      db,
      { scope: "users", users },
      await nextNumber(),
      origin.claimedBy,
    );
    await this.#grants.deleteGroup(db, group);
    return { changed: true, audit: { group }, affected: { scope: "users" }, recorded };
  }

  async #deleteUser({ user }: ChangeOf<"delete-user">, { db }: EditContext): Promise<Edit> {
    const { tokens, connections } = this.#tables;
    const known = await this.#grants.deleteUser(db, user);
    await tokens.deleteOfUser(db, user);
    const closed = await connections.closeForSessionOrUser(db, { user }, "user deleted");
    const affected = { scope: "deleted-user", subject: user } as const;
    return { changed: known || closed > 0, audit: { user }, affected };
  }

  /**
   * Prunes permissions. Their holders are listed first, because the grants are deleted. Names of
   * permissions that are not stored are ignored.
   */
  async #prunePermissions(
    { permissions }: ChangeOf<"prune-permissions">,
    { db, origin, nextNumber }: EditContext,
  ): Promise<Edit> {
    if (permissions.length === 0) return { changed: false };
    const { declarations, revocations, users } = this.#tables;
    const known = new Set((await declarations.permissions(db)).map(({ name }) => name));
    if (!permissions.some((name) => known.has(name))) return { changed: false };
    const holding = users.everHolding(db, permissions);
    const recorded = await revocations.record(
      db,
      { scope: "users", users: holding },
      await nextNumber(),
      origin.claimedBy,
    );
    const pruned = await declarations.prunePermissions(db, permissions);
    const audit = { details: { permissions: pruned } };
    return { changed: true, audit, affected: { scope: "users" }, recorded, pruned };
  }

  async #endSession(change: ChangeOf<"end-session">, { db }: EditContext): Promise<Edit> {
    const { sessionHash, fingerprint } = change;
    const { endedSessions: sessions, tokens, connections } = this.#tables;
    await sessions.add(db, sessionHash);
    await tokens.endOfSession(db, sessionHash);
    await connections.closeForSessionOrUser(db, { session: sessionHash }, "session ended");
    const affected = { scope: "session", subject: sessionHash } as const;
    return { changed: true, audit: { details: { session: fingerprint } }, affected };
  }

  /** Creates a group if it does not exist, for the audit entry of the change that needs it. */
  async #ensureGroup(db: Kysely<Tables>, group: string) {
    return (await this.#grants.createGroup(db, group)) ? { madeGroup: true } : {};
  }
}

function recheck(change: ChangeOf<"recheck">): Edit {
  if ("user" in change) {
    const { user } = change;
    return { changed: true, audit: { user }, affected: targetOf(user) };
  }
  const { channel } = change;
  const affected = { scope: "channel", subject: channel } as const;
  return { changed: true, audit: { details: { channel } }, affected };
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

function untilDetails(until: number | null) {
  return until === null ? {} : { until };
}
