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
   * Removes the oldest decisions of the users with the most, if there are more than `maxRows`.
   * Users with few decisions keep them. Clients without a user count as one user.
   *
   * @returns how many were removed, at most `limit`
   */
  removeSurplus(maxRows: number, limit: number): Promise<number>;
}
