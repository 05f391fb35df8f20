/** A failure, and the number of times that it occurred in one second. */
export interface Failure {
  /** Epoch milliseconds. */
  readonly at: number;
  readonly message: string;
  readonly count: number;
  /** Maximum time between the failure and its report, in milliseconds. */
  readonly delayMs: number;
}

/** Counts failures by second and message, so that memory stays small if many occur. */
export class FailureCounts {
  readonly #counts = new Map<string, { at: number; message: string; count: number; delayMs: number }>();

  add(message: string, delayMs = 0): void {
    const at = Math.floor(Date.now() / 1000) * 1000;
    const key = `${at} ${message}`;
    const existing = this.#counts.get(key);
    if (existing) existing.count++;
    else this.#counts.set(key, { at, message, count: 1, delayMs });
  }

  /** Returns the failures since the last call. */
  take(): readonly Failure[] {
    const failures = [...this.#counts.values()];
    this.#counts.clear();
    return failures;
  }
}
