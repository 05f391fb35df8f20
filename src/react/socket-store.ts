import {
  type AnyMessage,
  CallError,
  type CallOptions,
  type CallsOf,
  type ConnectOptions,
  connect,
  type Socket,
  type SocketState,
} from "../client/socket.ts";

/** Why a user has no access. */
export interface AccessDenial {
  /**
   * `denied`: no connection was opened. `revoked`: the user had access, and a permission ended while
   * the connection was open.
   */
  readonly kind: "denied" | "revoked";
  /**
   * `view`: no connection is open. `channel`: the connection is open, and has left the channel of the
   * provider. It joins the channel again when access returns.
   */
  readonly scope: "view" | "channel";
  /** The HTTP status of the token endpoint, 403 after a revocation, or 0 if each handshake failed. */
  readonly status: number;
  /** The text for the user. */
  readonly error: string;
  /** The reference of the decision, which `npx sallyport why` explains. Can be empty. */
  readonly reference: string;
}

/** What a component shows of a socket. */
export interface SocketStatus<View, Message extends AnyMessage> {
  readonly state: SocketState;
  /**
   * Why no connection is allowed: in the state `denied`, and after status 429 until the client tries
   * again. With the scope `channel`, why the connection left the channel of the provider. Otherwise
   * undefined.
   */
  readonly denial: AccessDenial | undefined;
  /** The socket, or undefined on a server and before the first effect. */
  readonly socket: Socket<View, Message> | undefined;
}

/** The part of the options whose change opens another connection. */
type OpenOptions = Omit<ConnectOptions, "channel">;

const INITIAL = { state: "connecting", denial: undefined, socket: undefined } as const;
const REVOKED = "Your access has ended.";
/** Many pages can receive access to a channel at the same time, and each one opens a connection. */
const MAX_REJOIN_DELAY_MS = 500;
const NOT_RENDERED =
  "The call was not sent, because its SallyportProvider is not rendered anymore. Call the handler while the provider is rendered.";

/** A handler of the view, as a function of the client. */
type Handler = (input?: object, options?: CallOptions) => Promise<unknown>;

/** A call that waits for the socket. */
interface WaitingCall<View, Message extends AnyMessage> {
  readonly resolve: (socket: Socket<View, Message>) => void;
  readonly reject: (error: CallError) => void;
}

/**
 * The socket of a provider. React can run an effect twice, so the socket is created in a task of its
 * own after the effect, and only if the effect still applies.
 */
export class SocketStore<View, Message extends AnyMessage> {
  /** The handlers of the view. A call waits until the socket exists. */
  readonly call: CallsOf<View>;
  #channel: string | undefined;
  #status: SocketStatus<View, Message> = INITIAL;
  /** Why no connection is open. */
  #viewDenial: AccessDenial | undefined;
  /** Why the connection left the channel of the provider. It is kept until access returns. */
  #lostChannel: AccessDenial | undefined;
  #rejoinTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #messageListeners = new Set<(message: Message) => void>();
  #waiting: WaitingCall<View, Message>[] = [];
  /** Whether the provider was removed, or React hides it. */
  #isClosed = false;

  constructor(channel: string | undefined) {
    this.#channel = channel;
    // Each handler is one function, because effects can depend on it.
    const handlers = new Map<string, Handler>();
    this.call = new Proxy(Object.freeze({}), {
      get: (_, name) => {
        // A "then" would make `await call` wait for a handler.
        if (typeof name === "symbol" || name === "then") return undefined;
        const known = handlers.get(name);
        if (known) return known;
        const handler: Handler = (input, options) => this.#call(name, input, options);
        handlers.set(name, handler);
        return handler;
      },
    }) as CallsOf<View>;
  }

  /** Returns the same object until the status changes. */
  readonly status = (): SocketStatus<View, Message> => this.#status;

  /** Returns the status that a server renders. A page that was rendered there begins with it too. */
  readonly initialStatus = (): SocketStatus<View, Message> => INITIAL;

  /** Calls a function after each change of the status. @returns a function that removes it */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Calls a function for each message of the server. @returns a function that removes it */
  onMessage(listener: (message: Message) => void): () => void {
    this.#messageListeners.add(listener);
    return () => void this.#messageListeners.delete(listener);
  }

  /** Joins another channel, or none. */
  join(channel: string | undefined): void {
    if (channel === this.#channel) return;
    this.#channel = channel;
    this.#rejoin();
  }

  /**
   * Connects again, for example after a denial. If the token endpoint reports denials, it checks the
   * access first, and keeps the state and an open connection until access has returned.
   */
  readonly reconnect = (): void => {
    const { socket } = this.#status;
    if (socket?.checkAccess()) return;
    // Otherwise, a socket that the app moved to another channel stays there.
    if (this.#lostChannel) this.#rejoin();
    else socket?.reconnect();
  };

  /** Connects again, and joins the channel of the provider. */
  #rejoin(): void {
    clearTimeout(this.#rejoinTimer);
    this.#lostChannel = undefined;
    this.#viewDenial = undefined;
    const { state, socket } = this.#status;
    if (!socket) return;
    this.#publish(socket, state);
    socket.reconnect({ channel: this.#channel });
  }

  /**
   * Creates the socket soon.
   *
   * @param onError called if `connect()` throws
   * @returns a function that closes it, and rejects the calls that wait for it
   */
  open(options: OpenOptions, onError: (error: unknown) => void): () => void {
    this.#isClosed = false;
    const timer = setTimeout(() => {
      try {
        this.#connect(options);
      } catch (error) {
        onError(error);
      }
    });
    return () => {
      clearTimeout(timer);
      clearTimeout(this.#rejoinTimer);
      const { socket } = this.#status;
      this.#isClosed = true;
      this.#set(INITIAL);
      socket?.close();
      this.#rejectIfClosed();
    };
  }

  #connect(options: OpenOptions): void {
    const channel = this.#channel;
    const socket = connect<View, Message>({ ...options, ...(channel === undefined ? {} : { channel }) });
    this.#lostChannel = undefined;
    this.#viewDenial = undefined;
    this.#publish(socket, socket.state);
    const isCurrent = () => this.#status.socket === socket;
    socket.on("state", (state) => {
      if (!isCurrent()) return;
      if (state !== "denied") this.#viewDenial = undefined;
      this.#publish(socket, state);
    });
    socket.on("denied", ({ status, error, reference }) => {
      if (!isCurrent()) return;
      this.#viewDenial = { kind: "denied", scope: "view", status, error, reference };
      this.#publish(socket, socket.state);
    });
    socket.on("revoked", (notice) => {
      const { scope, reference } = notice;
      if (!isCurrent() || (notice.scope === "channel" && notice.channel !== this.#channel)) return;
      const denial = { kind: "revoked", scope, status: 403, error: REVOKED, reference } as const;
      if (scope === "view") this.#viewDenial = denial;
      else this.#lostChannel = denial;
      this.#publish(socket, socket.state);
    });
    socket.on("restored", ({ channel }) => {
      if (!isCurrent() || !this.#lostChannel || channel !== this.#channel) return;
      clearTimeout(this.#rejoinTimer);
      this.#rejoinTimer = setTimeout(() => this.#rejoin(), Math.random() * MAX_REJOIN_DELAY_MS);
    });
    socket.on("message", (message) => {
      if (isCurrent()) for (const listener of [...this.#messageListeners]) callListener(listener, message);
    });
    for (const { resolve } of this.#waiting.splice(0)) resolve(socket);
  }

  /** Shows a denial of the view before the loss of the channel. */
  #publish(socket: Socket<View, Message>, state: SocketState): void {
    this.#set({ state, denial: this.#viewDenial ?? this.#lostChannel, socket });
  }

  #set(status: SocketStatus<View, Message>): void {
    this.#status = status;
    for (const listener of [...this.#listeners]) listener();
  }

  async #call(name: string, input?: object, options?: CallOptions): Promise<unknown> {
    const socket = this.#status.socket ?? (await this.#wait());
    return (socket.call as unknown as Readonly<Record<string, Handler>>)[name]?.(input, options);
  }

  #wait(): Promise<Socket<View, Message>> {
    if (this.#isClosed) this.#rejectIfClosed();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Rejects the calls that wait, unless the effects of this task open the socket again. */
  #rejectIfClosed(): void {
    setTimeout(() => {
      if (!this.#isClosed) return;
      for (const { reject } of this.#waiting.splice(0)) reject(new CallError(NOT_RENDERED));
    });
  }
}

/** Calls a function. The page receives its error, so that the other functions are called too. */
function callListener<Message>(listener: (message: Message) => void, message: Message): void {
  try {
    listener(message);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
