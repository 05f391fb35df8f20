import { Backoff, type BackoffOptions } from "./backoff.ts";
import { timerMs } from "./calls.ts";

interface AccessCheckOptions {
  readonly accessCheck?: BackoffOptions | false;
  readonly token?: string | (() => Promise<string>);
  readonly view?: string;
}

const BACKOFF = { baseMs: 2_000, maxMs: 30_000 };
/** The user is signed in, and a permission is missing. Only this denial can end by itself. */
const FORBIDDEN = 403;

/** Requests a token from time to time after a denial, because a closed connection receives nothing. */
export class AccessCheck {
  readonly #options: AccessCheckOptions;
  readonly #request: () => void;
  #backoff = new Backoff(BACKOFF);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #status = 0;
  /** Whether the token request reports a denial. Otherwise, each request would issue a token. */
  #isReported = false;
  /** The earliest time of the next request, on the monotonic clock in milliseconds. */
  #notBefore = 0;

  /** @param request requests a token. `retry` is called if it is denied */
  constructor(options: AccessCheckOptions, request: () => void) {
    this.#options = options;
    this.#request = request;
  }

  /**
   * Waits after a denial, and requests a token then.
   *
   * @param isByTokenEndpoint whether the token endpoint denied the connection
   */
  start(status: number, isByTokenEndpoint: boolean): void {
    const { accessCheck, token, view } = this.#options;
    this.#status = status;
    this.#isReported =
      accessCheck !== false && (typeof token === "string" ? view !== undefined : isByTokenEndpoint);
    this.#backoff = new Backoff({ ...BACKOFF, ...(accessCheck || {}) });
    this.retry();
  }

  /** Waits again after a request that was denied or failed. @param ms the minimum wait */
  retry(ms = 0): void {
    this.stop();
    this.#notBefore = performance.now() + ms;
    if (!this.#isReported || this.#status !== FORBIDDEN) return;
    this.#timer = setTimeout(
      () => {
        if (globalThis.document?.visibilityState === "hidden") this.retry();
        else this.#request();
      },
      timerMs(ms + this.#backoff.next()),
    );
  }

  /** Requests a token without a wait, because the page became active. */
  now(): void {
    if (!this.#isReported || performance.now() < this.#notBefore) return;
    this.stop();
    this.#request();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
