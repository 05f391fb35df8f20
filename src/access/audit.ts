import type { Kysely } from "kysely";
import { ConfigurationError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { shown } from "../shown.ts";
import type { Database, Tables } from "../storage/database.ts";

/** What can be done to rights and sockets, as the audit names it. */
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
  | "close-sessions"
  | "rules-changed"
  | "expired"
  | "provision";

/** One thing that was done. */
export interface AuditEntry {
  /** Counts up by the order in which changes were committed; other writes may leave gaps. */
  readonly number: number;
  /** Epoch milliseconds by the database's clock. */
  readonly at: number;
  readonly action: AuditAction;
  /** Who did it, as the caller said; null where nobody did. */
  readonly by: string | null;
  readonly reason: string | null;
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  /** What else there is to know, such as `until` or `channel`. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** What an entry says besides its number and instant. */
export interface AuditSubject {
  readonly action: AuditAction;
  readonly by?: string | null | undefined;
  readonly reason?: string | null | undefined;
  readonly user?: string | null | undefined;
  readonly group?: string | null | undefined;
  readonly permission?: string | null | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** Which entries, the newest first. */
export interface AuditFilter {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly permission?: string | undefined;
  readonly by?: string | undefined;
  /** Epoch milliseconds, or a Date; that instant included. */
  readonly since?: number | Date | undefined;
  /** Entries with smaller numbers, for the next page. */
  readonly before?: number | undefined;
  /** At most this many. Default 100, at most 1 000. */
  readonly limit?: number | undefined;
}

/** Who did what, when and why. Append-only: nothing here changes an entry, and only a cleanup takes old ones away. */
export class Audit {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Writes an entry in the transaction of what it tells. */
  async record(db: Kysely<Tables>, number: number, subject: AuditSubject): Promise<void> {
    await db
      .insertInto("sallyport_audit")
      .values({
        number,
        at: this.#database.now,
        action: subject.action,
        made_by: subject.by ?? null,
        reason: subject.reason ?? null,
        user_id: subject.user ?? null,
        group_name: subject.group ?? null,
        permission: subject.permission ?? null,
        details: JSON.stringify(subject.details ?? {}),
      })
      .execute();
  }

  /** Removes entries older than so many milliseconds. @returns how many, at most `limit` */
  async removeOlder(thanMs: number, limit: number): Promise<number> {
    const { now } = this.#database;
    const { numDeletedRows } = await this.#database.writeOne((db) =>
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

  /** @throws ConfigurationError for a limit or instant that is none */
  async list(filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    checkFilter("audit()", filter, ["user", "group", "permission", "by"], ["since", "before", "limit"]);
    const { db } = this.#database;
    let query = db
      .selectFrom("sallyport_audit")
      .selectAll()
      .orderBy("number", "desc")
      .limit(checkedLimit(filter.limit));
    if (filter.user !== undefined) query = query.where("user_id", "=", filter.user);
    if (filter.group !== undefined) query = query.where("group_name", "=", filter.group);
    if (filter.permission !== undefined) query = query.where("permission", "=", filter.permission);
    if (filter.by !== undefined) query = query.where("made_by", "=", filter.by);
    if (filter.since !== undefined) query = query.where("at", ">=", checkedInstant("since", filter.since));
    if (filter.before !== undefined)
      query = query.where("number", "<", checkedInstant("before", filter.before));
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

/** @throws ConfigurationError for what is no number of rows */
export function checkedLimit(limit = 100): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return limit;
  throw new ConfigurationError(`limit is a whole number from 1 to 1000, not ${JSON.stringify(limit)}.`);
}

/** @throws ConfigurationError for what is no instant */
export function checkedInstant(name: string, value: number | Date): number {
  const instant = typeof value === "number" || value instanceof Date ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(instant)) return instant;
  throw new ConfigurationError(`${name} is an instant: a Date, or whole epoch milliseconds.`);
}

/**
 * A misspelt filter must not pass for none.
 *
 * @param texts fields that are text, the `others` are looked at by whoever uses them
 * @throws ConfigurationError for a field that there is not, or a value that none can have
 */
export function checkFilter(
  owner: string,
  filter: object,
  texts: readonly string[],
  others: readonly string[],
): void {
  if (typeof filter !== "object" || filter === null) {
    throw new ConfigurationError(`${owner} takes a filter, not ${shown(filter)}.`);
  }
  for (const [name, value] of Object.entries(filter)) {
    const isText = texts.includes(name);
    if (!isText && !others.includes(name)) {
      throw new ConfigurationError(
        `${owner} has no filter "${name}".${nearest(name, [...texts, ...others])}`,
      );
    }
    if (isText && value !== undefined && (typeof value !== "string" || value.includes("\0"))) {
      throw new ConfigurationError(`${owner}: ${name} is text without NUL, not ${shown(value)}.`);
    }
  }
}
