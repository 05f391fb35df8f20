import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { ChangedSubject, ChangeOrigin } from "../stores/changes.ts";
import type { SqlAudit } from "./audit.ts";
import type { ChangeLog } from "./change-log.ts";
import type { SqlRevocations } from "./revocations.ts";

/** A grant or a membership that has expired. */
export interface ExpiredGrant {
  readonly user: string | null;
  readonly group: string | null;
  readonly permission: string | null;
  readonly until: number;
}

/**
 * Maximum number of users with a record each. With more expired users, one record lists all of
 * them, and their decisions do not reference the audit entry.
 */
const RECORDS_PER_EXPIRY = 100;

/** Deletes expired grants and memberships, and records what follows. */
export class ExpiredGrants {
  readonly #database: Database;
  readonly #changeLog: ChangeLog;
  readonly #audit: SqlAudit;
  readonly #revocations: SqlRevocations;

  constructor(
    database: Database,
    tables: {
      readonly changeLog: ChangeLog;
      readonly audit: SqlAudit;
      readonly revocations: SqlRevocations;
    },
  ) {
    this.#database = database;
    this.#changeLog = tables.changeLog;
    this.#audit = tables.audit;
    this.#revocations = tables.revocations;
  }

  /** Returns whether any grant or membership has expired. It only reads, so it takes no lock. */
  async haveRows(): Promise<boolean> {
    const { db, now } = this.#database;
    const ended = db
      .selectFrom("sallyport_user_permissions")
      .select("user_id as id")
      .where("until_at", "<=", now)
      .unionAll(db.selectFrom("sallyport_user_groups").select("user_id as id").where("until_at", "<=", now))
      .unionAll(
        db.selectFrom("sallyport_group_permissions").select("group_name as id").where("until_at", "<=", now),
      );
    return (await ended.limit(1).executeTakeFirst()) !== undefined;
  }

  /**
   * Deletes up to `limit` expired grants in at most nine statements, with their audit entries and
   * revocation records.
   *
   * @returns the subject of each grant
   */
  async expire(
    db: Kysely<Tables>,
    limit: number,
    { claimedBy }: Pick<ChangeOrigin, "claimedBy">,
  ): Promise<readonly ChangedSubject[]> {
    const expired = await this.#deleteRows(db, limit);
    if (expired.length === 0) return [];
    const first = await this.#changeLog.numbers(db, expired.length);
    const subjects = expired.map(
      ({ user, group }): ChangedSubject =>
        user === null ? { scope: "group", subject: group ?? "" } : { scope: "user", subject: user },
    );
    await this.#changeLog.record(
      db,
      subjects.map((subject, index) => ({ number: first + index, subjects: [subject], removes: true })),
    );
    await this.#audit.recordMany(
      db,
      first,
      expired.map(({ user, group, permission, until }) => ({
        ...{ action: "expired", by: "sallyport", user, group, permission },
        details: { until },
      })),
    );
    await this.#recordRevocations(db, subjects, first, claimedBy);
    return subjects;
  }

  /** @param first the number of the first change */
  async #recordRevocations(
    db: Kysely<Tables>,
    subjects: readonly ChangedSubject[],
    first: number,
    claimedBy: string,
  ): Promise<void> {
    const users = new Map<string, number>();
    const groups = new Map<string, number>();
    subjects.forEach(({ scope, subject }, index) => {
      (scope === "user" ? users : groups).set(subject, first + index);
    });
    const isListed = users.size > RECORDS_PER_EXPIRY;
    if (isListed) {
      await this.#revocations.record(db, { scope: "users", users: [...users.keys()] }, null, claimedBy);
    }
    const records = [
      ...[...groups].map(([subject, change]) => ({ scope: "group", subject, change }) as const),
      ...(isListed
        ? []
        : [...users].map(([subject, change]) => ({ scope: "user", subject, change }) as const)),
    ];
    await this.#revocations.recordMany(db, records, claimedBy);
  }

  /** Deletes the rows of at most `limit` expired grants and memberships, and returns them. */
  async #deleteRows(db: Kysely<Tables>, limit: number): Promise<readonly ExpiredGrant[]> {
    const { now } = this.#database;
    const direct = await db
      .deleteFrom("sallyport_user_permissions")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("user_id", "permission"),
          "in",
          selectFrom("sallyport_user_permissions as expired")
            .select(["expired.user_id", "expired.permission"])
            .where("expired.until_at", "<=", now)
            .limit(limit)
            .$asTuple("user_id", "permission"),
        ),
      )
      .returning(["user_id", "permission", "until_at"])
      .execute();
    const memberships = await db
      .deleteFrom("sallyport_user_groups")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("user_id", "group_name"),
          "in",
          selectFrom("sallyport_user_groups as expired")
            .select(["expired.user_id", "expired.group_name"])
            .where("expired.until_at", "<=", now)
            .limit(limit - direct.length)
            .$asTuple("user_id", "group_name"),
        ),
      )
      .returning(["user_id", "group_name", "until_at"])
      .execute();
    const groups = await db
      .deleteFrom("sallyport_group_permissions")
      .where(({ eb, refTuple, selectFrom }) =>
        eb(
          refTuple("group_name", "permission"),
          "in",
          selectFrom("sallyport_group_permissions as expired")
            .select(["expired.group_name", "expired.permission"])
            .where("expired.until_at", "<=", now)
            .limit(limit - direct.length - memberships.length)
            .$asTuple("group_name", "permission"),
        ),
      )
      .returning(["group_name", "permission", "until_at"])
      .execute();
    return [...direct, ...memberships, ...groups].map(fromRow);
  }
}

function fromRow(row: {
  user_id?: string;
  group_name?: string;
  permission?: string;
  until_at: number | null;
}): ExpiredGrant {
  return {
    user: row.user_id ?? null,
    group: row.group_name ?? null,
    permission: row.permission ?? null,
    until: Number(row.until_at),
  };
}
