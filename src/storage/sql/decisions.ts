import type { Database } from "../database.ts";
import type {
  DecisionCounts,
  DecisionKey,
  DecisionPosition,
  DecisionQuery,
  DecisionRow,
  DecisionStore,
  StoredDecision,
} from "../stores/decisions.ts";

/** Rows per INSERT. A row has 12 values, and a statement accepts at most 32 766 values. */
const ROWS_PER_INSERT = 500;
/** Name of the lock under which surplus rows are removed. */
const REMOVAL_LOCK = "decisions removal";
/** The position before all decisions of users. An id of a user is not empty. */
const FIRST_OF_USERS: DecisionPosition = { userId: "", at: 0, reference: "" };

/** Writes and reads the stored decisions. */
export class SqlDecisions implements DecisionStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add(
    decisions: readonly StoredDecision[],
    repeats: readonly { readonly reference: string; readonly repeats: number }[],
  ): Promise<void> {
    await this.#database.sharedTransaction(async (db) => {
      for (let from = 0; from < decisions.length; from += ROWS_PER_INSERT) {
        const rows = decisions.slice(from, from + ROWS_PER_INSERT).map(toRow);
        await db.insertInto("sallyport_decisions").values(rows).execute();
      }
      for (const { reference, repeats: added } of repeats) {
        await db
          .updateTable("sallyport_decisions")
          .set(({ eb }) => ({ repeats: eb("repeats", "+", added) }))
          .where("reference", "=", reference)
          .execute();
      }
    });
  }

  find(reference: string): Promise<DecisionRow | undefined> {
    return this.#database.db
      .selectFrom("sallyport_decisions")
      .select(["details", "repeats"])
      .where("reference", "=", reference)
      .executeTakeFirst();
  }

  async list(query: DecisionQuery): Promise<readonly DecisionRow[]> {
    const { user, verdict, reason, since, after, limit } = query;
    let selected = this.#database.db
      .selectFrom("sallyport_decisions")
      .select(["details", "repeats"])
      .orderBy("at", "desc")
      .orderBy("reference")
      .limit(limit);
    if (user !== undefined) selected = selected.where("user_id", "=", user);
    if (verdict !== undefined) selected = selected.where("verdict", "=", verdict);
    if (reason !== undefined) selected = selected.where("reason", "=", reason);
    if (since !== undefined) selected = selected.where("at", ">=", since);
    if (after !== undefined) {
      selected = selected.where(({ and, eb, or }) =>
        or([eb("at", "<", after.at), and([eb("at", "=", after.at), eb("reference", ">", after.reference)])]),
      );
    }
    return selected.execute();
  }

  async removeUntil(until: number, limit: number): Promise<number> {
    const expired = this.#database.db.selectFrom("sallyport_decisions").select("reference");
    const oldest = expired.where("at", "<=", until).orderBy("at").limit(limit);
    // A read takes no lock, and usually there is nothing to remove.
    if (!(await oldest.limit(1).executeTakeFirst())) return 0;
    const { numDeletedRows } = await this.#database.execute((db) =>
      db.deleteFrom("sallyport_decisions").where("reference", "in", oldest).executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  async countByUser(after: DecisionPosition | undefined, limit: number): Promise<DecisionCounts> {
    const page = this.#inOrder(after);
    const last = await page
      .select(["user_id as userId", "at", "reference"])
      .offset(limit - 1)
      .limit(1)
      .executeTakeFirst();
    const end = last && { ...last, at: Number(last.at) };
    // Up to `end`, because another process can remove decisions of this page in between.
    const counted = end ? this.#inOrder(after, end) : page.limit(limit);
    const counts = await this.#database.db
      .selectFrom(counted.select("user_id").as("page"))
      .select(({ fn }) => ["user_id as userId", fn.countAll<number>().as("count")])
      .groupBy("user_id")
      .execute();
    const isWithoutUser = (after?.userId ?? null) === null;
    return {
      counts: counts.map(({ userId, count }) => ({ userId, count: Number(count) })),
      end: end ?? (isWithoutUser ? FIRST_OF_USERS : undefined),
    };
  }

  async positionOf(
    userId: string | null,
    before: DecisionKey | undefined,
    count: number,
  ): Promise<DecisionKey | undefined> {
    const row = await this.#ofUser(userId, { before })
      .select(["at", "reference"])
      .orderBy("user_id", "desc")
      .orderBy("at", "desc")
      .orderBy("reference", "desc")
      .offset(count - 1)
      .limit(1)
      .executeTakeFirst();
    return row && toKey(row);
  }

  async keysOf(
    userId: string | null,
    range: { readonly after: DecisionKey | undefined; readonly before: DecisionKey | undefined },
    limit: number,
  ): Promise<readonly DecisionKey[]> {
    const rows = await this.#ofUser(userId, range)
      .select(["at", "reference"])
      .orderBy("user_id")
      .orderBy("at")
      .orderBy("reference")
      .limit(limit)
      .execute();
    return rows.map(toKey);
  }

  remove(references: readonly string[]): Promise<number> {
    // Two processes can remove the same rows in a different order, and would wait for each other.
    return this.#database.sharedTransaction(
      async (db) => {
        const { numDeletedRows } = await db
          .deleteFrom("sallyport_decisions")
          .where("reference", "in", references)
          .executeTakeFirst();
        return Number(numDeletedRows);
      },
      { lock: REMOVAL_LOCK },
    );
  }

  /** Selects decisions between two positions. Those without a user come before all others. */
  #inOrder(after: DecisionPosition | undefined, end?: DecisionPosition) {
    const { sql } = this.#database;
    if (after === undefined || after.userId === null) {
      const page = this.#ofUser(null, { after }).orderBy("user_id").orderBy("at").orderBy("reference");
      return end ? page.where(sql<boolean>`(at, reference) <= (${end.at}, ${end.reference})`) : page;
    }
    const key = sql`(user_id, at, reference)`;
    const page = this.#database.db
      .selectFrom("sallyport_decisions")
      .where(sql<boolean>`${key} > (${after.userId}, ${after.at}, ${after.reference})`)
      .orderBy("user_id")
      .orderBy("at")
      .orderBy("reference");
    return end ? page.where(sql<boolean>`${key} <= (${end.userId}, ${end.at}, ${end.reference})`) : page;
  }

  /**
   * Selects decisions of a user, or those without a user, between two positions.
   *
   * Order them by all columns of the index. For `user_id is null`, PostgreSQL sorts otherwise.
   */
  #ofUser(
    userId: string | null,
    {
      after,
      before,
    }: { readonly after?: DecisionKey | undefined; readonly before?: DecisionKey | undefined },
  ) {
    const { db, sql } = this.#database;
    let query = db.selectFrom("sallyport_decisions").where("user_id", userId === null ? "is" : "=", userId);
    if (after) query = query.where(sql<boolean>`(at, reference) > (${after.at}, ${after.reference})`);
    if (before) query = query.where(sql<boolean>`(at, reference) < (${before.at}, ${before.reference})`);
    return query;
  }
}

function toKey({ at, reference }: DecisionKey): DecisionKey {
  return { at: Number(at), reference };
}

function toRow(decision: StoredDecision) {
  const { reference, at, event, verdict, reason, userId, connectionKey } = decision;
  const { view, handler, channel, details } = decision;
  return {
    reference,
    at,
    event,
    verdict,
    reason,
    user_id: userId,
    connection_key: connectionKey,
    view,
    handler,
    channel,
    repeats: 0,
    details,
  };
}
