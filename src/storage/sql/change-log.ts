import type { Expression, Kysely, RawBuilder, SqlBool } from "kysely";
import { CHANGES, changesRecorded, type Database, type Sql, type Tables } from "../database.ts";
import { type ChangedSubject, EVERYONE } from "../stores/changes.ts";

/** Maximum number of changes per read. With more, every subject counts as changed. */
const MAX_READ = 1000;
/** Maximum number of subjects per change. With more, the change is recorded for everyone. */
export const MAX_SUBJECTS = 200;
/**
 * How long a change is kept, in milliseconds. For a later reader, every subject counts as changed.
 */
const KEEP_MS = 10 * 60_000;
/** Maximum number of rows per INSERT. A row has five values. */
const ROWS_PER_INSERT = 500;

/** The number of a change, and what it changed. */
export interface LoggedChange {
  readonly number: number;
  /** Empty for a change that affects no connection, such as the provisioning of a gateway. */
  readonly subjects: readonly ChangedSubject[];
  /**
   * `false` if the change only added permissions. Permissions that were read before stay valid
   * then.
   */
  readonly removes: boolean;
}

/** The user, session, view and channel of a connection. Its permissions were read before. */
export interface Affected {
  /** `null` without a signed-in user. */
  readonly userId: string | null;
  /** Hash of the session id of the app, or `null`. */
  readonly sessionId: string | null;
  readonly view: string;
  /** `undefined` without a channel. */
  readonly channel: string | undefined;
}

/**
 * Numbers the permission changes and records the subjects of each. With it, a process can check
 * whether permissions that it read before are outdated.
 *
 * Numbers have no gaps. The counter is raised in the transaction of the change, and its row stays
 * locked until the commit. If a number has no row, its subjects are not known. It then counts as a
 * change for everyone.
 */
export class ChangeLog {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Returns the number of a change, in the order of commits. The same transaction must {@link
   * record} it.
   */
  number(db: Kysely<Tables>): Promise<number> {
    return this.numbers(db, 1);
  }

  /** Reserves numbers for several changes of one transaction. @returns the first of them */
  async numbers(db: Kysely<Tables>, count: number): Promise<number> {
    const row = await db
      .insertInto("sallyport_counters")
      .values({ key: CHANGES, window_started_at: 0, count })
      .onConflict((conflict) =>
        conflict
          .column("key")
          .doUpdateSet(({ eb }) => ({ count: eb("sallyport_counters.count", "+", count) })),
      )
      .returning(["count", this.#database.notification.as("notified")])
      .executeTakeFirstOrThrow();
    return Number(row.count) - count + 1;
  }

  /** Records the subjects of numbered changes. Call it in the transaction of the changes. */
  async record(db: Kysely<Tables>, changes: readonly LoggedChange[]): Promise<void> {
    const rows = changes.flatMap(({ number, subjects, removes }) => {
      const recorded = subjects.length > MAX_SUBJECTS ? EVERYONE : subjects;
      return (recorded.length > 0 ? recorded : [NOTHING]).map(({ scope, subject }) => ({
        number,
        scope,
        subject,
        removes: removes && recorded.length > 0 ? (1 as const) : (0 as const),
        recorded_at: this.#database.now,
      }));
    });
    for (let from = 0; from < rows.length; from += ROWS_PER_INSERT) {
      await db
        .insertInto("sallyport_changes")
        .values(rows.slice(from, from + ROWS_PER_INSERT))
        .onConflict((conflict) => conflict.columns(["number", "scope", "subject"]).doNothing())
        .execute();
    }
  }

  /** Numbers and records one change. @returns its number */
  async append(
    db: Kysely<Tables>,
    subjects: readonly ChangedSubject[] = [],
    options: { readonly removes?: boolean } = {},
  ): Promise<number> {
    const number = await this.number(db);
    await this.record(db, [{ number, subjects, removes: options.removes ?? true }]);
    return number;
  }

  /** Returns the number of the last change, 0 if there was none. */
  async last(db: Kysely<Tables>): Promise<number> {
    const row = await db
      .selectFrom("sallyport_counters")
      .select("count")
      .where("key", "=", CHANGES)
      .executeTakeFirst();
    return Number(row?.count ?? 0);
  }

  /**
   * Returns the subjects that may have lost access after a change, and the number of the last
   * change.
   *
   * @param number number of the last change that the caller has read. With `undefined`, every
   *   subject counts as changed
   */
  async since(
    number: number | undefined,
  ): Promise<{ readonly number: number; readonly subjects: readonly ChangedSubject[] }> {
    const { db, sql } = this.#database;
    const rows = await db
      .selectFrom(
        db.selectNoFrom(() => sql<number>`coalesce(${changesRecorded(db)}, 0)`.as("last")).as("counted"),
      )
      .leftJoin("sallyport_changes as change", (join) => join.on("change.number", ">", number ?? NO_NUMBER))
      .select(["counted.last", "change.number", "change.scope", "change.subject", "change.removes"])
      .orderBy("change.number")
      .limit(MAX_READ)
      .execute();
    const last = Number(rows[0]?.last ?? 0);
    const read = new Set<number>();
    const subjects: ChangedSubject[] = [];
    for (const { number: one, scope, subject, removes } of rows) {
      if (one === null || scope === null || subject === null) continue;
      read.add(Number(one));
      if (removes === 1) subjects.push({ scope, subject } as ChangedSubject);
    }
    const isComplete = number !== undefined && read.size === last - number && rows.length < MAX_READ;
    return { number: last, subjects: isComplete ? subjects : EVERYONE };
  }

  /**
   * Returns an SQL condition that is true if a connection can have lost access after `since`.
   *
   * @param since number of the last change before the permissions were read
   */
  affects(
    db: Kysely<Tables>,
    { userId, sessionId, view, channel }: Readonly<Record<keyof Affected, Expression<string | null>>>,
    since: Expression<number>,
  ): RawBuilder<SqlBool> {
    const { sql } = this.#database;
    const changes = db.selectFrom("sallyport_changes as change").where("change.number", ">", since);
    const known = changes.select(({ fn }) => fn.count<number>("change.number").distinct().as("known"));
    const groups = db
      .selectFrom("sallyport_user_groups as member")
      .select("member.group_name")
      .where("member.user_id", "=", userId as Expression<string>);
    const affecting = changes
      .select("change.number")
      .where("change.removes", "=", 1)
      .where((eb) => {
        const is = (scope: ChangedSubject["scope"], subject: Expression<string | null>) =>
          eb.and([
            eb("change.scope", "=", sql.lit(scope)),
            eb("change.subject", "=", subject as Expression<string>),
          ]);
        return eb.or([
          eb("change.scope", "=", sql.lit("everyone")),
          is("user", userId),
          is("session", sessionId),
          is("view", view),
          is("channel", channel),
          eb.and([eb("change.scope", "=", sql.lit("group")), eb("change.subject", "in", groups)]),
        ]);
      });
    return sql<SqlBool>`(coalesce(${changesRecorded(db)}, 0) - ${since} <> ${known} or exists ${affecting})`;
  }

  /** Evaluates {@link affects} for one connection. Returns the number of the last change too. */
  async check(
    db: Kysely<Tables>,
    affected: Affected,
    since: number,
  ): Promise<{ readonly last: number; readonly isAffected: boolean }> {
    const { sql } = this.#database;
    const condition = this.affects(db, textsOf(sql, affected), sql<number>`cast(${since} as bigint)`);
    const row = await db
      .selectNoFrom(() => [
        sql<number>`coalesce(${changesRecorded(db)}, 0)`.as("last"),
        sql<number>`case when ${condition} then 1 else 0 end`.as("is_affected"),
      ])
      .executeTakeFirstOrThrow();
    return { last: Number(row.last), isAffected: Number(row.is_affected) === 1 };
  }

  /**
   * Removes changes that are older than ten minutes.
   *
   * @param limit maximum number of rows to remove
   * @returns the number of removed rows
   */
  async removeOld(limit: number): Promise<number> {
    const { now } = this.#database;
    const old = this.#database.db
      .selectFrom("sallyport_changes")
      .select("number")
      .where(({ eb }) => eb("recorded_at", "<", eb(now, "-", KEEP_MS)))
      .orderBy("number")
      .limit(limit);
    // A read takes no lock, and usually no row is old enough.
    if (!(await old.limit(1).executeTakeFirst())) return 0;
    const { numDeletedRows } = await this.#database.execute((db) =>
      db.deleteFrom("sallyport_changes").where("number", "in", old).executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }
}

/** Greater than the number of any change. */
const NO_NUMBER = 2 ** 52;
/** The subject of a change that affects no connection. */
const NOTHING = { scope: "nothing", subject: "" } as const;

function textsOf(sql: Sql, { userId, sessionId, view, channel }: Affected) {
  const text = (value: string | null) => sql<string | null>`cast(${value} as text)`;
  return {
    userId: text(userId),
    sessionId: text(sessionId),
    view: text(view),
    channel: text(channel ?? null),
  };
}
