import type { CallableNames, InputOf, OutputOf } from "../protocol/contract.ts";
import type { PERMISSION_DENIED, PING_TYPE, RestoredNotice, RevokedNotice } from "../protocol/frames.ts";
import { AccessCheck } from "./access-check.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import { CallError, type CallOptions, Calls, encodeMessage, timerMs } from "./calls.ts";
import { type ConnectOptions, checkOptionNames } from "./connect-options.ts";
import { checkEnvironment, Link, type LinkOptions } from "./link.ts";
import { LostChannel } from "./lost-channel.ts";
import type {
  AnyMessage,
  ClientError,
  Denial,
  ServerMessage,
  SocketEvents,
  SocketState,
} from "./socket-events.ts";

export type {
  AnyMessage,
  BackoffOptions,
  CallOptions,
  ClientError,
  ConnectOptions,
  Denial,
  LinkOptions,
  RestoredNotice,
  RevokedNotice,
  ServerMessage,
  SocketEvents,
  SocketState,
};
export { CallError };

/** The arguments of a call. The input is optional if the handler requires none. */
type CallArguments<Input> =
  Record<never, never> extends Input
    ? [input?: Exclude<Input, void>, options?: CallOptions]
    : [input: Input, options?: CallOptions];

/** The handlers of a view class, as functions of the client. */
export type CallsOf<View> = {
  readonly [Name in CallableNames<View>]: (
    ...args: CallArguments<InputOf<View[Name]>>
  ) => Promise<OutputOf<View[Name]>>;
};

const CALL_TIMEOUT_MS = 30_000;
/** The duration of a connection in milliseconds after which the next wait is short again. */
const STABLE_AFTER_MS = 5_000;
/**
 * The number of failed handshakes in a row, each with a new token, after which the client stops.
 * With the default waits this takes about 40 s.
 *
 * A client that had a connection before continues, because its gateway can be restarting.
 */
const MAX_FAILED_HANDSHAKES = 10;
/** The time limit of the built-in ping, in milliseconds. */
const PING_TIMEOUT_MS = 5_000;
/** The interval at which an open socket compares the clock, in milliseconds. */
const CLOCK_CHECK_MS = 15_000;
/**
 * A longer time between two comparisons means that the machine was suspended. The timers of a
 * hidden page run once per minute.
 */
const SLEPT_AFTER_MS = 75_000;
/** Events of the page after which a connection can be lost without an event, or possible again. */
const PAGE_EVENTS = ["online", "offline", "pageshow", "visibilitychange", "focus"];
/** The prefix of the types of notices, which only the server sends. */
const NOTICE_PREFIX = "sallyport.";
const SOCKET_CLOSED = "The socket is closed. Call reconnect() to open it again.";
const PING: typeof PING_TYPE = "sallyport.ping";
const DENIED: typeof PERMISSION_DENIED = "Permission denied.";

/**
 * Connects to a view, and connects again when the connection ends.
 *
 * @example
 * const socket = connect<ChatView>({
 *   url: "wss://ws.example.com",
 *   token: "/api/ws-token",
 *   view: "/ws/chat",
 *   channel: "rooms/general",
 * });
 * await socket.call.send_message({ message: "hello" });
 *
 * @param options the address, the token endpoint, the view and the timing
 * @returns a socket that is connecting. Close it with `close()`.
 * @throws TypeError for an unknown option, for a `url` that a WebSocket does not accept, or if
 *   WebSocket or crypto is missing
 */
export function connect<View, Message extends AnyMessage = ServerMessage>(
  options: ConnectOptions,
): Socket<View, Message> {
  return new Socket(options);
}

/** A connection to a view that is opened again when it ends. Create it with {@link connect}. */
export class Socket<View, Message extends AnyMessage = ServerMessage> {
  /**
   * Calls a handler by its name: `socket.call.send_message({ message })`.
   *
   * A call is sent when the socket is open. At most 32 calls are in flight, and other calls wait in
   * order. After a lost connection, a call that was sent is rejected and not sent again, because
   * its handler may have run.
   *
   * The promise rejects with a {@link CallError} or with the reason of `signal`. It rejects with a
   * TypeError if the input has a reserved field.
   */
  readonly call: CallsOf<View>;
  /**
   * The channel to join at each connect. Set it after a handler moved the connection to another
   * channel, so that the client joins that channel when it connects again.
   */
  channel: string | undefined;

  readonly #options: ConnectOptions;
  readonly #calls: Calls;
  readonly #backoff: Backoff;
  readonly #accessCheck: AccessCheck;
  readonly #lostChannel: LostChannel;
  readonly #listeners = new Map<string, Set<(event: never) => void>>();
  #state: SocketState = "connecting";
  #denial = new CallError(SOCKET_CLOSED);
  #link: Link | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #keepAliveTimer: ReturnType<typeof setInterval> | undefined;
  #clockTimer: ReturnType<typeof setInterval> | undefined;
  /** The time at which the socket opened, on the monotonic clock in milliseconds. */
  #openedAt = 0;
  /**
   * The earliest time of the next attempt by `Retry-After`, on the monotonic clock in milliseconds.
   */
  #retryNotBefore = 0;
  #failedHandshakes = 0;
  /** Whether a connection with this channel was open before. */
  #hasOpened = false;

  constructor(options: ConnectOptions) {
    checkOptionNames(options);
    checkEnvironment(options);
    this.#calls = new Calls(() => this.#transmit());
    this.#options = options;
    this.channel = options.channel;
    this.#backoff = new Backoff(options.backoff);
    this.#accessCheck = new AccessCheck(options, () => this.#startLink());
    this.#lostChannel = new LostChannel(options, (channel) => this.#handleRestored(channel));
    this.call = new Proxy(Object.freeze({}), {
      // A "then" would make `await socket.call` wait for a handler.
      get: (_, name) =>
        typeof name === "symbol" || name === "then"
          ? undefined
          : (input?: object, callOptions?: CallOptions) => this.#call(name, input, callOptions),
    }) as CallsOf<View>;
    this.#connect();
  }

  /** The current state. */
  get state(): SocketState {
    return this.#state;
  }

  /**
   * Sends a message without waiting for an answer. If the server denies it, the event `error` is
   * emitted, provided that the gateway has route responses.
   *
   * @param handler the name of the handler
   * @param payload the input of the handler. Default: none
   * @throws CallError with status 0 if the socket is not open, and with 413 if the message is
   *   larger than 32 KB
   * @throws TypeError if the payload has a reserved field
   */
  send(handler: string, payload?: object): void {
    const text = encodeMessage(this.#message(handler, payload));
    if (!this.#link?.send(text)) {
      throw new CallError(`The socket is ${this.#state}, not open. Wait for the state "open".`);
    }
  }

  /**
   * Adds a listener for an event. An error that a listener throws is reported to the environment
   * and has no other effect.
   *
   * @returns a function that removes the listener
   */
  on<Name extends keyof SocketEvents<Message>>(
    name: Name,
    listener: (event: SocketEvents<Message>[Name]) => void,
  ): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Connects again now, with a new token. Use it after a denial, to skip a wait, or to change the
   * channel. If the client is already connecting to the same channel, it does nothing.
   *
   * @param options `channel`: the channel to join. Default: the current one
   */
  reconnect({ channel = this.channel }: { channel?: string | undefined } = {}): void {
    if (channel !== undefined) this.#lostChannel.forget();
    if (this.#state === "connecting" && channel === this.channel) return;
    if (channel !== this.channel) this.#hasOpened = false;
    this.channel = channel;
    this.#failedHandshakes = 0;
    this.#connectNow();
  }

  /**
   * Checks now whether access has returned after a denial or the loss of the channel. Unlike
   * `reconnect()`, it keeps the state and an open connection until access has returned.
   *
   * @returns false if no token can be requested, because the option `view` is not set
   */
  checkAccess(): boolean {
    if (this.#state === "denied") {
      return this.#link !== undefined || this.#accessCheck.now({ isForced: true });
    }
    return this.#lostChannel.checkNow({ isForced: true });
  }

  /** Closes the socket and rejects all of its calls. */
  close(): void {
    this.#denial = new CallError(SOCKET_CLOSED);
    for (const name of PAGE_EVENTS) globalThis.removeEventListener?.(name, this.#checkNow);
    this.#disconnect();
    this.#calls.rejectUnsent(this.#denial);
    this.#setState("closed");
  }

  #message(handler: string, input?: object) {
    const { handlerKey = "handler", action } = this.#options;
    return { handlerKey, handler, action, input };
  }

  #call(handler: string, input?: object, options?: CallOptions): Promise<unknown> {
    const timeoutMs = options?.timeoutMs ?? this.#options.callTimeoutMs ?? CALL_TIMEOUT_MS;
    const answer = this.#calls.add(this.#message(handler, input), { signal: options?.signal, timeoutMs });
    if (this.#state === "open") this.#transmit();
    else if (this.#state === "denied" || this.#state === "closed") this.#calls.rejectUnsent(this.#denial);
    return answer;
  }

  #transmit(): void {
    this.#calls.transmit((text) => this.#link?.send(text) ?? false);
  }

  /** Returns a ping. It has an id, because API Gateway may not answer a message without one. */
  #ping(): string {
    return JSON.stringify({ id: PING, type: PING, action: this.#options.action });
  }

  #connectNow(): void {
    this.#disconnect();
    this.#connect();
  }

  /** Starts an attempt to connect. Listeners that were added before are not added again. */
  #connect(): void {
    for (const name of PAGE_EVENTS) globalThis.addEventListener?.(name, this.#checkNow);
    this.#startLink();
    this.#setState("connecting");
  }

  /** Requests a token, and opens a connection with it. */
  #startLink(): void {
    this.#link = new Link(this.#options, this.channel, {
      // The state stays "denied" until the token endpoint issues a token.
      token: () => this.#setState("connecting"),
      open: () => this.#handleOpen(),
      text: (text) => this.#receive(text),
      end: (error) => this.#handleEnd(error),
    });
  }

  #handleOpen(): void {
    const { keepAlive, callTimeoutMs = CALL_TIMEOUT_MS } = this.#options;
    this.#openedAt = performance.now();
    this.#hasOpened = true;
    this.#failedHandshakes = 0;
    this.#state = "open";
    this.#transmit();
    if (this.channel !== undefined) this.#lostChannel.forget();
    this.#lostChannel.handleOpen();
    if (keepAlive) {
      const { handler, everyMs = 540_000 } = keepAlive;
      // Not sent as a call, because a call waits while the maximum is in flight.
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

  /** Checks an open connection. Otherwise it tries to connect immediately. */
  readonly #checkNow = (event?: Event): void => {
    const type = event?.type;
    if (type === "visibilitychange" && document.visibilityState !== "visible") return;
    // A denied socket has a link while it checks its access.
    if (this.#state === "denied" && !this.#denial.code) {
      if (type !== "offline" && !this.#link) this.#accessCheck.now();
      return;
    }
    if (type !== "offline") this.#lostChannel.checkNow();
    if (type === "focus") return;
    if (this.#state === "open") this.#link?.check(this.#ping(), PING_TIMEOUT_MS);
    else if (type === "offline") return;
    else if (this.#state === "reconnecting") {
      if (performance.now() >= this.#retryNotBefore) this.#connectNow();
    } else if (
      (this.#state === "connecting" && type === "online") ||
      (this.#state === "denied" && this.#denial.code)
    ) {
      // An attempt that began before the network returned may receive no answer.
      this.#connectNow();
    }
  };

  #handleEnd(error: unknown): void {
    const isStable = this.#state === "open" && performance.now() - this.#openedAt >= STABLE_AFTER_MS;
    if (isStable) this.#backoff.reset();
    if (this.#state === "denied" && !isNewDenial(error, this.#denial)) {
      this.#link = undefined;
      this.#accessCheck.retry(error instanceof CallError ? error.retryAfterMs : undefined);
      return;
    }
    this.#disconnect();
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
      this.#calls.rejectUnsent(error);
      this.#retryIn(retryAfterMs);
    } else this.#deny(error, { isByTokenEndpoint: !code });
    this.#emit("denied", { status, error: message, reference, retryAfterMs, ...(code && { code }) });
  }

  #deny(denial: CallError, { isByTokenEndpoint = false } = {}): void {
    this.#denial = denial;
    // Only a missing permission can return by itself. A user who must sign in again has to act.
    const isTimed = denial.status === 403;
    if (!denial.code) this.#accessCheck.start({ isTimed, isByTokenFunction: isByTokenEndpoint });
    // Before the event: a listener of the state can connect again and make new calls.
    this.#calls.rejectUnsent(denial);
    this.#setState("denied");
  }

  #retryIn(ms = 0): void {
    this.#retryNotBefore = performance.now() + ms;
    this.#retryTimer = setTimeout(() => this.#connect(), ms + this.#backoff.next());
    this.#setState("reconnecting");
  }

  /** Ends the connection, the attempt or the wait. Calls that were not sent continue to wait. */
  #disconnect(): void {
    clearTimeout(this.#retryTimer);
    this.#accessCheck.stop();
    this.#lostChannel.handleClose();
    clearInterval(this.#keepAliveTimer);
    clearInterval(this.#clockTimer);
    this.#link?.close();
    this.#link = undefined;
    this.#calls.connectionLost();
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
    if (typeof type === "string" && type.startsWith(NOTICE_PREFIX)) this.#handleNotice(type, fields);
    else if (type !== undefined && type !== null) this.#emit("message", frame as Message);
    else if (id !== undefined && typeof ok === "boolean") this.#calls.answer({ ...fields, id, ok });
    else if (ok === false && typeof error === "string" && typeof reference === "string") {
      this.#emit("error", { message: error, reference });
    } else if (connectionId !== undefined && typeof requestId === "string") {
      this.#emit("error", { message: String(message), requestId });
    } else this.#emit("message", frame as Message);
  }

  /** Handles a notice. An unknown one is ignored, because only the server sends these types. */
  #handleNotice(type: string, { scope, channel, reference }: Readonly<Record<string, unknown>>): void {
    if (type === "sallyport.revoked") this.#handleRevoked(scope, channel, String(reference ?? ""));
    else if (type === "sallyport.restored" && scope === "channel" && typeof channel === "string") {
      this.#handleRestored(channel);
    }
  }

  #handleRestored(channel: string): void {
    this.#lostChannel.forget(channel);
    this.#emit("restored", { type: "sallyport.restored", scope: "channel", channel });
  }

  #handleRevoked(scope: unknown, channel: unknown, reference: string): void {
    if (scope === "view") {
      this.#disconnect();
      this.#deny(new CallError(DENIED, { status: 403, reference }));
      this.#emit("revoked", { type: "sallyport.revoked", scope, reference });
    } else if (scope === "channel" && typeof channel === "string") {
      // The server would deny the next connect if it requested this channel.
      if (this.channel === channel) {
        this.channel = undefined;
        this.#lostChannel.lose(channel);
      }
      this.#emit("revoked", { type: "sallyport.revoked", scope, channel, reference });
    }
  }

  #setState(state: SocketState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#emit("state", state);
  }

  #emit<Name extends keyof SocketEvents<Message>>(name: Name, event: SocketEvents<Message>[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(event as never);
      } catch (error) {
        // The error handling of the page receives the error, and the other listeners are called.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** Returns whether a check after a denial was denied for another reason, such as a sign-out. */
function isNewDenial(error: unknown, { status }: CallError): boolean {
  if (!(error instanceof CallError) || error.status === status) return false;
  return error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 429;
}
