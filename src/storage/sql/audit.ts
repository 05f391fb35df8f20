import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { AuditAction, AuditEntry, AuditQuery, AuditStore, AuditSubject } from "../stores/audit.ts";
import type { ChangeLog } from "./change-log.ts";

/** Writes and reads the audit log. */
export class SqlAudit implements AuditStore {
  readonly #database: Database;
  readonly #changeLog: ChangeLog;

  constructor(database: Database, changeLog: ChangeLog) {
    this.#database = database;
    this.#changeLog = changeLog;
  }

  append(subject: AuditSubject): Promise<void> {
    return this.#database.transaction((db) => this.appendIn(db, subject));
  }

  /** Does the same as {@link append} in a transaction. */
  async appendIn(db: Kysely<Tables>, subject: AuditSubject): Promise<void> {
    await this.record(db, await this.#changeLog.append(db), subject);
  }

  /** Writes an entry in the transaction of the change that it describes. */
  record(db: Kysely<Tables>, number: number, subject: AuditSubject): Promise<void> {
    return this.recordMany(db, number, [subject]);
  }

  /**
   * Writes several entries in one statement, with consecutive numbers.
   *
   * @param first the number of the first entry
   */
  async recordMany(db: Kysely<Tables>, first: number, subjects: readonly AuditSubject[]): Promise<void> {
    if (subjects.length === 0) return;
    await db
      .insertInto("sallyport_audit")
      .values(
        subjects.map((subject, index) => ({
          number: first + index,
          at: this.#database.now,
          action: subject.action,
          made_by: subject.by ?? null,
          reason: subject.reason ?? null,
          user_id: subject.user ?? null,
          group_name: subject.group ?? null,
          permission: subject.permission ?? null,
          details: JSON.stringify(subject.details ?? {}),
        })),
      )
      .execute();
  }

  async removeOlder(thanMs: number, limit: number): Promise<number> {
    const { now } = this.#database;
    const { numDeletedRows } = await this.#database.execute((db) =>
      db
        .deleteFrom("sallyport_audit")
        .where("number", "in", (eb) =>
          eb
            .selectFrom("sallyport_audit as old")
            .select("old.number")
            .where(({ eb: on }) => on("old.at", "<", on(now, "-", thanMs)))
            .orderBy("old.number")
            .limit(limit),
        )
        .executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  async list(query: AuditQuery): Promise<readonly AuditEntry[]> {
    const { user, group, permission, by, since, before, limit } = query;
    const { db } = this.#database;
    let selected = db.selectFrom("sallyport_audit").selectAll().orderBy("number", "desc").limit(limit);
    if (user !== undefined) selected = selected.where("user_id", "=", user);
    if (group !== undefined) selected = selected.where("group_name", "=", group);
    if (permission !== undefined) selected = selected.where("permission", "=", permission);
    if (by !== undefined) selected = selected.where("made_by", "=", by);
    if (since !== undefined) selected = selected.where("at", ">=", since);
    if (before !== undefined) selected = selected.where("number", "<", before);
    return (await selected.execute()).map((row) => ({
      number: Number(row.number),
      at: Number(row.at),
      action: row.action as AuditAction,
      by: row.made_by,
      reason: row.reason,
      user: row.user_id,
      group: row.group_name,
      permission: row.permission,
      details: JSON.parse(row.details) as Record<string, unknown>,
    }));
  }
}
