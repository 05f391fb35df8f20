/** Figures of Sallyport and of a baseline, measured in the same run. */
export interface Comparison {
  readonly name: string;
  readonly unit: string;
  /** Median of the readings of Sallyport. */
  readonly value: number;
  /** Median of the readings of the baseline: the same work without Sallyport. */
  readonly baseline: number;
  /** `value` divided by `baseline`. */
  readonly ratio: number;
  readonly min: number;
  readonly max: number;
  readonly goal?: Goal;
}

/** Limits of the ratio, or of the value if `of` is `"value"`. */
interface Goal {
  readonly min?: number;
  readonly max?: number;
  readonly of?: "value";
}

/**
 * Measures Sallyport and a baseline in alternation, so that other load on the machine affects both.
 * Returns medians and ignores one warm-up round.
 *
 * @param measure functions that return one reading each, in `unit`
 * @param options.rounds number of rounds after the warm-up. Default 5
 */
export async function compare(
  name: string,
  unit: string,
  measure: { readonly sallyport: () => Promise<number>; readonly baseline: () => Promise<number> },
  options: { readonly goal?: Goal; readonly rounds?: number } = {},
): Promise<Comparison> {
  const { rounds = 5, goal } = options;
  const [values, baselines]: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    // The order alternates.
    const isFirst = round % 2 === 0;
    const first = isFirst ? await measure.sallyport() : await measure.baseline();
    const second = isFirst ? await measure.baseline() : await measure.sallyport();
    if (round < 0) continue;
    values.push(isFirst ? first : second);
    baselines.push(isFirst ? second : first);
  }
  const [value, baseline] = [median(values), median(baselines)];
  const bounds = { min: Math.min(...values), max: Math.max(...values) };
  return { name, unit, value, baseline, ratio: value / baseline, ...bounds, ...(goal ? { goal } : {}) };
}

/** Returns the median of the readings, or NaN if there are none. */
export function median(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Returns whether a comparison meets its goal, or undefined if it has no goal. */
export function meetsGoal({ goal, ratio, value }: Comparison): boolean | undefined {
  if (!goal) return undefined;
  const compared = goal.of === "value" ? value : ratio;
  return (
    compared >= (goal.min ?? Number.NEGATIVE_INFINITY) && compared <= (goal.max ?? Number.POSITIVE_INFINITY)
  );
}
