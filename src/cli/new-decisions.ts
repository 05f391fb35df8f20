import type { Decision, DecisionFilter } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";

/**
 * How far each look goes back, in milliseconds. A decision is found if it is stored no later than this after it was made, and if the
 * clocks of the processes differ by no more than this.
 */
const WINDOW_MS = 60_000;
/** Decisions that one query returns. */
const PAGE = 1000;
/** Decisions that one look reads. */
const MAX_LOOK = 5 * PAGE;

/** What one look has found. */
export interface Look {
  /** Decisions that were not printed before, the oldest first. */
  readonly decisions: readonly Decision[];
  /** References of decisions that later looks do not return. */
  readonly known: ReadonlySet<string>;
  /** Which decisions the look leaves out, as a sentence; undefined if it leaves out none. */
  readonly notice: string | undefined;
}

/** Finds decisions that were stored since the last look. */
export class NewDecisions {
  readonly #sallyport: Sallyport;
  readonly #filter: DecisionFilter;
  #known: ReadonlySet<string> | undefined;
  /** The beginning of the window. It never moves back. */
  #since = Number.NEGATIVE_INFINITY;

  /** @param filter its `limit` applies to the first look only */
  constructor(sallyport: Sallyport, filter: DecisionFilter) {
    this.#sallyport = sallyport;
    this.#filter = filter;
  }

  /**
   * Returns the newest decisions at first, and then those that have been stored since the last look that was passed to
   * {@link printed}.
   */
  next(): Promise<Look> {
    return this.#known ? this.#later(this.#known) : this.#first();
  }

  printed({ known }: Look): void {
    this.#known = known;
  }

  async #first(): Promise<Look> {
    // In this order: a decision that is stored between the two reads is found by the second one or by the next look.
    const window = await this.#window();
    const newest = await this.#read({ limit: this.#filter.limit });
    const [older] = newest.length > 0 ? await this.#read({ after: newest.at(-1), limit: 1 }) : [];
    return {
      decisions: newest.toReversed(),
      known: new Set([...window, ...newest].map(({ reference }) => reference)),
      notice: older && "There are older decisions. --limit prints more of them.",
    };
  }

  async #later(known: ReadonlySet<string>): Promise<Look> {
    const window = await this.#window();
    const isCut = window.length >= MAX_LOOK;
    return {
      decisions: window.filter(({ reference }) => !known.has(reference)).reverse(),
      known: new Set(window.map(({ reference }) => reference)),
      notice: isCut
        ? `More than ${MAX_LOOK} decisions of the last minute match. Older ones are not printed. Use a filter, or list them with --since.`
        : undefined,
    };
  }

  /** Returns the decisions of the window, the newest first and at most {@link MAX_LOOK}. */
  async #window(): Promise<readonly Decision[]> {
    const [newest] = await this.#read({ limit: 1 });
    if (!newest) return [];
    // The clock of the process that made the newest decision can be ahead, and so can the clock of this process.
    const from = Math.min(newest.at, Date.now()) - WINDOW_MS;
    this.#since = Math.max(from, this.#since, Number(this.#filter.since ?? from));
    const window: Decision[] = [];
    while (window.length < MAX_LOOK) {
      const page = await this.#read({ after: window.at(-1), limit: PAGE, since: this.#since });
      window.push(...page);
      if (page.length < PAGE) break;
    }
    return window;
  }

  #read(page: DecisionFilter): Promise<readonly Decision[]> {
    return this.#sallyport.access.decisions({ ...this.#filter, ...page });
  }
}
