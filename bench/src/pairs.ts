/** One measured thing beside the least that it could cost, both from the same run. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Median of the rounds, as `floor`. */
  readonly value: number;
  /** What the same work costs, or how much of it is done, without us. */
  readonly floor: number;
  /** `value` ÷ `floor`. */
  readonly ratio: number;
  readonly min: number;
  readonly max: number;
  /** What is promised of the ratio; of the value where `of` says so. */
  readonly promise?: { readonly least?: number; readonly most?: number; readonly of?: "value" };
}

/**
 * Measures two things in turn, so that whatever the machine does meanwhile happens to both: the median of five rounds after one
 * to warm up.
 *
 * @param ours and the floor each give one reading
 */
export async function pair(
  name: string,
  unit: string,
  measure: { readonly ours: () => Promise<number>; readonly floor: () => Promise<number> },
  options: { readonly promise?: Row["promise"]; readonly rounds?: number } = {},
): Promise<Row> {
  const { rounds = 5, promise } = options;
  const [ours, floors]: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    // Each goes first every other time.
    const isFirst = round % 2 === 0;
    const first = isFirst ? await measure.ours() : await measure.floor();
    const second = isFirst ? await measure.floor() : await measure.ours();
    if (round < 0) continue;
    ours.push(isFirst ? first : second);
    floors.push(isFirst ? second : first);
  }
  const [value, floor] = [median(ours), median(floors)];
  const bounds = { min: Math.min(...ours), max: Math.max(...ours) };
  return { name, unit, value, floor, ratio: value / floor, ...bounds, ...(promise ? { promise } : {}) };
}

export function median(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Whether a row keeps its promise; undefined where none was made. */
export function isKept({ promise, ratio, value }: Row): boolean | undefined {
  if (!promise) return undefined;
  const judged = promise.of === "value" ? value : ratio;
  return (
    judged >= (promise.least ?? Number.NEGATIVE_INFINITY) &&
    judged <= (promise.most ?? Number.POSITIVE_INFINITY)
  );
}
