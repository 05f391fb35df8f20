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
import type { DecisionRow, DecisionStore, StoredDecision } from "../storage/stores/decisions.ts";
import { yieldToEventLoop } from "../timing.ts";
import type { Decision } from "./decision.ts";
import { sweepDecisions } from "./decision-sweep.ts";
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

/**
 * The maximum number of steps per call of {@link DecisionLog.sweep}. The next call continues. The
 * revocation poller waits for a call.
 */
const STEPS_PER_CALL = 20;
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

/** Stores decisions in a bounded table. Decisions that arrive together are written together. */
export class DecisionLog {
  readonly #store: DecisionStore;
  readonly #sampleAllowed: number;
  readonly #keepMs: number;
  readonly #maxRows: number;
  readonly #listener: DecisionListener;
  readonly #counter = new DenialCounter();
  #pending: Decision[] = [];
  #writing: Promise<void> = Promise.resolve();
  #sweptAt = performance.now();
  /** The sweep that an earlier call started and did not finish. */
  #sweeping: AsyncGenerator<number, void, undefined> | undefined;
  #countedAt = 0;

  constructor(
    store: DecisionStore,
    options: v.InferOutput<typeof decisionLogSchema>,
    listener: DecisionListener,
  ) {
    const { sampleAllowed, keepDays, maxRows } = options;
    this.#store = store;
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
   * Removes old and surplus decisions, at most once per minute. A call does a limited amount of
   * work, and the next call continues. Failures are passed to `onError`.
   */
  async sweep(): Promise<void> {
    if (!this.#sweeping) {
      if (performance.now() - this.#sweptAt < SWEEP_MS) return;
      this.#sweptAt = performance.now();
      this.#sweeping = this.removeOld();
    }
    try {
      for (let step = 0; step < STEPS_PER_CALL && this.#sweeping; step++) {
        const { done } = await this.#sweeping.next();
        if (done) this.#sweeping = undefined;
        else await yieldToEventLoop();
      }
    } catch (error) {
      this.#sweeping = undefined;
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
    const row = await this.#store.find(stored);
    if (!row) return undefined;
    return isCounted ? { ...fromRow(row), isCounted } : fromRow(row);
  }

  /**
   * Returns the decisions that match a filter, newest first.
   *
   * @throws ConfigurationError with the name of the filter, its value and what to change
   */
  async list(filter: DecisionFilter = {}): Promise<readonly Decision[]> {
    const query = parseOptions("decisions()", DECISION_FILTER, filter);
    await this.flushWithCounts();
    return (await this.#store.list(query)).map(fromRow);
  }

  async #write(counted: readonly Repeats[]): Promise<void> {
    const decisions = this.#pending.splice(0);
    if (decisions.length + counted.length === 0) return;
    try {
      await this.#store.add(
        decisions.map(toStored),
        counted.flatMap(({ storedAs, repeats }) =>
          storedAs === undefined ? [] : [{ reference: storedAs, repeats }],
        ),
      );
    } catch (error) {
      this.#listener.onError(error, `storing ${decisions.length} decisions`);
    }
  }

  /**
   * Removes old and surplus decisions in small steps. See {@link sweepDecisions}.
   *
   * @returns the number of rows that each step removed, which can be 0
   */
  removeOld(): AsyncGenerator<number, void, undefined> {
    return sweepDecisions(this.#store, { until: Date.now() - this.#keepMs, maxRows: this.#maxRows });
  }
}

function toStored(decision: Decision): StoredDecision {
  const { reference, at, event, verdict, reason, userId, connectionKey, view, handler, channel } = decision;
  return {
    reference,
    at,
    event,
    verdict,
    reason: reason ?? null,
    userId: userId ?? null,
    connectionKey: connectionKey ?? null,
    view: view ?? null,
    handler: handler ?? null,
    channel: channel ?? null,
    details: JSON.stringify(decision),
  };
}

function fromRow(row: DecisionRow): Decision {
  return { ...(JSON.parse(row.details) as Decision), repeats: row.repeats };
}
