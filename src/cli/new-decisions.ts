import type { Decision, DecisionFilter } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";

/**
 * The time span that each query covers, in milliseconds. It must exceed the delay with which a
 * decision is stored, and the difference between the clocks of the processes.
 */
const WINDOW_MS = 60_000;
/** The maximum number of decisions of one query. */
const PAGE = 1000;
/** The maximum number of decisions that one call of `next` reads. */
const MAX_WINDOW = 5 * PAGE;

/** The result of one call of `next`. */
export interface NewDecisionsResult {
  /** Decisions that were not printed before, oldest first. */
  readonly decisions: readonly Decision[];
  /** References of decisions that later calls do not return. */
  readonly known: ReadonlySet<string>;
  /** A sentence about decisions that were left out, or undefined if there are none. */
  readonly notice: string | undefined;
}

/** Finds the decisions that were stored since the last call. */
export class NewDecisions {
  readonly #sallyport: Sallyport;
  readonly #filter: DecisionFilter;
  #known: ReadonlySet<string> | undefined;
  /** The beginning of the window. It never moves back. */
  #since = Number.NEGATIVE_INFINITY;

  /** @param filter the filter. Its `limit` applies to the first call of `next` only */
  constructor(sallyport: Sallyport, filter: DecisionFilter) {
    this.#sallyport = sallyport;
    this.#filter = filter;
  }

  /**
   * Returns the newest decisions on the first call. Later calls return the decisions that were
   * stored since the last result that was passed to {@link printed}.
   */
  next(): Promise<NewDecisionsResult> {
    return this.#known ? this.#later(this.#known) : this.#first();
  }

  /** Excludes the decisions of a result from later results. */
  printed({ known }: NewDecisionsResult): void {
    this.#known = known;
  }

  async #first(): Promise<NewDecisionsResult> {
    // The order matters: a decision that is stored between the two reads is found by the second one
    // or by the next call.
    const window = await this.#window();
    const newest = await this.#read({ limit: this.#filter.limit });
    const [older] = newest.length > 0 ? await this.#read({ after: newest.at(-1), limit: 1 }) : [];
    return {
      decisions: newest.toReversed(),
      known: new Set([...window, ...newest].map(({ reference }) => reference)),
      notice: older && "There are older decisions. --limit prints more of them.",
    };
  }

  async #later(known: ReadonlySet<string>): Promise<NewDecisionsResult> {
    const window = await this.#window();
    const isCut = window.length >= MAX_WINDOW;
    return {
      decisions: window.filter(({ reference }) => !known.has(reference)).reverse(),
      known: new Set(window.map(({ reference }) => reference)),
      notice: isCut
        ? `More than ${MAX_WINDOW} decisions of the last minute match. Older ones are not printed. Use a filter, or list them with --since.`
        : undefined,
    };
  }

  /** Returns the decisions of the window, newest first and at most {@link MAX_WINDOW}. */
  async #window(): Promise<readonly Decision[]> {
    const [newest] = await this.#read({ limit: 1 });
    if (!newest) return [];
    // The clock of this process or of the process that made the newest decision can be ahead.
    const from = Math.min(newest.at, Date.now()) - WINDOW_MS;
    this.#since = Math.max(from, this.#since, Number(this.#filter.since ?? from));
    const window: Decision[] = [];
    while (window.length < MAX_WINDOW) {
      const page = await this.#read({ after: window.at(-1), limit: PAGE, since: this.#since });
      window.push(...page);
      if (page.length < PAGE) break;
    }
    return window;
  }

  #read(page: DecisionFilter): Promise<readonly Decision[]> {
    return this.#sallyport.access.audit.decisions({ ...this.#filter, ...page });
  }
}
