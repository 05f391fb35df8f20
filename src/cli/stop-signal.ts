/**
 * The end of a command that runs until it is stopped.
 *
 * The first SIGINT (Ctrl-C) or SIGTERM ends it in order. A second one, and the end of the terminal,
 * end it at once.
 */
export class StopSignal {
  readonly #endAtOnce: () => void;
  readonly #stopped: Promise<void>;
  #resolve = (): void => undefined;
  #isStopped = false;
  readonly #receive = (): void => {
    if (this.#isStopped) this.#endAtOnce();
    else this.stop();
  };

  /** @param endAtOnce ends the process without waiting for anything. Default: with exit code 130 */
  constructor(endAtOnce: () => void = () => process.exit(130)) {
    this.#endAtOnce = endAtOnce;
    this.#stopped = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    process.on("SIGINT", this.#receive).on("SIGTERM", this.#receive).on("SIGHUP", endAtOnce);
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Ends the command in order. */
  stop(): void {
    this.#isStopped = true;
    this.#resolve();
  }

  /** Waits at most `ms` milliseconds. @returns whether the command must end */
  async within(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#stopped, passed]);
    clearTimeout(timer);
    return this.#isStopped;
  }

  /** Signals have their default effect again. */
  release(): void {
    process.off("SIGINT", this.#receive).off("SIGTERM", this.#receive).off("SIGHUP", this.#endAtOnce);
  }
}
