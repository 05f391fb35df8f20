import type { BackoffOptions } from "./backoff.ts";
import type { LinkOptions } from "./link.ts";

/** The options of `connect()`. */
export interface ConnectOptions extends LinkOptions {
  /** The channel to join at connect. Default: the channel of the view, if it has one. */
  readonly channel?: string;
  /** The time limit of a call, in milliseconds. Default 30 000. */
  readonly callTimeoutMs?: number;
  /** The waits between attempts to connect. Default: at most 500 ms, growing to 15 s. */
  readonly backoff?: BackoffOptions;
  /**
   * The waits between token requests after a denial, until access returns. `false`: only
   * `reconnect()` tries again. Default: at most 5 s, growing to 30 s, if `view` is set.
   *
   * A page that becomes visible or gets the focus does not wait, and a hidden page requests nothing.
   * After an hour, only these events cause requests.
   */
  readonly accessCheck?: BackoffOptions | false;
  /**
   * The field that contains the name of the handler, as `handlerKey` of the view. Default
   * `handler`.
   */
  readonly handlerKey?: string;
  /**
   * The value of the field `action` of every message, if the gateway selects routes by it. Default:
   * none.
   */
  readonly action?: string;
  /**
   * Sends a message at intervals, so that API Gateway does not close an idle connection after ten
   * minutes. The message is a built-in ping, or a call of `handler`.
   *
   * If no frame arrives within `callTimeoutMs`, the connection is closed and opened again. Default:
   * off. `everyMs` is the interval in milliseconds, default 540 000.
   */
  readonly keepAlive?: { readonly handler?: string; readonly everyMs?: number };
}

/** The names of options. A misspelled one, such as `tokens`, is an error. */
const OPTIONS: Readonly<Record<keyof ConnectOptions, true>> = {
  url: true,
  token: true,
  view: true,
  channel: true,
  connectTimeoutMs: true,
  callTimeoutMs: true,
  backoff: true,
  accessCheck: true,
  handlerKey: true,
  action: true,
  keepAlive: true,
  WebSocket: true,
  fetch: true,
};

/** @throws TypeError for an unknown option */
export function checkOptionNames(options: ConnectOptions): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(OPTIONS, name)) {
      throw new TypeError(
        `connect() has no option "${name}". The options are: ${Object.keys(OPTIONS).join(", ")}.`,
      );
    }
  }
}
