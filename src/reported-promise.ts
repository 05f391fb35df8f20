/** How a rejection that no caller handles is reported. */
export interface RejectionReport {
  /** Called once with the error. */
  readonly report: (error: unknown) => void;
  /** The rejection is not reported before this promise resolves. Default: resolved. */
  readonly until?: Promise<void> | undefined;
  /**
   * Receives a promise that resolves when the rejection has been reported or a caller has handled
   * it.
   */
  readonly track?: ((reporting: Promise<void>) => void) | undefined;
}

const IGNORED: RejectionReport = { report: () => undefined };

/**
 * A promise that reports its rejection if no caller handles it. Node.js would exit in that case.
 *
 * The promises that `then`, `catch` and `finally` return behave in the same way. A caller that
 * awaits the promise receives the error, and nothing is reported.
 */
export class ReportedPromise<Result> extends Promise<Result> {
  #isHandled = false;
  #rejection = IGNORED;

  static of<Result>(work: Promise<Result>, rejection: RejectionReport): ReportedPromise<Result> {
    return new ReportedPromise<Result>((resolve, reject) => work.then(resolve, reject)).#watch(rejection);
  }

  // biome-ignore lint/suspicious/noThenProperty: the override records that a caller handles the result
  override then<Value = Result, Failure = never>(
    onFulfilled?: ((value: Result) => Value | PromiseLike<Value>) | null,
    onRejected?: ((error: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<Value | Failure> {
    this.#isHandled = true;
    return (super.then(onFulfilled, onRejected) as ReportedPromise<Value | Failure>).#watch(this.#rejection);
  }

  #watch(rejection: RejectionReport): this {
    this.#rejection = rejection;
    super.then(undefined, (error: unknown) => {
      const reporting = this.#reportUnlessHandled(error);
      rejection.track?.(reporting);
    });
    return this;
  }

  async #reportUnlessHandled(error: unknown): Promise<void> {
    await this.#rejection.until;
    // An `await` in the same tick calls then() one microtask later.
    await new Promise((resolve) => setImmediate(resolve));
    if (!this.#isHandled) this.#rejection.report(error);
  }
}
