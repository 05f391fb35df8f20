import type { Kysely } from "kysely";
import * as v from "valibot";
import {
  choiceOption,
  instantOption,
  numberOption,
  optionsOf,
  parseOptions,
  rowLimit,
  searchedText,
  wholeNumberOption,
} from "../options.ts";
import { type Database, type Tables, yieldToEventLoop } from "../storage/database.ts";
import type { Decision } from "./decision.ts";
import { DenialCounter, type Repeats, storedReference } from "./denial-counter.ts";

/** Which decisions are stored, and for how long. */
export interface DecisionLogOptions {
  /** The share of allowed events that are stored with their reasons, from 0 to 1. Default 0.01. */
  readonly sampleAllowed?: number | undefined;
  /** How long decisions are stored, in days. Default 30. */
  readonly keepDays?: number | undefined;
  /**
   * The maximum number of stored decisions. If there are more, the oldest decisions of the users
   * with the most decisions are removed. Default 100 000.
   */
  readonly maxRows?: number | undefined;
}

/** The option `decisionLog`, with its defaults. */
export const decisionLogSchema = optionsOf<DecisionLogOptions>()({
  sampleAllowed: v.optional(numberOption(0, 1, "a share from 0 to 1"), 0.01),
  keepDays: v.optional(numberOption(1 / 86_400, 36_500, "a number of days above 0"), 30),
  maxRows: v.optional(wholeNumberOption(1, undefined, "rows"), 100_000),
});

/** Selects stored decisions. They are listed newest first. */
export interface DecisionFilter {
  readonly user?: string | undefined;
  readonly verdict?: "allowed" | "denied" | undefined;
  /** The reason of a denial, such as `permission` or `limit`. */
  readonly reason?: string | undefined;
  /** Only decisions at or after this time: a Date, or epoch milliseconds. */
  readonly since?: number | Date | undefined;
  /** The last decision of the previous page, to list the next page. Default: the first page. */
  readonly after?: Pick<Decision, "at" | "reference"> | undefined;
  /** The maximum number of decisions, from 1 to 1 000. Default 100. */
  readonly limit?: number | undefined;
}

function isReference(value: unknown): boolean {
  return typeof value === "string" && !value.includes("\0");
}

const DECISION_FILTER = optionsOf<DecisionFilter>()({
  user: v.optional(searchedText),
  verdict: v.optional(choiceOption("allowed", "denied")),
  reason: v.optional(searchedText),
  since: v.optional(instantOption),
  after: v.optional(
    v.custom<Pick<Decision, "at" | "reference">>(
      (value) =>
        Number.isSafeInteger((value as Decision | null)?.at) && isReference((value as Decision).reference),
      "must be the last decision of the previous page, with at and reference",
    ),
  ),
  limit: rowLimit,
});

/** The maximum number of rows that one statement of a sweep removes. */
const ROWS_PER_SWEEP = 1000;
/** Rows per INSERT. A row has 12 values, and a statement accepts at most 32 766 values. */
const ROWS_PER_INSERT = 500;
/** The maximum number of statements per sweep. The next sweep removes the remaining rows. */
const MAX_BATCHES = 500;
/** Name of the lock under which surplus rows are counted and removed. */
const SWEEP_LOCK = "decisions sweep";
/** The minimum time between two sweeps, in milliseconds. */
const SWEEP_MS = 60_000;
const DAY_MS = 24 * 60 * 60_000;

/** Receives each stored decision, the number of counted denials, and errors. */
export interface DecisionListener {
  onDecision(decision: Decision): void;
  onError(error: unknown, where: string): void;
}

/** The minimum time between two reports of counted denials, in milliseconds. */
const COUNT_MS = 1000;
/** The number of users that are compared when the table has too many rows. */
const COMPARED_USERS = 200;

/** Stores decisions in a bounded table. Decisions that arrive together are written together. */
export class DecisionLog {
  readonly #database: Database;
  readonly #sampleAllowed: number;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #listener: DecisionListener;
  readonly #counter = new DenialCounter();
  #pending: Decision[] = [];
  #writing: Promise<void> = Promise.resolve();
  #sweptAt = performance.now();
  #countedAt = 0;

  constructor(
    database: Database,
    options: v.InferOutput<typeof decisionLogSchema>,
    listener: DecisionListener,
  ) {
    const { sampleAllowed, keepDays, maxRows } = options;
    this.#database = database;
    this.#sampleAllowed = sampleAllowed;
    this.#keepMs = keepDays * DAY_MS;
    this.#maxRows = maxRows;
    this.#listener = listener;
  }

  /** Returns whether this allowed event is stored, with the probability `sampleAllowed`. */
  isSampled(): boolean {
    return Math.random() < this.#sampleAllowed;
  }

  /**
   * Accepts a decision. It is stored when {@link flush} has resolved.
   *
   * Frequent denials of the same kind are counted instead. Their number is passed to the listener
   * once per second.
   *
   * @returns the reference for the client
   */
  add(decision: Decision): string {
    if (decision.verdict === "denied") {
      const { reference, isStored } = this.#counter.count(decision);
      if (!isStored) return reference;
    }
    this.#pending.push(decision);
    this.#listener.onDecision(decision);
    return decision.reference;
  }

  /** Resolves when all accepted decisions are stored. Failures are passed to `onError`. */
  flush(): Promise<void> {
    if (this.#pending.length > 0) this.#writing = this.#writing.then(() => this.#write([]));
    return this.#writing;
  }

  /**
   * Does the same as {@link flush}. At most once per second, it also stores and reports the counts.
   * This way, a client that repeats a denied request does not cause a write each time.
   */
  flushWithCountsWhenDue(now = Date.now()): Promise<void> {
    // Also due if the clock was set back.
    return Math.abs(now - this.#countedAt) < COUNT_MS ? this.flush() : this.flushWithCounts(now);
  }

  /** Stores all accepted decisions, and stores and reports the counts. */
  flushWithCounts(now = Date.now()): Promise<void> {
    this.#countedAt = now;
    const counts = this.#counter.add(now);
    for (const { decision, storedAs, repeats } of counts) {
      this.#listener.onDecision({ ...decision, reference: storedAs ?? decision.reference, repeats });
    }
    if (counts.length === 0) return this.flush();
    this.#writing = this.#writing.then(() => this.#write(counts));
    return this.#writing;
  }

  /**
   * Removes expired and surplus decisions, at most once per minute. Failures are passed to
   * `onError`.
   */
  async sweep(): Promise<void> {
    if (performance.now() - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = performance.now();
    try {
      for (let batch = 0; batch < MAX_BATCHES; batch++) {
        if ((await this.removeOld(ROWS_PER_SWEEP)) === 0) return;
        await yieldToEventLoop();
      }
    } catch (error) {
      this.#listener.onError(error, "removing old decisions");
    }
  }

  /**
   * Returns the decision with a reference, or undefined. For a denial that was only counted, it
   * returns the stored denial of the same kind, with `isCounted`.
   */
  async find(reference: string): Promise<Decision | undefined> {
    await this.flushWithCounts();
    const { stored, isCounted } = storedReference(reference);
    const row = await this.#database.db
      .selectFrom("sallyport_decisions")
      .select(["details", "repeats"])
      .where("reference", "=", stored)
      .executeTakeFirst();
    if (!row) return undefined;
    return isCounted ? { ...fromRow(row), isCounted } : fromRow(row);
  }

  /**
   * Returns the decisions that match a filter, newest first.
   *
   * @throws ConfigurationError with the name of the filter, its value and what to change
   */
  async list(filter: DecisionFilter = {}): Promise<readonly Decision[]> {
    const { user, verdict, reason, since, after, limit } = parseOptions(
      "decisions()",
      DECISION_FILTER,
      filter,
    );
    await this.flushWithCounts();
    let query = this.#database.db
      .selectFrom("sallyport_decisions")
      .select(["details", "repeats"])
      .orderBy("at", "desc")
      .orderBy("reference")
      .limit(limit);
    if (user !== undefined) query = query.where("user_id", "=", user);
    if (verdict !== undefined) query = query.where("verdict", "=", verdict);
    if (reason !== undefined) query = query.where("reason", "=", reason);
    if (since !== undefined) query = query.where("at", ">=", since);
    if (after !== undefined) {
      query = query.where(({ and, eb, or }) =>
        or([eb("at", "<", after.at), and([eb("at", "=", after.at), eb("reference", ">", after.reference)])]),
      );
    }
    return (await query.execute()).map(fromRow);
  }

  async #write(counted: readonly Repeats[]): Promise<void> {
    const decisions = this.#pending.splice(0);
    if (decisions.length + counted.length === 0) return;
    try {
      await this.#database.sharedTransaction(async (db) => {
        for (let from = 0; from < decisions.length; from += ROWS_PER_INSERT) {
          const rows = decisions.slice(from, from + ROWS_PER_INSERT).map(toRow);
          await db.insertInto("sallyport_decisions").values(rows).execute();
        }
        for (const { storedAs, repeats } of counted) {
          if (storedAs === undefined) continue;
          await db
            .updateTable("sallyport_decisions")
            .set(({ eb }) => ({ repeats: eb("repeats", "+", repeats) }))
            .where("reference", "=", storedAs)
            .execute();
        }
      });
    } catch (error) {
      this.#listener.onError(error, `storing ${decisions.length} decisions`);
    }
  }

  /**
   * Removes expired decisions. If there are none, removes surplus decisions.
   *
   * @returns how many were removed, at most `limit`
   */
  async removeOld(limit: number): Promise<number> {
    return (await this.#removeExpired(limit)) || (await this.#removeSurplus(limit));
  }

  async #removeExpired(limit: number): Promise<number> {
    const until = Date.now() - this.#keepMs;
    const expired = this.#database.db.selectFrom("sallyport_decisions").select("reference");
    const oldest = expired.where("at", "<=", until).orderBy("at").limit(limit);
    // A read takes no lock, and usually there is nothing to remove.
    if (!(await oldest.limit(1).executeTakeFirst())) return 0;
    const { numDeletedRows } = await this.#database.execute((db) =>
      db.deleteFrom("sallyport_decisions").where("reference", "in", oldest).executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  /**
   * Removes the oldest rows of the users with the most rows. Users with few rows keep them. Clients
   * without a user count as one user.
   */
  async #removeSurplus(limit: number): Promise<number> {
    const rows = await this.#database.db
      .selectFrom("sallyport_decisions")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirst();
    if (Number(rows?.count ?? 0) <= this.#maxRows) return 0;
    // Other processes can do the same, so the rows are counted and removed under one lock.
    return this.#database.sharedTransaction((db) => this.#removeOldestOfMost(db, limit), {
      lock: SWEEP_LOCK,
      isSlow: true,
    });
  }

  async #removeOldestOfMost(db: Kysely<Tables>, limit: number): Promise<number> {
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
    const surplus = Number(users[0]?.total ?? 0) - this.#maxRows;
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
      const oldest = db
        .selectFrom("sallyport_decisions")
        .select("reference")
        .where("user_id", user_id === null ? "is" : "=", user_id)
        .orderBy("at")
        .orderBy("reference", "desc")
        .limit(rows);
      const { numDeletedRows } = await db
        .deleteFrom("sallyport_decisions")
        .where("reference", "in", oldest)
        .executeTakeFirst();
      removed += Number(numDeletedRows);
    }
    return removed;
  }
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

function toRow(decision: Decision) {
  const { reference, at, event, verdict, reason, userId, connectionKey, view, handler, channel } = decision;
  return {
    reference,
    at,
    event,
    verdict,
    reason: reason ?? null,
    user_id: userId ?? null,
    connection_key: connectionKey ?? null,
    view: view ?? null,
    handler: handler ?? null,
    channel: channel ?? null,
    repeats: 0,
    details: JSON.stringify(decision),
  };
}

function fromRow(row: { readonly details: string; readonly repeats: number }): Decision {
  return { ...(JSON.parse(row.details) as Decision), repeats: row.repeats };
}
