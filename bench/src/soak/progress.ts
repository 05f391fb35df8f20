/** How often a line is printed, in milliseconds. */
const EVERY_MS = 60_000;

/**
 * Prints a line every minute: what was counted since the last one, and the processor time, as a share of one core. A share that rises
 * at the same load shows that something grows.
 */
export class Progress {
  readonly #timer: NodeJS.Timeout;

  /**
   * @param what names the process
   * @param counters return totals
   * @param cpus return processor time so far, in milliseconds, in addition to that of this process
   */
  constructor(
    what: string,
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
      const used = [what, ...Object.keys(cpus)].map(
        (name, index) => `${name} ${(perSecond(now.cpu[index] ?? 0, before.cpu[index]) / 10).toFixed(0)} %`,
      );
      console.log(`${new Date().toISOString()} ${[...counted, ...used].join(", ")}`);
    };
    void print();
    this.#timer = setInterval(() => void print(), EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
