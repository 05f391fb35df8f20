import type { Kysely } from "kysely";
import type { Database, Tables } from "../database.ts";
import type { DecisionQuery, DecisionRow, DecisionStore, StoredDecision } from "../stores/decisions.ts";

/** Rows per INSERT. A row has 12 values, and a statement accepts at most 32 766 values. */
const ROWS_PER_INSERT = 500;
/** Name of the lock under which surplus rows are counted and removed. */
const SWEEP_LOCK = "decisions sweep";
/** The number of users that are compared when the table has too many rows. */
const COMPARED_USERS = 200;

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

  async removeSurplus(maxRows: number, limit: number): Promise<number> {
    const rows = await this.#database.db
      .selectFrom("sallyport_decisions")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirst();
    if (Number(rows?.count ?? 0) <= maxRows) return 0;
    // Other processes can do the same, so the rows are counted and removed under one lock.
    return this.#database.sharedTransaction((db) => this.#removeOldestOfMost(db, maxRows, limit), {
      lock: SWEEP_LOCK,
      isSlow: true,
    });
  }

  async #removeOldestOfMost(db: Kysely<Tables>, maxRows: number, limit: number): Promise<number> {
    const users = await db
      .selectFrom("sallyport_decisions")
      .select(({ fn }) => [
        "user_id",
        fn.countAll<number>().as("count"),
        this.#database.sql<number>`sum(count(*)) over ()`.as("total"),
      ])
      .groupBy("user_id")
      .orderBy("count", "desc")
      .limit(COMPARED_USERS)
      .execute();
    const surplus = Number(users[0]?.total ?? 0) - maxRows;
    if (surplus <= 0) return 0;
    const counts = users.map(({ count }) => Number(count));
    // Other users have at most as many rows as the last user here. The next batch compares them.
    const least = users.length < COMPARED_USERS ? 0 : Math.min(counts.at(-1) ?? 0, (counts[0] ?? 1) - 1);
    const share = Math.max(fairShare(counts, surplus), least);
    let removed = 0;
    // Counting reads the whole table, so one count is used for many users.
    for (const { user_id, count } of users) {
      const rows = Math.min(Number(count) - share, surplus - removed, limit - removed);
      if (rows <= 0) break;
      removed += await removeOldestOf(db, user_id, rows);
    }
    return removed;
  }
}

async function removeOldestOf(db: Kysely<Tables>, user: string | null, rows: number): Promise<number> {
  const oldest = db
    .selectFrom("sallyport_decisions")
    .select("reference")
    .where("user_id", user === null ? "is" : "=", user)
    .orderBy("at")
    .orderBy("reference", "desc")
    .limit(rows);
  const { numDeletedRows } = await db
    .deleteFrom("sallyport_decisions")
    .where("reference", "in", oldest)
    .executeTakeFirst();
  return Number(numDeletedRows);
}

/**
 * Returns how many rows each user can keep. The users with more rows lose `surplus` rows in total.
 *
 * @param counts the number of rows of each user, largest first
 */
export function fairShare(counts: readonly number[], surplus: number): number {
  let [sum, users] = [0, 0];
  for (const [index, count] of counts.entries()) {
    sum += count;
    users = index + 1;
    // The users so far can lose the surplus and still have as many rows as the next user.
    if (sum - users * (counts[users] ?? 0) >= surplus) break;
  }
  return Math.max(0, Math.floor((sum - surplus) / users));
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
