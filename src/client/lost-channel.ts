import { AccessCheck } from "./access-check.ts";
import { CallError } from "./calls.ts";
import type { ConnectOptions } from "./connect-options.ts";
import { requestToken } from "./link.ts";

/** Time limit of a token request, in milliseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * The channel that the connection had to leave, until access to it returns.
 *
 * The server notifies the connection that lost it. Later connections are not notified, so a token is
 * requested for the channel from time to time. The token is not used.
 */
export class LostChannel {
  readonly #options: ConnectOptions;
  readonly #onRestored: (channel: string) => void;
  readonly #check: AccessCheck;
  #channel: string | undefined;

  /** @param onRestored called when the token endpoint allows the channel */
  constructor(options: ConnectOptions, onRestored: (channel: string) => void) {
    this.#options = options;
    this.#onRestored = onRestored;
    this.#check = new AccessCheck(options, () => void this.#request());
  }

  /** Stores the channel that the open connection has lost. */
  lose(channel: string): void {
    this.#channel = channel;
    this.#check.start({ isTimed: false });
  }

  /** Checks the channel from time to time, because another connection has opened. */
  handleOpen(): void {
    if (this.#channel !== undefined) this.#check.start({ isTimed: true });
  }

  /** Stops the checks, because the connection has closed. */
  handleClose(): void {
    this.#check.stop();
  }

  /** Forgets a channel: the given one, or any. */
  forget(channel = this.#channel): void {
    if (channel !== this.#channel) return;
    this.#channel = undefined;
    this.#check.stop();
  }

  /** Checks the channel now. See {@link AccessCheck.now}. */
  checkNow(options?: { readonly isForced?: boolean }): boolean {
    return this.#check.now(options);
  }

  async #request(): Promise<void> {
    const channel = this.#channel;
    try {
      await requestToken(this.#options, channel, AbortSignal.timeout(REQUEST_TIMEOUT_MS));
    } catch (error) {
      this.#check.retry(error instanceof CallError ? error.retryAfterMs : 0);
      return;
    }
    // The app can have joined another channel in the meantime.
    if (channel === undefined || channel !== this.#channel) return;
    this.forget();
    this.#onRestored(channel);
  }
}
