import { median } from "../pairs.js";

/** Growth of the median memory that is allowed from the first half of the time to the second, in MiB: garbage that is not collected yet. */
const GROWTH_MIB = 48;

/** The shortest run whose memory is compared, in minutes. The heap of a process that has just started grows for a few minutes. */
const LEAST_MINUTES = 5;

/** Open sockets, timers and the like, by kind. */
type Resources = Readonly<Record<string, number>>;

/** What was read from one process: its memory under load, in MiB, and its open resources after the load. */
export interface Readings {
  readonly rssMiB: readonly number[];
  readonly atRest: Resources;
}

/** Returns the memory of this process, in MiB. */
export function rss(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

/** Returns the open resources of this process, by kind. */
export function resources(): Resources {
  const counted: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counted[kind] = (counted[kind] ?? 0) + 1;
  return counted;
}

/**
 * Returns what a process has more of at the end: memory than in the middle, and open resources than after the warm-up.
 *
 * @param minutes how long the run was. Memory of a run of less than 5 minutes is printed only
 */
export function grown(
  what: string,
  minutes: number,
  warmUp: Readings,
  { rssMiB, atRest }: Readings,
): readonly string[] {
  const half = Math.floor(rssMiB.length / 2);
  const [before, after] = [median(rssMiB.slice(0, half)), median(rssMiB.slice(half))];
  console.log(`${what}: ${before.toFixed(0)} MiB in the middle, ${after.toFixed(0)} MiB at the end`);
  const found =
    minutes >= LEAST_MINUTES && after - before > GROWTH_MIB
      ? [`${what} grew from ${before.toFixed(0)} to ${after.toFixed(0)} MiB`]
      : [];
  for (const [kind, many] of Object.entries(atRest)) {
    const few = warmUp.atRest[kind] ?? 0;
    if (many > few * 1.5 + 50) found.push(`${what} has ${many} of ${kind} at rest, and had ${few}`);
  }
  return found;
}
