import type { TokenBody } from "../protocol/frames.ts";
import type { CHANNEL_PARAMETER, TOKEN_PARAMETER } from "../protocol/gateway-call.ts";
import { CallError, HANDSHAKE_FAILED, timerMs } from "./calls.ts";

/** The part of `WebSocket` that is used here. */
export interface WebSocketLike {
  readonly readyState: number;
  send(text: string): void;
  close(): void;
  addEventListener(
    type: "open" | "message" | "close" | "error",
    listener: (event: { readonly type: string; readonly data?: unknown }) => void,
  ): void;
}

/** Where to connect and how to be let in. */
export interface LinkOptions {
  /** The gateway's stage: `wss://ws.example.com` or `wss://…execute-api….amazonaws.com/production`. */
  readonly url: string;
  /**
   * Path or URL of the token endpoint, asked by POST with the page's cookies; or a function that gives a token.
   * Such a function may throw a {@link CallError} to refuse. Default: none, for an anonymous view.
   *
   * Every attempt to connect asks for a token of its own. None is kept.
   */
  readonly token?: string | (() => Promise<string>);
  /** The view's path, told to the token endpoint: only there can a page hear why it would be refused. */
  readonly view?: string;
  /** Longest time from asking for a token to the open socket, in milliseconds. Default 40 000. */
  readonly connectTimeoutMs?: number;
  /** Default: the browser's. In Node 20 the one of `ws`. */
  readonly WebSocket?: new (
    url: string,
  ) => WebSocketLike;
  /** Default: the browser's. */
  readonly fetch?: typeof fetch;
}

interface LinkEvents {
  open(): void;
  text(text: string): void;
  /** Called once. `error` is undefined when an open socket has ended. */
  end(error: unknown): void;
}

/** Longer than API Gateway waits for the answer to `$connect`. */
const CONNECT_TIMEOUT_MS = 40_000;
const OPEN = 1;
const HANDSHAKE_MESSAGE =
  "The WebSocket handshake failed. A browser does not reveal why: the url may be wrong, or the server denied the connection. " +
  'With the option "view", the token endpoint reports the reason.';
const TOKEN: typeof TOKEN_PARAMETER = "ws_token";
const CHANNEL: typeof CHANNEL_PARAMETER = "channel";

/** One attempt: a token, the socket opened with it, its frames, its end. */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  readonly #ended = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  #socket: WebSocketLike | undefined;
  #checkTimer: ReturnType<typeof setTimeout> | undefined;
  /** When the check ends, on the monotonic clock in milliseconds. `Infinity` while there is no check. */
  #checkEndsAt = Number.POSITIVE_INFINITY;

  constructor(options: LinkOptions, channel: string | undefined, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
    this.#timer = setTimeout(
      () => this.end(new Error("Connecting took too long.")),
      timerMs(connectTimeoutMs),
    );
    this.#dial(channel).catch((error: unknown) => this.end(error));
  }

  /** @returns false, and nothing was sent, when the socket is not open */
  send(text: string): boolean {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  /**
   * Sends a ping, and ends the connection if nothing arrives within `timeoutMs`. Any frame shows that the connection is alive,
   * also an error of a server that does not know the ping. Does nothing while a check is in progress that ends earlier.
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

  /** Ends it and tells nobody. */
  close(): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#stopCheck();
    this.#socket?.close();
  }

  /** Ends it and tells so. */
  end(error?: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.close();
    this.#events.end(error);
  }

  async #dial(channel: string | undefined): Promise<void> {
    const { signal } = this.#ended;
    const token = await freshToken(this.#options, channel, signal);
    if (signal.aborted) return;
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
    socket.addEventListener("close", () => this.end(isOpened ? undefined : handshakeError()));
    // It says nothing that close does not, but an unheard "error" of `ws` ends the process.
    socket.addEventListener("error", () => undefined);
  }

  /** A page's security policy can forbid the connection. Some browsers then throw, others fail the handshake. */
  #open(url: string): WebSocketLike {
    try {
      return new (this.#options.WebSocket ?? WebSocket)(url);
    } catch (error) {
      throw handshakeError(`${HANDSHAKE_MESSAGE} The browser reported: ${error}`);
    }
  }
}

function handshakeError(message = HANDSHAKE_MESSAGE): CallError {
  return new CallError(message, { code: HANDSHAKE_FAILED });
}

/** Adds parameters to a URL as text: the `URL` of React Native has no working `searchParams`. */
function withQuery(url: string, parameters: Readonly<Record<string, string | undefined>>): string {
  let whole = url;
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) continue;
    whole += `${whole.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(value)}`;
  }
  return whole;
}

/**
 * Checks what no attempt to connect can change.
 *
 * @throws TypeError for a URL that no WebSocket accepts, or where the environment lacks what the client needs
 */
export function checkEnvironment({ url, WebSocket: given }: LinkOptions): void {
  if (typeof url !== "string" || !/^wss?:\/\/[^/?#]/i.test(url)) {
    throw new TypeError(
      `connect(): url is ${JSON.stringify(url)}. It must be a string that begins with wss:// or ws:// and a host.`,
    );
  }
  if (url.includes("#")) {
    throw new TypeError(
      `connect(): url is ${JSON.stringify(url)}. WebSockets accept no URL with a fragment. Remove "#" and what follows.`,
    );
  }
  // Throws a TypeError for a URL that is malformed otherwise.
  new URL(url);
  if (typeof (given ?? globalThis.WebSocket) !== "function") {
    throw new TypeError(
      'connect(): this environment has no WebSocket. Pass one as the option "WebSocket", such as that of the package ws.',
    );
  }
  if (typeof globalThis.crypto?.getRandomValues !== "function") {
    throw new TypeError(
      "connect(): this environment has no crypto.getRandomValues(), which makes the ids of calls. In React Native, import the " +
        "package react-native-get-random-values first.",
    );
  }
}

async function freshToken(
  { token, view, fetch: given }: LinkOptions,
  channel: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (typeof token !== "string") return token?.();
  const response = await (given ?? fetch)(token, {
    method: "POST",
    headers: { "content-type": "application/json" },
    credentials: "include",
    cache: "no-store",
    body: JSON.stringify({ view, channel }),
    signal,
  });
  if (!response.ok) throw await refusalOf(response);
  const body = (await response.json()) as Partial<TokenBody> | null;
  if (typeof body?.token !== "string") throw new Error(`${token} answered without a token.`);
  return body.token;
}

async function refusalOf(response: Response): Promise<CallError> {
  const body: unknown = await response.json().catch(() => undefined);
  const { error, reference } = (body ?? {}) as Readonly<Record<string, unknown>>;
  return new CallError(typeof error === "string" ? error : response.statusText || "Refused.", {
    status: response.status,
    reference: typeof reference === "string" ? reference : "",
    retryAfterMs: retryAfterOf(response.headers.get("retry-after"), response.headers.get("date")),
  });
}

/**
 * Retry-After is seconds or a date, which is compared with the server's own date if the page can read it. At most an hour,
 * because longer timers overflow and fire at once.
 */
function retryAfterOf(header: string | null, date: string | null): number | undefined {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header)
    ? Number(header) * 1000
    : Date.parse(header) - (Date.parse(date ?? "") || Date.now());
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 3_600_000);
}
