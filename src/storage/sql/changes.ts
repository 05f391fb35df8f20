import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import {
  type AppliedChange,
  type ChangedSubject,
  type ChangeOrigin,
  type ChangeStore,
  canRemoveAccess,
  canReturnAccess,
  type Declarations,
  EVERYONE,
  type PreviewedChange,
  type RuleConsequences,
  type StoredChange,
  type StoredPermission,
  type StoredRule,
} from "../stores/changes.ts";
import type { RevocationTarget } from "../stores/revocations.ts";
import type { SqlAudit } from "./audit.ts";
import { ChangeEdits, type TableWriters } from "./change-edits.ts";
import { type ChangeLog, MAX_SUBJECTS } from "./change-log.ts";
import { ChangePreview } from "./change-preview.ts";
import { SqlDeclarations } from "./declarations.ts";
import { ExpiredGrants } from "./expired-grants.ts";
import type { SqlLostChannels } from "./lost-channels.ts";
import type { SqlRevocations } from "./revocations.ts";

/** The id of the process in a preview. Its revocation record is rolled back. */
const NO_PROCESS = "preview";

/** Writes changes of permissions, and reads the change log. */
export class SqlChanges implements ChangeStore {
  readonly #database: Database;
  readonly #changeLog: ChangeLog;
  readonly #audit: SqlAudit;
  readonly #revocations: SqlRevocations;
  readonly #lostChannels: SqlLostChannels;
  readonly #declarations: SqlDeclarations;
  readonly #edits: ChangeEdits;
  readonly #preview: ChangePreview;
  readonly #expired: ExpiredGrants;

  constructor(
    database: Database,
    tables: Omit<TableWriters, "declarations"> & {
      readonly changeLog: ChangeLog;
      readonly audit: SqlAudit;
      readonly lostChannels: SqlLostChannels;
    },
  ) {
    this.#database = database;
    this.#changeLog = tables.changeLog;
    this.#audit = tables.audit;
    this.#revocations = tables.revocations;
    this.#lostChannels = tables.lostChannels;
    this.#declarations = new SqlDeclarations(database);
    this.#edits = new ChangeEdits(database, { ...tables, declarations: this.#declarations });
    this.#preview = new ChangePreview(database, tables);
    this.#expired = new ExpiredGrants(database, tables);
  }

  apply(change: StoredChange, origin: ChangeOrigin): Promise<AppliedChange> {
    return this.#database.transaction((db) => this.applyIn(db, change, origin));
  }

  preview(change: StoredChange): Promise<PreviewedChange> {
    const origin = { by: undefined, reason: undefined, claimedBy: NO_PROCESS };
    return this.#database.rollbackTransaction((db) =>
      this.#preview.read(db, () => this.applyIn(db, change, origin, { isTentative: true })),
    );
  }

  /**
   * Writes a change with its audit entry, change log entry and revocation record, in the
   * transaction of the caller.
   *
   * @param isTentative whether the transaction will be rolled back. Then the change has no number
   *   and no audit entry, because the counter would make all other changes wait
   */
  async applyIn(
    db: Kysely<Tables>,
    change: StoredChange,
    origin: ChangeOrigin,
    { isTentative = false }: { readonly isTentative?: boolean } = {},
  ): Promise<AppliedChange> {
    let reserved: Promise<number> | undefined;
    // A change without an effect does not use up a number.
    const nextNumber = () => {
      reserved ??= isTentative ? Promise.resolve(0) : this.#changeLog.number(db);
      return reserved;
    };
    const edit = await this.#edits.edit(change, { db, origin, nextNumber });
    const { pruned = [], affected } = edit;
    if (!edit.changed) {
      const subjects = await this.#subjectsOf(db, affected, undefined);
      const nothing = { number: undefined, affected: undefined, revocationId: undefined };
      return { changed: false, pruned, subjects, ...nothing };
    }
    const { by, reason, claimedBy } = origin;
    const number = await nextNumber();
    if (!isTentative)
      await this.#audit.record(db, number, { action: change.kind, by, reason, ...edit.audit });
    const revocationId =
      edit.recorded ??
      (affected && affected.scope !== "users" && canRemoveAccess(change)
        ? await this.#revocations.record(db, affected, number, claimedBy)
        : undefined);
    if (affected && affected.scope !== "users" && canReturnAccess(change)) {
      await this.#recordReturn(db, affected, number, null);
    }
    const subjects = await this.#subjectsOf(db, affected, revocationId);
    if (!isTentative)
      await this.#changeLog.record(db, [{ number, subjects, removes: canRemoveAccess(change) }]);
    return { changed: true, number, pruned, affected, subjects, revocationId };
  }

  /**
   * Adds a record with which lost channels are checked, if an open connection has lost one.
   *
   * @param claimedBy id of the process that has the first lease. With null, any process can dequeue
   *   it, because a change does not wait for it
   */
  async #recordReturn(
    db: Kysely<Tables>,
    affected: Exclude<RevocationTarget, { readonly scope: "users" }>,
    number: number,
    claimedBy: string | null,
  ): Promise<void> {
    if (!(await this.#lostChannels.exist(db, affected))) return;
    await this.#revocations.record(db, affected, number, claimedBy, { addsOnly: true });
  }

  /** Returns the subjects of a change for the change log. */
  async #subjectsOf(
    db: Kysely<Tables>,
    affected: RevocationTarget | undefined,
    revocationId: string | undefined,
  ): Promise<readonly ChangedSubject[]> {
    if (affected === undefined) return [];
    switch (affected.scope) {
      case "users": {
        if (revocationId === undefined) return EVERYONE;
        const users = await this.#revocations.listed(db, revocationId, MAX_SUBJECTS + 1);
        if (users.length > MAX_SUBJECTS) return EVERYONE;
        return users.map((user) => ({ scope: "user", subject: user }));
      }
      case "everyone":
        return EVERYONE;
      case "deleted-user":
        return [{ scope: "user", subject: affected.subject }];
      default:
        return [{ scope: affected.scope, subject: affected.subject }];
    }
  }

  hasExpired(): Promise<boolean> {
    return this.#expired.haveRows();
  }

  expireGrants(limit: number, origin: Pick<ChangeOrigin, "claimedBy">): Promise<readonly ChangedSubject[]> {
    return this.#database.transaction((db) => this.#expired.expire(db, limit, origin));
  }

  declare(
    { permissions, rules }: Declarations,
    compare: (stored: readonly StoredRule[]) => RuleConsequences | undefined,
    origin: Pick<ChangeOrigin, "claimedBy">,
  ): Promise<{ readonly added: readonly string[]; readonly stale: readonly string[] }> {
    return this.#database.transaction(async (db) => {
      const consequences = compare(await this.#declarations.rules(db));
      await this.#declarations.replaceRules(db, rules);
      if (consequences) await this.#recordConsequences(db, consequences, origin);
      return this.#declarations.syncPermissions(db, permissions);
    });
  }

  /** Records changed rules, and the connections that must be checked. */
  async #recordConsequences(
    db: Kysely<Tables>,
    { audit, subjects }: RuleConsequences,
    { claimedBy }: Pick<ChangeOrigin, "claimedBy">,
  ): Promise<void> {
    const number = await this.#changeLog.append(db, subjects);
    await this.#audit.record(db, number, audit);
    for (const subject of subjects) {
      await this.#revocations.record(db, subject, number, claimedBy);
      // A process of an earlier version would check the channels with its own rules.
      await this.#recordReturn(db, subject, number, claimedBy);
    }
  }

  permissions(): Promise<readonly StoredPermission[]> {
    return this.#declarations.permissions(this.#database.db);
  }

  rules(): Promise<readonly StoredRule[]> {
    return this.#declarations.rules(this.#database.db);
  }

  last(): Promise<number> {
    return this.#changeLog.last(this.#database.db);
  }

  since(
    number: number | undefined,
  ): Promise<{ readonly number: number; readonly subjects: readonly ChangedSubject[] }> {
    return this.#changeLog.since(number);
  }

  removeOld(limit: number): Promise<number> {
    return this.#changeLog.removeOld(limit);
  }
}
