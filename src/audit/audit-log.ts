import type { Kysely } from "kysely";
import * as v from "valibot";
import {
  instantOption,
  optionsOf,
  parseOptions,
  rowLimit,
  searchedGroup,
  searchedText,
  wholeNumberOption,
} from "../options.ts";
import type { Database, Tables } from "../storage/database.ts";

/** The changes of permissions, connections and gateways that the audit log records. */
export type AuditAction =
  | "grant"
  | "revoke"
  | "add-to-group"
  | "remove-from-group"
  | "create-group"
  | "delete-group"
  | "set-active"
  | "set-superuser"
  | "delete-user"
  | "prune-permissions"
  | "end-session"
  | "recheck"
  | "close-connections"
  | "clear-limits"
  | "rules-changed"
  | "expired"
  | "provision";

/** One recorded change. */
export interface AuditEntry {
  /** Increases in the order in which changes were committed. Other writes may leave gaps. */
  readonly number: number;
  /** Time of the change in epoch milliseconds, by the clock of the database. */
  readonly at: number;
  readonly action: AuditAction;
  /** Who made the change, as the caller stated, or null if the caller stated no name. */
  readonly by: string | null;
  readonly reason: string | null;
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  /** Other facts about the change, such as `until` or `channel`. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** The fields of an entry, except for its number and time. */
export interface AuditSubject {
  readonly action: AuditAction;
  readonly by?: string | null | undefined;
  readonly reason?: string | null | undefined;
  readonly user?: string | null | undefined;
  readonly group?: string | null | undefined;
  readonly permission?: string | null | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** Selects entries of the audit log. They are listed newest first. */
export interface AuditFilter {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly permission?: string | undefined;
  readonly by?: string | undefined;
  /** Only entries at or after this time: a Date, or epoch milliseconds. */
  readonly since?: number | Date | undefined;
  /** Only entries with smaller numbers. For the next page, pass the number of the last entry. */
  readonly before?: number | undefined;
  /** The maximum number of entries, from 1 to 1 000. Default 100. */
  readonly limit?: number | undefined;
}

const AUDIT_FILTER = optionsOf<AuditFilter>()({
  user: v.optional(searchedText),
  group: v.optional(searchedGroup),
  permission: v.optional(searchedText),
  by: v.optional(searchedText),
  since: v.optional(instantOption),
  before: v.optional(wholeNumberOption(0)),
  limit: rowLimit,
});

/** The append-only record of who changed what, when and why. Only a cleanup removes old entries. */
export class Audit {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
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

  /**
   * Removes entries that are older than the given number of milliseconds.
   *
   * @returns how many were removed, at most `limit`
   */
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

  /**
   * Returns the entries that match a filter, newest first.
   *
   * @throws ConfigurationError with the name of the filter, its value and what to change
   */
  async list(filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    const { user, group, permission, by, since, before, limit } = parseOptions(
      "audit()",
      AUDIT_FILTER,
      filter,
    );
    const { db } = this.#database;
    let query = db.selectFrom("sallyport_audit").selectAll().orderBy("number", "desc").limit(limit);
    if (user !== undefined) query = query.where("user_id", "=", user);
    if (group !== undefined) query = query.where("group_name", "=", group);
    if (permission !== undefined) query = query.where("permission", "=", permission);
    if (by !== undefined) query = query.where("made_by", "=", by);
    if (since !== undefined) query = query.where("at", ">=", since);
    if (before !== undefined) query = query.where("number", "<", before);
    return (await query.execute()).map((row) => ({
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
