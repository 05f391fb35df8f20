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
import type { Database } from "../storage/database.ts";
import type { Decision } from "./decisions.ts";

/** What is kept of decisions, and how long. */
export interface DecisionLogOptions {
  /** The share of allowed events that are stored with their reasons, from 0 to 1. Default 0.01. */
  readonly sampleAllowed?: number | undefined;
  /** How long decisions are stored, in days. Default 30. */
  readonly keepDays?: number | undefined;
  /** Maximum number of stored decisions. The oldest are removed first. Default 100 000. */
  readonly maxRows?: number | undefined;
}

/** The option `decisionLog`, with its defaults. */
export const decisionLogSchema = optionsOf<DecisionLogOptions>()({
  sampleAllowed: v.optional(numberOption(0, 1, "a share from 0 to 1"), 0.01),
  keepDays: v.optional(numberOption(1 / 86_400, 36_500, "a number of days above 0"), 30),
  maxRows: v.optional(wholeNumberOption(1, undefined, "rows"), 100_000),
});

/** Which decisions, the newest first. */
export interface DecisionFilter {
  readonly user?: string | undefined;
  readonly verdict?: "allowed" | "refused" | undefined;
  /** Why it was refused, such as `permission` or `limit`. */
  readonly reason?: string | undefined;
  /** Epoch milliseconds, or a Date; that instant included. */
  readonly since?: number | Date | undefined;
  /** At most this many. Default 100, at most 1 000. */
  readonly limit?: number | undefined;
}

const DECISION_FILTER = optionsOf<DecisionFilter>()({
  user: v.optional(searchedText),
  verdict: v.optional(choiceOption("allowed", "refused")),
  reason: v.optional(searchedText),
  since: v.optional(instantOption),
  limit: rowLimit,
});

/** Refusals of one user for one reason that are kept in a window; further ones are counted on the last of them. */
const KEPT_PER_WINDOW = 60;
/** As many of the sends that passed a recipient by: a lively channel would fill the table with one user. */
const KEPT_DELIVERIES_PER_WINDOW = 1;
const WINDOW_MS = 60_000;
/** Rows that one statement of a sweep removes. */
const ROWS_PER_SWEEP = 1000;
/** Rows in one INSERT; a row has 12 values, and a statement takes 32 766. */
const ROWS_PER_INSERT = 500;
/** How often what is too old or too much is swept, in milliseconds. */
const SWEEP_MS = 60_000;
const DAY_MS = 24 * 60 * 60_000;

interface Window {
  readonly startedAt: number;
  kept: number;
  reference: string;
  /** Counted since they were last written. */
  repeats: number;
}

/**
 * Keeps decisions in a bounded table. Those that are kept at the same time are written by one statement.
 */
export class DecisionLog {
  readonly #database: Database;
  readonly #sampleAllowed: number;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #onError: (error: unknown, where: string) => void;
  readonly #windows = new Map<string, Window>();
  #pending: Decision[] = [];
  #writing: Promise<void> = Promise.resolve();
  #sweptAt = Date.now();

  constructor(
    database: Database,
    options: v.InferOutput<typeof decisionLogSchema>,
    onError: (error: unknown, where: string) => void,
  ) {
    const { sampleAllowed, keepDays, maxRows } = options;
    this.#database = database;
    this.#sampleAllowed = sampleAllowed;
    this.#keepMs = keepDays * DAY_MS;
    this.#maxRows = maxRows;
    this.#onError = onError;
  }

  /** Whether this one of the allowed events is kept. */
  isSampled(): boolean {
    return this.#sampleAllowed > 0 && Math.random() < this.#sampleAllowed;
  }

  /**
   * Takes a decision in. It is in the table when {@link flush} has resolved.
   *
   * @returns the reference that leads to it: its own, or that of the decision on which it was counted
   */
  take(decision: Decision): string {
    if (decision.verdict === "refused") {
      const counted = this.#count(decision);
      if (counted !== undefined) return counted;
    }
    this.#pending.push(decision);
    return decision.reference;
  }

  /** Resolves when everything taken in so far is in the table. What cannot be written is told to `onError`. */
  flush(): Promise<void> {
    if (this.#pending.length > 0) this.#writing = this.#writing.then(() => this.#write([]));
    return this.#writing;
  }

  /**
   * The same, and what was only counted. Not for each refusal: whoever repeats himself must not cause a write each time.
   */
  settle(): Promise<void> {
    const repeats = this.#takeRepeats();
    if (repeats.length === 0) return this.flush();
    this.#writing = this.#writing.then(() => this.#write(repeats));
    return this.#writing;
  }

  /** Removes what is too old or too much, once a minute at the most. */
  async sweep(): Promise<void> {
    if (Date.now() - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = Date.now();
    try {
      while ((await this.removeOld(ROWS_PER_SWEEP)) === ROWS_PER_SWEEP);
    } catch (error) {
      this.#onError(error, "sweeping decisions");
    }
  }

  async find(reference: string): Promise<Decision | undefined> {
    await this.settle();
    const row = await this.#database.db
      .selectFrom("sallyport_decisions")
      .select(["details", "repeats"])
      .where("reference", "=", reference)
      .executeTakeFirst();
    return row && fromRow(row);
  }

  /** @throws ConfigurationError with the name of the filter, its value and what to change */
  async list(filter: DecisionFilter = {}): Promise<readonly Decision[]> {
    const { user, verdict, reason, since, limit } = parseOptions("decisions()", DECISION_FILTER, filter);
    await this.settle();
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
    return (await query.execute()).map(fromRow);
  }

  /** @returns the reference it was counted on, or undefined when it is to be kept */
  #count({ event, userId, reason, reference, at }: Decision): string | undefined {
    const key = JSON.stringify([event === "delivery", userId, reason]);
    const most = event === "delivery" ? KEPT_DELIVERIES_PER_WINDOW : KEPT_PER_WINDOW;
    const window = this.#windows.get(key);
    if (!window || at - window.startedAt >= WINDOW_MS) {
      if (window && window.repeats > 0) this.#windows.set(`${key} ${window.startedAt}`, window);
      this.#windows.set(key, { startedAt: at, kept: 1, reference, repeats: 0 });
      return undefined;
    }
    if (window.kept < most) {
      window.kept++;
      window.reference = reference;
      return undefined;
    }
    window.repeats++;
    return window.reference;
  }

  async #write(repeats: readonly { reference: string; repeats: number }[]): Promise<void> {
    const decisions = this.#pending.splice(0);
    if (decisions.length + repeats.length === 0) return;
    try {
      await this.#database.writeBeside(async (db) => {
        for (let from = 0; from < decisions.length; from += ROWS_PER_INSERT) {
          const rows = decisions.slice(from, from + ROWS_PER_INSERT).map(toRow);
          await db.insertInto("sallyport_decisions").values(rows).execute();
        }
        for (const { reference, repeats: count } of repeats) {
          await db
            .updateTable("sallyport_decisions")
            .set(({ eb }) => ({ repeats: eb("repeats", "+", count) }))
            .where("reference", "=", reference)
            .execute();
        }
      });
    } catch (error) {
      this.#onError(error, `keeping ${decisions.length} decisions`);
    }
  }

  /** What was counted since the last time; windows that are over are forgotten. */
  #takeRepeats(): { reference: string; repeats: number }[] {
    const counted: { reference: string; repeats: number }[] = [];
    for (const [key, window] of this.#windows) {
      if (window.repeats > 0) counted.push({ reference: window.reference, repeats: window.repeats });
      window.repeats = 0;
      if (Date.now() - window.startedAt >= WINDOW_MS) this.#windows.delete(key);
    }
    return counted;
  }

  /** Removes decisions that are too old, or more than there may be. @returns how many, at most `limit` */
  async removeOld(limit: number): Promise<number> {
    const until = await this.#surplus();
    if (until === undefined) return 0;
    const { numDeletedRows } = await this.#database.writeOne((db) =>
      db
        .deleteFrom("sallyport_decisions")
        .where("reference", "in", (eb) =>
          eb
            .selectFrom("sallyport_decisions as old")
            .select("old.reference")
            .where("old.at", "<=", until)
            .orderBy("old.at")
            .limit(limit),
        )
        .executeTakeFirst(),
    );
    return Number(numDeletedRows);
  }

  /** Until when they are too old or too many; undefined when none is. It only looks, so a table in bounds costs no lock. */
  async #surplus(): Promise<number | undefined> {
    const { db } = this.#database;
    const surplus = await db
      .selectFrom("sallyport_decisions")
      .select("at")
      .orderBy("at", "desc")
      .limit(1)
      .offset(this.#maxRows)
      .executeTakeFirst();
    const oldest = await db
      .selectFrom("sallyport_decisions")
      .select(({ fn }) => fn.min("at").as("at"))
      .executeTakeFirst();
    const until = Math.max(Date.now() - this.#keepMs, Number(surplus?.at ?? 0));
    const isEmpty = oldest?.at === null || oldest?.at === undefined;
    return isEmpty || Number(oldest.at) > until ? undefined : until;
  }
}

function toRow(decision: Decision) {
  const { reference, at, event, verdict, reason, userId, sessionId, view, handler, channel } = decision;
  return {
    reference,
    at,
    event,
    verdict,
    reason: reason ?? null,
    user_id: userId ?? null,
    session_id: sessionId ?? null,
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
