/** Time between two lines, in milliseconds. */
const INTERVAL_MS = 60_000;

/**
 * Prints a line every minute: the rate of each counter, and the processor time as a percentage of
 * one core. If the percentage rises at the same load, the cost of an event grows.
 */
export class Progress {
  readonly #timer: NodeJS.Timeout;

  /**
   * @param processName name of this process
   * @param counters functions that return a total, by name
   * @param cpus functions that return the processor time of another process in milliseconds, by
   *   name
   */
  constructor(
    processName: string,
    counters: Readonly<Record<string, () => number>>,
    cpus: Readonly<Record<string, () => Promise<number>>> = {},
  ) {
    const ownMs = async () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
    const read = async () => ({
      at: performance.now(),
      counts: Object.values(counters).map((count) => count()),
      cpu: await Promise.all([ownMs, ...Object.values(cpus)].map((time) => time())),
    });
    let last: Awaited<ReturnType<typeof read>> | undefined;
    const print = async () => {
      const now = await read();
      const before = last;
      last = now;
      if (!before) return;
      const perSecond = (total: number, last = 0) => (1000 * (total - last)) / (now.at - before.at);
      const counted = Object.keys(counters).map(
        (name, index) => `${perSecond(now.counts[index] ?? 0, before.counts[index]).toFixed(0)} ${name}/s`,
      );
      const used = [processName, ...Object.keys(cpus)].map(
        (name, index) => `${name} ${(perSecond(now.cpu[index] ?? 0, before.cpu[index]) / 10).toFixed(0)} %`,
      );
      console.log(`${new Date().toISOString()} ${[...counted, ...used].join(", ")}`);
    };
    void print();
    this.#timer = setInterval(() => void print(), INTERVAL_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
