import { cpus, totalmem } from "node:os";

/** A measured figure: the median of several readings, with the smallest and the largest one. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** The largest value that meets the goal. */
  readonly target?: number;
}

/** Returns the median, the minimum and the maximum of several readings. */
export function figure(name: string, unit: string, readings: readonly number[], target?: number): Figure {
  const sorted = [...readings].sort((a, b) => a - b);
  const value = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const bounds = { min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
  return { name, unit, value, ...bounds, ...(target === undefined ? {} : { target }) };
}

/** Returns the 99th percentile of the readings. */
export function p99(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.99) - 1)] ?? Number.NaN;
}

/**
 * Measures the average time of a call of `work`, in nanoseconds.
 *
 * @param options.runs number of calls in a round
 * @param options.rounds number of rounds after a warm-up round. Default 5
 * @returns one reading for each round
 */
export async function measureNs(
  work: () => unknown,
  { runs, rounds = 5 }: { runs: number; rounds?: number },
): Promise<number[]> {
  const readings: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const startedAt = process.hrtime.bigint();
    for (let run = 0; run < runs; run++) {
      const result = work();
      if (result instanceof Promise) await result;
    }
    if (round >= 0) readings.push(Number(process.hrtime.bigint() - startedAt) / runs);
  }
  return readings;
}

/** Prints the machine, and the figures as a table. */
export function printFigures(figures: readonly Figure[]): void {
  const [cpu] = cpus();
  console.log(
    `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB\n`,
  );
  const format = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const rows = figures.map(({ name, unit, value, min, max, target }) => [
    name,
    `${format(value)} ${unit}`,
    `${format(min)} – ${format(max)}`,
    target === undefined ? "" : `≤ ${target} ${unit}`,
    target === undefined ? "" : value <= target ? "met" : "MISSED",
  ]);
  const lines = [["what", "median", "range", "goal", ""], ...rows];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines)
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd(),
    );
}
