import type { CallableNames, InputOf, OutputOf } from "../protocol/contract.ts";
import type { PERMISSION_DENIED, PING_TYPE, RevokedNotice } from "../protocol/frames.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import {
  CallError,
  type CallOptions,
  Calls,
  encodeMessage,
  type HANDSHAKE_FAILED,
  timerMs,
} from "./calls.ts";
import { checkEnvironment, Link, type LinkOptions } from "./link.ts";

export type { BackoffOptions, CallOptions, LinkOptions, RevokedNotice };
export { CallError };

export interface ConnectOptions extends LinkOptions {
  /** The channel to join at connect. Default: the view's own, if it has one. */
  readonly channel?: string;
  /** How long a call waits for its answer, in milliseconds. Default 30 000. */
  readonly callTimeoutMs?: number;
  /** Waits between attempts after an unexpected end. */
  readonly backoff?: BackoffOptions;
  /** The field that names the handler, as the view's `handlerKey`. Default `handler`. */
  readonly handlerKey?: string;
  /** Sent as `action` with every message, where the gateway picks a route by it. Default: none. */
  readonly action?: string;
  /**
   * Sends a message at intervals, so that API Gateway does not close the socket after ten idle minutes: a built-in ping, or a
   * call of `handler`. If nothing is received within `callTimeoutMs`, the connection is closed and opened again.
   * Default: off. `everyMs`: 540 000.
   */
  readonly keepAlive?: { readonly handler?: string; readonly everyMs?: number };
}

/**
 * `connecting`: asking for a token, or the socket is opening. `open`: calls are answered. `waiting`: trying
 * again soon. `refused`: not let in, or the right ended; `reconnect()` tries anew. `closed`: by `close()`.
 */
export type SocketState = "connecting" | "open" | "waiting" | "refused" | "closed";

/** Something the server sent that answers no call. */
export interface ServerMessage {
  readonly type?: string;
  readonly [field: string]: unknown;
}

/** The token endpoint denied the connection, or no handshake succeeded. */
export interface Denial {
  /** HTTP status of the token endpoint, or 0 with a `code`. */
  readonly status: number;
  /** `HANDSHAKE_FAILED`: the client stopped after ten failed handshakes in a row, without one that succeeded before. */
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
  readonly error: string;
  /** Leads whoever may read the server's decisions to the reason. May be empty. */
  readonly reference: string;
  /** With 429: the next attempt comes by itself, after about this long. */
  readonly retryAfterMs?: number | undefined;
}

/** What went wrong outside of a call: an attempt to connect, or a message sent without wanting an answer. */
export interface ClientError {
  readonly message: string;
  /** `HANDSHAKE_FAILED` if the WebSocket handshake failed. */
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
  /** From a refusal by the app's server. */
  readonly reference?: string;
  /** From an error of API Gateway itself. */
  readonly requestId?: string;
}

export interface SocketEvents<Message> {
  /** A pushed message. */
  readonly message: Message;
  /** The state that begins. */
  readonly state: SocketState;
  /** A right ended. `view`: the state is `refused` from now on. `channel`: left; the socket stays. */
  readonly revoked: RevokedNotice;
  /**
   * The token endpoint answered with 4xx, or no handshake succeeded. After 429, the client tries again after the time in
   * `Retry-After`; after failed handshakes, when the network returns or the page becomes visible.
   */
  readonly refused: Denial;
  readonly error: ClientError;
}

/** The input may be left out where the handler needs nothing. */
type CallArguments<Input> =
  Record<never, never> extends Input
    ? [input?: Exclude<Input, void>, options?: CallOptions]
    : [input: Input, options?: CallOptions];

/** The handlers of a view's class, as functions. */
export type CallsOf<View> = {
  readonly [Name in CallableNames<View>]: (
    ...args: CallArguments<InputOf<View[Name]>>
  ) => Promise<OutputOf<View[Name]>>;
};

const CALL_TIMEOUT_MS = 30_000;
/** A socket that lasted this long was a good one: the waits begin anew with a short one. */
const GOOD_AFTER_MS = 5_000;
/**
 * Number of failed handshakes in a row, each with a new token, after which a client that never had a connection stops. With the
 * default waits this takes about 40 s. A client that had one continues: its gateway may be restarting.
 */
const MAX_FAILED_HANDSHAKES = 10;
/** How long the built-in ping waits for a frame, in milliseconds. */
const PING_TIMEOUT_MS = 5_000;
/** How often an open socket compares the clock, in milliseconds. */
const CLOCK_CHECK_MS = 15_000;
/** A longer time between two comparisons means that the machine slept. A hidden page's timers run once per minute. */
const SLEPT_AFTER_MS = 75_000;
/** Events of the page after which a connection may have been lost without a notice, or may be possible again. */
const PAGE_EVENTS = ["online", "offline", "pageshow", "visibilitychange"];
/** Begins the types of the server's own notices. */
const NOTICES = "sallyport.";
const PING: typeof PING_TYPE = "sallyport.ping";
const DENIED: typeof PERMISSION_DENIED = "Permission denied.";

/** Names of options. A misspelled one, such as `tokens`, would not have an effect. */
const OPTIONS: Readonly<Record<keyof ConnectOptions, true>> = {
  url: true,
  token: true,
  view: true,
  channel: true,
  connectTimeoutMs: true,
  callTimeoutMs: true,
  backoff: true,
  handlerKey: true,
  action: true,
  keepAlive: true,
  WebSocket: true,
  fetch: true,
};

/**
 * Opens a socket to a view, and opens it again when it ends.
 *
 * @example
 * const socket = connect<ChatView>({ url, token: "/api/ws-token", view: "/ws/chat", channel: "rooms/general" });
 * await socket.call.send_message({ message: "hello" });
 *
 * @throws TypeError for an unknown option, for a `url` that no WebSocket accepts, or where WebSocket or crypto is missing
 */
export function connect<View, Message extends ServerMessage = ServerMessage>(
  options: ConnectOptions,
): Socket<View, Message> {
  return new Socket(options);
}

/** Made by {@link connect}. Belongs to the page, which ends it with `close()`. */
export class Socket<View, Message extends ServerMessage = ServerMessage> {
  /**
   * Calls a handler by its name: `socket.call.send_message({ message })`.
   *
   * A call made while the socket is connecting or waiting is sent as soon as it is open. At most 32 calls are in flight, and further
   * calls wait in order. A call whose answer can no longer arrive is rejected and not sent again, because its handler may have run.
   *
   * Rejects with a {@link CallError}, with the reason of `signal`, or with a TypeError for input that no wire takes.
   */
  readonly call: CallsOf<View>;
  /** Asked for at each connect. Set it when a handler has moved the session, so that a reconnect comes back there. */
  channel: string | undefined;

  readonly #options: ConnectOptions;
  readonly #calls: Calls;
  readonly #backoff: Backoff;
  readonly #listeners = new Map<string, Set<(event: never) => void>>();
  #state: SocketState = "connecting";
  #refusal = new CallError("The socket is closed.");
  #link: Link | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #keepAliveTimer: ReturnType<typeof setInterval> | undefined;
  #clockTimer: ReturnType<typeof setInterval> | undefined;
  /** On the monotonic clock, in milliseconds. */
  #openedAt = 0;
  /** Until this time on the monotonic clock, the server asked for no further attempt. */
  #retryNotBefore = 0;
  #failedHandshakes = 0;
  /** Whether a connection with this channel was open before. */
  #hasOpened = false;

  constructor(options: ConnectOptions) {
    for (const name of Object.keys(options)) {
      if (!Object.hasOwn(OPTIONS, name)) {
        throw new TypeError(
          `connect() has no option "${name}". The options are: ${Object.keys(OPTIONS).join(", ")}.`,
        );
      }
    }
    checkEnvironment(options);
    this.#calls = new Calls(() => this.#transmit());
    this.#options = options;
    this.channel = options.channel;
    this.#backoff = new Backoff(options.backoff);
    this.call = new Proxy(Object.freeze({}), {
      // A "then" would make `await socket.call` wait for a handler.
      get: (_, name) =>
        typeof name === "symbol" || name === "then"
          ? undefined
          : (input?: object, callOptions?: CallOptions) => this.#call(name, input, callOptions),
    }) as CallsOf<View>;
    this.#dial();
  }

  get state(): SocketState {
    return this.#state;
  }

  /**
   * Sends without wanting an answer. A refusal comes as an `error` event, if the gateway gives answers back.
   *
   * @throws CallError with status 0 when the socket is not open, with 413 when the message is too large
   */
  send(handler: string, payload?: object): void {
    const text = encodeMessage(this.#message(handler, payload));
    if (!this.#link?.send(text)) throw new CallError(`The socket is ${this.#state}, not open.`);
  }

  /** @returns a function that removes the listener */
  on<Name extends keyof SocketEvents<Message>>(
    name: Name,
    listener: (event: SocketEvents<Message>[Name]) => void,
  ): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Tries anew now, with a new token: after a refusal, instead of waiting on, or in another channel. An attempt
   * under way for the same channel goes on.
   */
  reconnect({ channel = this.channel }: { channel?: string | undefined } = {}): void {
    if (this.#state === "connecting" && channel === this.channel) return;
    if (channel !== this.channel) this.#hasOpened = false;
    this.channel = channel;
    this.#failedHandshakes = 0;
    this.#redial();
  }

  /** Ends the socket and all its calls. */
  close(): void {
    this.#refusal = new CallError("The socket is closed.");
    for (const name of PAGE_EVENTS) globalThis.removeEventListener?.(name, this.#checkNow);
    this.#hangUp();
    this.#calls.refuse(this.#refusal);
    this.#enter("closed");
  }

  #message(handler: string, input?: object) {
    const { handlerKey = "handler", action } = this.#options;
    return { handlerKey, handler, action, input };
  }

  #call(handler: string, input?: object, options?: CallOptions): Promise<unknown> {
    const timeoutMs = options?.timeoutMs ?? this.#options.callTimeoutMs ?? CALL_TIMEOUT_MS;
    const answer = this.#calls.add(this.#message(handler, input), { signal: options?.signal, timeoutMs });
    if (this.#state === "open") this.#transmit();
    else if (this.#state === "refused" || this.#state === "closed") this.#calls.refuse(this.#refusal);
    return answer;
  }

  #transmit(): void {
    this.#calls.transmit((text) => this.#link?.send(text) ?? false);
  }

  /** With an id, because API Gateway may not deliver an error to a message without one. */
  #ping(): string {
    return JSON.stringify({ id: PING, type: PING, action: this.#options.action });
  }

  #redial(): void {
    this.#hangUp();
    this.#dial();
  }

  /** Adding a listener again has no effect. */
  #dial(): void {
    for (const name of PAGE_EVENTS) globalThis.addEventListener?.(name, this.#checkNow);
    this.#link = new Link(this.#options, this.channel, {
      open: () => this.#opened(),
      text: (text) => this.#receive(text),
      end: (error) => this.#ended(error),
    });
    this.#enter("connecting");
  }

  #opened(): void {
    const { keepAlive, callTimeoutMs = CALL_TIMEOUT_MS } = this.#options;
    this.#openedAt = performance.now();
    this.#hasOpened = true;
    this.#failedHandshakes = 0;
    this.#state = "open";
    this.#transmit();
    if (keepAlive) {
      const { handler, everyMs = 540_000 } = keepAlive;
      // Not a call, which would wait while many calls are in flight.
      const ping = handler === undefined ? this.#ping() : encodeMessage(this.#message(handler), PING);
      this.#keepAliveTimer = setInterval(() => this.#link?.check(ping, callTimeoutMs), timerMs(everyMs));
    }
    let checkedAt = Date.now();
    this.#clockTimer = setInterval(() => {
      const now = Date.now();
      if (now - checkedAt > SLEPT_AFTER_MS) this.#checkNow();
      checkedAt = now;
    }, CLOCK_CHECK_MS);
    this.#emit("state", "open");
  }

  /** Checks an open connection, and tries at once to open one that is not. */
  readonly #checkNow = (event?: Event): void => {
    const type = event?.type;
    if (type === "visibilitychange" && document.visibilityState !== "visible") return;
    if (this.#state === "open") this.#link?.check(this.#ping(), PING_TIMEOUT_MS);
    else if (type === "offline") return;
    else if (this.#state === "waiting") {
      if (performance.now() >= this.#retryNotBefore) this.#redial();
    } else if (
      (this.#state === "connecting" && type === "online") ||
      (this.#state === "refused" && this.#refusal.code)
    ) {
      // An attempt from before the network returned may get no answer.
      this.#redial();
    }
  };

  #ended(error: unknown): void {
    if (this.#state === "open" && performance.now() - this.#openedAt >= GOOD_AFTER_MS) this.#backoff.reset();
    this.#hangUp();
    if (!(error instanceof CallError)) {
      this.#failedHandshakes = 0;
      this.#retryIn();
      if (error) this.#emit("error", { message: error instanceof Error ? error.message : String(error) });
      return;
    }
    const { status, message, reference, retryAfterMs, code } = error;
    const isLast = code && ++this.#failedHandshakes >= MAX_FAILED_HANDSHAKES && !this.#hasOpened;
    if (!isLast && (status < 400 || status >= 500 || status === 408)) {
      this.#retryIn(retryAfterMs);
      this.#emit("error", code ? { message, code } : { message, reference });
      return;
    }
    if (status === 429) {
      this.#calls.refuse(error);
      this.#retryIn(retryAfterMs);
    } else this.#refuse(error);
    this.#emit("refused", { status, error: message, reference, retryAfterMs, ...(code && { code }) });
  }

  #refuse(refusal: CallError): void {
    this.#refusal = refusal;
    // First: a listener of the state may try anew, with calls of its own.
    this.#calls.refuse(refusal);
    this.#enter("refused");
  }

  #retryIn(ms = 0): void {
    this.#retryNotBefore = performance.now() + ms;
    this.#retryTimer = setTimeout(() => this.#dial(), ms + this.#backoff.next());
    this.#enter("waiting");
  }

  /** Leaves the connection, or the attempt or wait for one. Calls that were not sent yet go on waiting. */
  #hangUp(): void {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#keepAliveTimer);
    clearInterval(this.#clockTimer);
    this.#link?.close();
    this.#link = undefined;
    this.#calls.lose();
  }

  #receive(text: string): void {
    let frame: unknown;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (typeof frame !== "object" || frame === null || Array.isArray(frame)) return;
    const fields = frame as Readonly<Record<string, unknown>>;
    const { type, id, ok, error, reference, message, connectionId, requestId } = fields;
    if (typeof type === "string" && type.startsWith(NOTICES)) this.#noticed(type, fields);
    else if (type !== undefined && type !== null) this.#emit("message", frame as Message);
    else if (id !== undefined && typeof ok === "boolean") this.#calls.answer({ ...fields, id, ok });
    else if (ok === false && typeof error === "string" && typeof reference === "string") {
      this.#emit("error", { message: error, reference });
    } else if (connectionId !== undefined && typeof requestId === "string") {
      this.#emit("error", { message: String(message), requestId });
    } else this.#emit("message", frame as Message);
  }

  /** The server sends these types only itself. One that this version does not know is no message of the app. */
  #noticed(type: string, { scope, channel, reference }: Readonly<Record<string, unknown>>): void {
    if (type === "sallyport.revoked") this.#revoked(scope, channel, String(reference ?? ""));
  }

  #revoked(scope: unknown, channel: unknown, reference: string): void {
    if (scope === "view") {
      this.#hangUp();
      this.#refuse(new CallError(DENIED, { status: 403, reference }));
      this.#emit("revoked", { type: "sallyport.revoked", scope, reference });
    } else if (scope === "channel" && typeof channel === "string") {
      // Asked for again it would refuse the whole connect.
      if (this.channel === channel) this.channel = undefined;
      this.#emit("revoked", { type: "sallyport.revoked", scope, channel, reference });
    }
  }

  #enter(state: SocketState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#emit("state", state);
  }

  #emit<Name extends keyof SocketEvents<Message>>(name: Name, event: SocketEvents<Message>[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(event as never);
      } catch (error) {
        // The page's own error handling sees it, and it stops nothing here.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
