import type { TokenBody } from "../protocol/frames.ts";
import type { CHANNEL_PARAMETER, TOKEN_PARAMETER } from "../protocol/gateway-call.ts";
import { CallError, HANDSHAKE_FAILED, timerMs } from "./calls.ts";

/** The part of `WebSocket` that the client uses. */
export interface WebSocketLike {
  readonly readyState: number;
  send(text: string): void;
  close(): void;
  addEventListener(
    type: "open" | "message" | "close" | "error",
    listener: (event: { readonly type: string; readonly data?: unknown }) => void,
  ): void;
}

/** The options of a connection: the address and the token. */
export interface LinkOptions {
  /**
   * The URL of the gateway's stage, such as `wss://ws.example.com` or
   * `wss://…execute-api….amazonaws.com/production`.
   */
  readonly url: string;
  /**
   * The path or URL of the token endpoint, which is called by POST with the cookies of the page. Or
   * a function that returns a token. Default: none, for a view that allows anonymous clients.
   *
   * Each attempt to connect requests a new token. The function can throw a {@link CallError} to
   * deny the connection.
   */
  readonly token?: string | (() => Promise<string>);
  /**
   * The path of the view, such as `/ws/chat`, which is sent to the token endpoint. Without it, the
   * token endpoint cannot report the reason of a denial. Default: none.
   */
  readonly view?: string;
  /** Time limit from the token request to the open socket, in milliseconds. Default 40 000. */
  readonly connectTimeoutMs?: number;
  /** The class of WebSockets. Default: that of the environment. In Node 20, pass that of `ws`. */
  readonly WebSocket?: new (
    url: string,
  ) => WebSocketLike;
  /** The function for token requests. Default: that of the environment. */
  readonly fetch?: typeof fetch;
}

interface LinkEvents {
  /** Called when the token endpoint has allowed the connection, before the WebSocket opens. */
  token(): void;
  open(): void;
  text(text: string): void;
  /** Called once. `error` is undefined if the socket was open. */
  end(error: unknown): void;
}

/** Exceeds the time that API Gateway waits for the answer to `$connect`. */
const CONNECT_TIMEOUT_MS = 40_000;
const OPEN = 1;
const TOKEN: typeof TOKEN_PARAMETER = "ws_token";
const CHANNEL: typeof CHANNEL_PARAMETER = "channel";

/**
 * One attempt to connect: requests a token, opens a WebSocket with it, and reports its frames and
 * its end.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  readonly #abort = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  #socket: WebSocketLike | undefined;
  #checkTimer: ReturnType<typeof setTimeout> | undefined;
  /** The end of the check, on the monotonic clock in milliseconds. `Infinity` without a check. */
  #checkEndsAt = Number.POSITIVE_INFINITY;

  constructor(options: LinkOptions, channel: string | undefined, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
    this.#timer = setTimeout(
      () =>
        this.end(
          new Error(`Not connected after ${connectTimeoutMs} ms. Check the url, or raise connectTimeoutMs.`),
        ),
      timerMs(connectTimeoutMs),
    );
    this.#connect(channel).catch((error: unknown) => this.end(error));
  }

  /**
   * Sends a frame.
   *
   * @returns false if the socket is not open. Nothing is sent then.
   */
  send(text: string): boolean {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  /**
   * Sends a ping, and ends the connection if no frame arrives within `timeoutMs`.
   *
   * Any frame proves that the connection works, including the error of a server without the ping.
   * Does nothing if a check is in progress that ends earlier.
   */
  check(ping: string, timeoutMs: number): void {
    const ms = timerMs(timeoutMs);
    const endsAt = performance.now() + ms;
    if (endsAt >= this.#checkEndsAt || !this.send(ping)) return;
    clearTimeout(this.#checkTimer);
    this.#checkEndsAt = endsAt;
    this.#checkTimer = setTimeout(() => this.end(), ms);
  }

  #stopCheck(): void {
    clearTimeout(this.#checkTimer);
    this.#checkEndsAt = Number.POSITIVE_INFINITY;
  }

  /** Closes the connection without an event. */
  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#stopCheck();
    this.#socket?.close();
  }

  /** Closes the connection, and calls `end` of the events. Does nothing after the first call. */
  end(error?: unknown): void {
    if (this.#abort.signal.aborted) return;
    this.close();
    this.#events.end(error);
  }

  async #connect(channel: string | undefined): Promise<void> {
    const { signal } = this.#abort;
    const token = await requestToken(this.#options, channel, signal);
    if (signal.aborted) return;
    this.#events.token();
    const url = withQuery(this.#options.url, { [TOKEN]: token, [CHANNEL]: channel });
    const socket = this.#open(url);
    this.#socket = socket;
    let isOpened = false;
    socket.addEventListener("open", () => {
      isOpened = true;
      clearTimeout(this.#timer);
      if (!signal.aborted) this.#events.open();
    });
    socket.addEventListener("message", ({ data }) => {
      this.#stopCheck();
      if (!signal.aborted && typeof data === "string") this.#events.text(data);
    });
    socket.addEventListener("close", () => this.end(isOpened ? undefined : this.#handshakeError()));
    // The close event is sufficient, but `ws` ends the process if "error" has no listener.
    socket.addEventListener("error", () => undefined);
  }

  /**
   * Creates the WebSocket. If the content security policy forbids the connection, some browsers
   * throw here, and others fail the handshake.
   */
  #open(url: string): WebSocketLike {
    try {
      return new (this.#options.WebSocket ?? WebSocket)(url);
    } catch (error) {
      throw this.#handshakeError(`The browser reported: ${error}. `);
    }
  }

  #handshakeError(report = ""): CallError {
    const { token, view } = this.#options;
    // Only a request to the token endpoint contains the view.
    const advice =
      typeof token === "string" && view === undefined
        ? 'Check the url, and set the option "view" so that the token endpoint reports the reason.'
        : `Check that the url is the WebSocket URL of the view${view === undefined ? "" : ` ${view}`}, and read the denial in the output of the server.`;
    return new CallError(
      `${report}The WebSocket handshake failed. A browser does not reveal whether the URL is wrong or the server denied the connection. ${advice}`,
      { code: HANDSHAKE_FAILED },
    );
  }
}

/** Adds parameters to a URL as text: the `URL` of React Native has no working `searchParams`. */
function withQuery(url: string, parameters: Readonly<Record<string, string | undefined>>): string {
  let result = url;
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) continue;
    result += `${result.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(value)}`;
  }
  return result;
}

/**
 * Checks the URL and the environment, so that `connect()` throws before the first attempt.
 *
 * @throws TypeError for a URL that a WebSocket does not accept, or if WebSocket or crypto is
 *   missing
 */
export function checkEnvironment({ url, WebSocket: webSocket }: LinkOptions): void {
  if (typeof url !== "string" || !/^wss?:\/\/[^/?#]/i.test(url)) {
    throw new TypeError(
      `connect(): url is ${JSON.stringify(url)}. It must be a string that begins with wss:// or ws:// and a host.`,
    );
  }
  if (url.includes("#")) {
    throw new TypeError(
      `connect(): url is ${JSON.stringify(url)}. A WebSocket does not accept a URL with a fragment. Remove "#" and the text after it.`,
    );
  }
  // Throws a TypeError for a URL that is malformed otherwise.
  new URL(url);
  if (typeof (webSocket ?? globalThis.WebSocket) !== "function") {
    throw new TypeError(
      'connect(): this environment has no WebSocket. Pass one as the option "WebSocket", such as that of the package ws.',
    );
  }
  if (typeof globalThis.crypto?.getRandomValues !== "function") {
    throw new TypeError(
      "connect(): this environment has no crypto.getRandomValues(), which creates the ids of calls. In React Native, import the " +
        "package react-native-get-random-values first.",
    );
  }
}

/** Requests a token. @throws CallError if the token endpoint denied it */
export async function requestToken(
  { token, view, fetch: fetchOption }: LinkOptions,
  channel: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (typeof token !== "string") return token?.();
  const response = await (fetchOption ?? fetch)(token, {
    method: "POST",
    headers: { "content-type": "application/json" },
    credentials: "include",
    cache: "no-store",
    body: JSON.stringify({ view, channel }),
    signal,
  });
  if (!response.ok) throw await errorOf(response);
  const body = (await response.json()) as Partial<TokenBody> | null;
  if (typeof body?.token !== "string") {
    throw new Error(`${token} answered without a token. Set "token" to the URL of the token endpoint.`);
  }
  return body.token;
}

/** Returns the error of a token response that is not successful. */
async function errorOf(response: Response): Promise<CallError> {
  const body: unknown = await response.json().catch(() => undefined);
  const { error, reference } = (body ?? {}) as Readonly<Record<string, unknown>>;
  return new CallError(
    typeof error === "string"
      ? error
      : response.statusText || "The token request was rejected. Check the token endpoint.",
    {
      status: response.status,
      reference: typeof reference === "string" ? reference : "",
      retryAfterMs: retryAfterOf(response.headers.get("retry-after"), response.headers.get("date")),
    },
  );
}

/**
 * Parses Retry-After, which is a number of seconds or a date, to milliseconds.
 *
 * A date is compared with the date of the response, if the page can read it. The result is at most
 * one hour, because longer timers can overflow and run immediately.
 */
function retryAfterOf(header: string | null, date: string | null): number | undefined {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header)
    ? Number(header) * 1000
    : Date.parse(header) - (Date.parse(date ?? "") || Date.now());
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 3_600_000);
}
