import { cpus, totalmem } from "node:os";

/** One measured figure: the median of several rounds, with the least and the most. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** What is promised, where something is. */
  readonly target?: number;
}

/** The middle of several readings, and their bounds. */
export function figure(name: string, unit: string, readings: readonly number[], target?: number): Figure {
  const sorted = [...readings].sort((a, b) => a - b);
  const value = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const bounds = { min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
  return { name, unit, value, ...bounds, ...(target === undefined ? {} : { target }) };
}

/** The reading below which 99 of 100 are. */
export function p99(readings: readonly number[]): number {
  const sorted = [...readings].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.99) - 1)] ?? Number.NaN;
}

/** Nanoseconds that one run of `work` takes, after a warm-up, in each of `rounds` rounds. */
export async function timed(
  work: () => unknown,
  { runs, rounds = 5 }: { runs: number; rounds?: number },
): Promise<number[]> {
  const readings: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const begun = process.hrtime.bigint();
    for (let run = 0; run < runs; run++) {
      const result = work();
      if (result instanceof Promise) await result;
    }
    if (round >= 0) readings.push(Number(process.hrtime.bigint() - begun) / runs);
  }
  return readings;
}

/** Prints figures as a table under a line that says on what machine. */
export function print(figures: readonly Figure[]): void {
  const [cpu] = cpus();
  console.log(
    `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB\n`,
  );
  const shown = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const rows = figures.map(({ name, unit, value, min, max, target }) => [
    name,
    `${shown(value)} ${unit}`,
    `${shown(min)} – ${shown(max)}`,
    target === undefined ? "" : `≤ ${target} ${unit}`,
    target === undefined ? "" : value <= target ? "kept" : "MISSED",
  ]);
  const lines = [["what", "median", "range", "promise", ""], ...rows];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines)
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd(),
    );
}
