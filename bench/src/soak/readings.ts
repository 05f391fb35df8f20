import { median } from "../comparison.js";

/**
 * Maximum growth of the median memory from the first half of a run to the second, in MiB. It allows
 * for garbage that is not collected yet.
 */
const MAX_GROWTH_MIB = 48;

/**
 * Minimum length of a run for the memory check, in minutes. The heap of a new process grows for a
 * few minutes.
 */
const MIN_MINUTES = 5;

/** Numbers of open sockets, timers and other resources, by kind. */
type Resources = Readonly<Record<string, number>>;

/** Readings of one process. */
export interface Readings {
  /** Memory under load, in MiB. */
  readonly rssMiB: readonly number[];
  /** Open resources after the load. */
  readonly idle: Resources;
}

/** Returns the resident memory of this process, in MiB. */
export function rssMiB(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

/** Returns the numbers of open resources of this process, by kind. */
export function resources(): Resources {
  const counted: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counted[kind] = (counted[kind] ?? 0) + 1;
  return counted;
}

/**
 * Returns a line if memory grew from the first half of a run to the second, and a line for each
 * kind of resource that grew after the warm-up. Prints the memory.
 *
 * @param minutes length of the run. Memory is not checked in a run of less than 5 minutes
 */
export function findGrowth(
  processName: string,
  minutes: number,
  warmUp: Readings,
  { rssMiB: memory, idle }: Readings,
): readonly string[] {
  const half = Math.floor(memory.length / 2);
  const [before, after] = [median(memory.slice(0, half)), median(memory.slice(half))];
  console.log(
    `${processName}: ${before.toFixed(0)} MiB in the first half, ${after.toFixed(0)} MiB in the second half`,
  );
  const found =
    minutes >= MIN_MINUTES && after - before > MAX_GROWTH_MIB
      ? [`${processName} grew from ${before.toFixed(0)} to ${after.toFixed(0)} MiB`]
      : [];
  for (const [kind, count] of Object.entries(idle)) {
    const initial = warmUp.idle[kind] ?? 0;
    if (count > initial * 1.5 + 50)
      found.push(
        `${processName} has ${count} open resources of kind ${kind} after the load, and had ${initial}`,
      );
  }
  return found;
}
