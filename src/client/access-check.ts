import { Backoff, type BackoffOptions } from "./backoff.ts";
import { timerMs } from "./calls.ts";

interface AccessCheckOptions {
  readonly accessCheck?: BackoffOptions | false;
  readonly token?: string | (() => Promise<string>);
  readonly view?: string;
}

const BACKOFF = { baseMs: 5_000, maxMs: 30_000 };
/** Minimum time between two requests, also if the page gets the focus often, in milliseconds. */
const MIN_INTERVAL_MS = 5_000;
/** Time after which only events of the page cause requests, in milliseconds. */
const MAX_CHECKING_MS = 3_600_000;
interface StartOptions {
  readonly isTimed: boolean;
  readonly isByTokenFunction?: boolean;
}

/**
 * Requests a token from time to time after a denial, because a client without access receives
 * nothing.
 */
export class AccessCheck {
  readonly #options: AccessCheckOptions;
  readonly #request: () => void;
  #backoff = new Backoff(BACKOFF);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isTimed = false;
  /** Whether a denial is being checked. All times are on the monotonic clock in milliseconds. */
  #isStarted = false;
  #startedAt = 0;
  /** The earliest time of the next request. */
  #notBefore = 0;

  /** @param request requests a token. If it is denied, the caller must call {@link retry} */
  constructor(options: AccessCheckOptions, request: () => void) {
    this.#options = options;
    this.#request = request;
  }

  /**
   * Waits after a denial, and requests a token then. Does nothing if the token endpoint does not
   * report denials, because each request would issue a token.
   *
   * @param options.isTimed whether time passes between requests. Otherwise, only {@link now} sends one
   * @param options.isByTokenFunction whether the `token` function of the app denied the connection.
   *   Default false
   */
  start({ isTimed, isByTokenFunction = false }: StartOptions): void {
    const { accessCheck, token, view } = this.#options;
    this.stop();
    if (accessCheck === false) return;
    if (typeof token === "string" ? view === undefined : !isByTokenFunction) return;
    this.#isStarted = true;
    this.#isTimed = isTimed;
    this.#startedAt = performance.now();
    this.#notBefore = 0;
    this.#backoff = new Backoff({ ...BACKOFF, ...accessCheck });
    this.#wait(0);
  }

  /** Waits again after a request that was denied or failed. @param ms the minimum wait */
  retry(ms = 0): void {
    if (!this.#isStarted) return;
    this.#notBefore = Math.max(this.#notBefore, performance.now() + ms);
    this.#wait(ms);
  }

  /**
   * Requests a token without a wait, because the page became active or the user asked for it.
   *
   * @param options.isForced whether to request it also shortly after another request
   * @returns false if no denial is checked
   */
  now({ isForced = false } = {}): boolean {
    if (!this.#isStarted) return false;
    if (isForced || performance.now() >= this.#notBefore) this.#send();
    return true;
  }

  stop(): void {
    this.#isStarted = false;
    clearTimeout(this.#timer);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    const isOver = performance.now() - this.#startedAt >= MAX_CHECKING_MS;
    if (!this.#isTimed || isOver) return;
    this.#timer = setTimeout(
      () => {
        if (globalThis.document?.visibilityState === "hidden") this.#wait(0);
        else this.#send();
      },
      timerMs(ms + this.#backoff.next()),
    );
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#notBefore = performance.now() + MIN_INTERVAL_MS;
    this.#request();
  }
}
