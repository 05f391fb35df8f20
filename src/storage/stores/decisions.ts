/** A decision as it is stored. */
export interface StoredDecision {
  readonly reference: string;
  /** Time of the event in epoch milliseconds, by the clock of the process. */
  readonly at: number;
  readonly event: string;
  readonly verdict: "allowed" | "denied";
  readonly reason: string | null;
  readonly userId: string | null;
  readonly connectionKey: string | null;
  readonly view: string | null;
  readonly handler: string | null;
  readonly channel: string | null;
  /** The whole decision as JSON. */
  readonly details: string;
}

/** The whole decision as JSON, and how often it was repeated. */
export interface DecisionRow {
  readonly details: string;
  readonly repeats: number;
}

/** Selects decisions. A decision must match all given fields. */
export interface DecisionQuery {
  readonly user?: string | undefined;
  readonly verdict?: "allowed" | "denied" | undefined;
  readonly reason?: string | undefined;
  /** Only decisions at or after this time, in epoch milliseconds. */
  readonly since?: number | undefined;
  /** The last decision of the previous page. */
  readonly after?: { readonly at: number; readonly reference: string } | undefined;
  readonly limit: number;
}

/** Position of a decision among those of its user, in the order of time. */
export interface DecisionKey {
  readonly at: number;
  readonly reference: string;
}

/** Position of a decision among all decisions, in the order of users and time. */
export interface DecisionPosition extends DecisionKey {
  readonly userId: string | null;
}

/** A page of decisions, counted by user. */
export interface DecisionCounts {
  readonly counts: readonly { readonly userId: string | null; readonly count: number }[];
  /** The end of the page. Undefined if it is the last page. */
  readonly end: DecisionPosition | undefined;
}

/** The stored decisions. Each operation is atomic. */
export interface DecisionStore {
  /**
   * Stores decisions, and adds repeats to stored ones.
   *
   * @param repeats references of stored decisions, and by how much they were repeated
   */
  add(
    decisions: readonly StoredDecision[],
    repeats: readonly { readonly reference: string; readonly repeats: number }[],
  ): Promise<void>;

  /** Returns the decision with a reference. */
  find(reference: string): Promise<DecisionRow | undefined>;

  /** Returns the decisions that match a query, newest first. */
  list(query: DecisionQuery): Promise<readonly DecisionRow[]>;

  /**
   * Removes decisions of events at or before a time.
   *
   * @param until epoch milliseconds
   * @returns how many were removed, at most `limit`
   */
  removeUntil(until: number, limit: number): Promise<number>;

  /**
   * Counts the decisions of each user, one page at a time. Clients without a user count as one
   * user. A page reads at most `limit` rows.
   *
   * @param after the end of the previous page. Undefined for the first page
   */
  countByUser(after: DecisionPosition | undefined, limit: number): Promise<DecisionCounts>;

  /**
   * Returns the position of the last of the `count` newest decisions of a user that are older than
   * `before`, or undefined if there are fewer. It reads at most `count` rows.
   */
  positionOf(
    userId: string | null,
    before: DecisionKey | undefined,
    count: number,
  ): Promise<DecisionKey | undefined>;

  /** Returns the decisions of a user between two positions, oldest first. */
  keysOf(
    userId: string | null,
    range: { readonly after: DecisionKey | undefined; readonly before: DecisionKey | undefined },
    limit: number,
  ): Promise<readonly DecisionKey[]>;

  /** Removes decisions by their references. Returns how many were removed. */
  remove(references: readonly string[]): Promise<number>;
}
