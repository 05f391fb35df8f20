import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { AuditSubject } from "../stores/audit.ts";
import type { ChangedSubject, ChangeOrigin } from "../stores/changes.ts";
import type {
  ImportedGrant,
  ImportedMembership,
  ImportedRows,
  ImportedUser,
  ImportStore,
} from "../stores/imports.ts";
import type { SqlAudit } from "./audit.ts";
import type { ChangeLog } from "./change-log.ts";
import { ImportedRowReader } from "./imported-rows.ts";
import type { SqlLostChannels } from "./lost-channels.ts";
import type { SqlRevocations } from "./revocations.ts";

/** An audit entry, and the user or group that gains access with it. */
interface Addition {
  readonly audit: AuditSubject;
  readonly gains?: ChangedSubject & { readonly scope: "user" | "group" };
}

/** {@link ImportStore} in SQL. Each page takes about ten statements. */
export class SqlImports implements ImportStore {
  readonly #database: Database;
  readonly #reader: ImportedRowReader;
  readonly #changeLog: ChangeLog;
  readonly #audit: SqlAudit;
  readonly #revocations: SqlRevocations;
  readonly #lostChannels: SqlLostChannels;

  constructor(
    database: Database,
    tables: {
      readonly changeLog: ChangeLog;
      readonly audit: SqlAudit;
      readonly revocations: SqlRevocations;
      readonly lostChannels: SqlLostChannels;
    },
  ) {
    this.#database = database;
    this.#reader = new ImportedRowReader(database);
    this.#changeLog = tables.changeLog;
    this.#audit = tables.audit;
    this.#revocations = tables.revocations;
    this.#lostChannels = tables.lostChannels;
  }

  users(ids: readonly string[]): Promise<readonly ImportedUser[]> {
    return this.#reader.users(this.#database.db, ids);
  }

  missing(rows: ImportedRows): Promise<Required<ImportedRows>> {
    return this.#reader.missing(this.#database.db, rows);
  }

  add(rows: ImportedRows, origin: Pick<ChangeOrigin, "by" | "reason">): Promise<Required<ImportedRows>> {
    return this.#database.transaction(async (db) => {
      const missing = await this.#reader.missing(db, rows);
      await this.#addUsers(db, missing.users);
      await this.#addGroups(db, missing.groups);
      const added = { ...missing, ...(await this.#reader.withHolders(db, missing)) };
      await this.#addMemberships(db, added.memberships, origin);
      await this.#addGrants(db, added.grants, origin);
      await this.#record(db, additionsOf(added), origin);
      return added;
    });
  }

  async #addUsers(db: Kysely<Tables>, users: readonly ImportedUser[]): Promise<void> {
    if (users.length === 0) return;
    await db
      .insertInto("sallyport_users")
      .values(
        users.map(({ id, isActive, isSuperuser }) => ({
          id,
          is_active: isActive ? 1 : 0,
          is_superuser: isSuperuser ? 1 : 0,
          created_at: this.#database.now,
        })),
      )
      .execute();
  }

  async #addGroups(db: Kysely<Tables>, groups: readonly string[]): Promise<void> {
    if (groups.length === 0) return;
    const rows = groups.map((name) => ({ name, created_at: this.#database.now }));
    await db.insertInto("sallyport_groups").values(rows).execute();
  }

  /** An expired row can still exist. It is replaced. */
  async #addMemberships(
    db: Kysely<Tables>,
    memberships: readonly ImportedMembership[],
    origin: Pick<ChangeOrigin, "by" | "reason">,
  ): Promise<void> {
    if (memberships.length === 0) return;
    const terms = this.#terms(origin);
    await db
      .insertInto("sallyport_user_groups")
      .values(memberships.map(({ user, group }) => ({ ...terms, user_id: user, group_name: group })))
      .onConflict((conflict) => conflict.columns(["user_id", "group_name"]).doUpdateSet(terms))
      .execute();
  }

  /** An expired row can still exist. It is replaced. */
  async #addGrants(
    db: Kysely<Tables>,
    grants: readonly ImportedGrant[],
    origin: Pick<ChangeOrigin, "by" | "reason">,
  ): Promise<void> {
    const terms = this.#terms(origin);
    const direct = grants.flatMap(({ holder, permission }) =>
      typeof holder === "string" ? [{ ...terms, user_id: holder, permission }] : [],
    );
    const ofGroups = grants.flatMap(({ holder, permission }) =>
      typeof holder === "string" ? [] : [{ ...terms, group_name: holder.group, permission }],
    );
    if (direct.length > 0) {
      await db
        .insertInto("sallyport_user_permissions")
        .values(direct)
        .onConflict((conflict) => conflict.columns(["user_id", "permission"]).doUpdateSet(terms))
        .execute();
    }
    if (ofGroups.length > 0) {
      await db
        .insertInto("sallyport_group_permissions")
        .values(ofGroups)
        .onConflict((conflict) => conflict.columns(["group_name", "permission"]).doUpdateSet(terms))
        .execute();
    }
  }

  #terms({ by, reason }: Pick<ChangeOrigin, "by" | "reason">) {
    return {
      until_at: null,
      granted_at: this.#database.now,
      granted_by: by ?? null,
      reason: reason ?? null,
    };
  }

  /** Writes the audit entries and the change log, and records whose lost channels must be checked. */
  async #record(
    db: Kysely<Tables>,
    additions: readonly Addition[],
    { by, reason }: Pick<ChangeOrigin, "by" | "reason">,
  ): Promise<void> {
    if (additions.length === 0) return;
    const first = await this.#changeLog.numbers(db, additions.length);
    await this.#audit.recordMany(
      db,
      first,
      additions.map(({ audit }) => ({ ...audit, by, reason })),
    );
    await this.#changeLog.record(
      db,
      additions.map(({ gains }, index) => ({
        number: first + index,
        subjects: gains === undefined ? [] : [gains],
        removes: false,
      })),
    );
    await this.#recordReturns(db, additions, first);
  }

  async #recordReturns(db: Kysely<Tables>, additions: readonly Addition[], first: number): Promise<void> {
    const gaining = new Map(
      additions.flatMap(({ gains }, index) =>
        gains ? [[`${gains.scope} ${gains.subject}`, { gains, number: first + index }] as const] : [],
      ),
    );
    // Usually no connection has lost a channel, and this is the only statement.
    if (!(await this.#lostChannels.exist(db, { scope: "everyone" }))) return;
    for (const { gains, number } of gaining.values()) {
      if (!(await this.#lostChannels.exist(db, gains))) continue;
      await this.#revocations.record(db, gains, number, null, { addsOnly: true });
    }
  }
}

/** Returns the audit entries of added rows. A new user that is active and no superuser has none. */
function additionsOf({ users, groups, memberships, grants }: Required<ImportedRows>): readonly Addition[] {
  return [
    ...users.flatMap(flagsOf),
    ...groups.map((group): Addition => ({ audit: { action: "create-group", group } })),
    ...memberships.map(
      ({ user, group }): Addition => ({
        audit: { action: "add-to-group", user, group },
        gains: { scope: "user", subject: user },
      }),
    ),
    ...grants.map(({ holder, permission }): Addition => {
      if (typeof holder === "string") {
        return {
          audit: { action: "grant", user: holder, permission },
          gains: { scope: "user", subject: holder },
        };
      }
      const { group } = holder;
      return { audit: { action: "grant", group, permission }, gains: { scope: "group", subject: group } };
    }),
  ];
}

function flagsOf({ id, isActive, isSuperuser }: ImportedUser): readonly Addition[] {
  const inactive: Addition = { audit: { action: "set-active", user: id, details: { active: false } } };
  const superuser: Addition = { audit: { action: "set-superuser", user: id, details: { superuser: true } } };
  return [...(isActive ? [] : [inactive]), ...(isSuperuser ? [superuser] : [])];
}
