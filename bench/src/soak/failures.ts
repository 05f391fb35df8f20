/** What went wrong, and how often within the same second. */
export interface Failure {
  /** Epoch milliseconds. */
  readonly at: number;
  readonly what: string;
  readonly count: number;
  /** How long before that it can have happened, in milliseconds. */
  readonly delayMs: number;
}

/** Counts failures by second and text, so that a flood of them stays small. */
export class FailureCounts {
  readonly #counts = new Map<string, { at: number; what: string; count: number; delayMs: number }>();

  add(what: string, delayMs = 0): void {
    const at = Math.floor(Date.now() / 1000) * 1000;
    const key = `${at} ${what}`;
    const known = this.#counts.get(key);
    if (known) known.count++;
    else this.#counts.set(key, { at, what, count: 1, delayMs });
  }

  /** Returns what was counted since the last call. */
  take(): readonly Failure[] {
    const failures = [...this.#counts.values()];
    this.#counts.clear();
    return failures;
  }
}
