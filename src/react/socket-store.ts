import {
  type CallOptions,
  type CallsOf,
  type ConnectOptions,
  connect,
  type ServerMessage,
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
  /** The HTTP status of the token endpoint, 403 after a revocation, or 0 if each handshake failed. */
  readonly status: number;
  /** The text for the user. */
  readonly error: string;
  /** The reference of the decision, which `npx sallyport why` explains. Can be empty. */
  readonly reference: string;
}

/** What a component shows of a socket. */
export interface SocketStatus<View, Message extends ServerMessage> {
  readonly state: SocketState;
  /** Why the state is `denied`. Undefined in other states. */
  readonly denial: AccessDenial | undefined;
  /** The socket, or undefined on a server and before the first effect. */
  readonly socket: Socket<View, Message> | undefined;
}

/** The part of the options whose change opens another connection. */
type OpenOptions = Omit<ConnectOptions, "channel">;

const INITIAL = { state: "connecting", denial: undefined, socket: undefined } as const;
const REVOKED = "Your access has ended.";

/**
 * The socket of a provider. React can run an effect twice, so the socket is created in a task of its
 * own after the effect, and only if the effect still applies.
 */
export class SocketStore<View, Message extends ServerMessage> {
  /** The handlers of the view. A call waits until the socket exists. */
  readonly call: CallsOf<View>;
  #channel: string | undefined;
  #status: SocketStatus<View, Message> = INITIAL;
  readonly #listeners = new Set<() => void>();
  readonly #messageListeners = new Set<(message: Message) => void>();
  /** Calls that wait for the socket. */
  #waiting: ((socket: Socket<View, Message>) => void)[] = [];

  constructor(channel: string | undefined) {
    this.#channel = channel;
    this.call = new Proxy(Object.freeze({}), {
      // A "then" would make `await call` wait for a handler.
      get: (_, name) =>
        typeof name === "symbol" || name === "then"
          ? undefined
          : (input?: object, options?: CallOptions) => this.#call(name, input, options),
    }) as CallsOf<View>;
  }

  /** Returns the same object until the status changes. */
  readonly status = (): SocketStatus<View, Message> => this.#status;

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
    this.#status.socket?.reconnect({ channel });
  }

  /** Connects again, for example after a denial. */
  readonly reconnect = (): void => this.#status.socket?.reconnect();

  /**
   * Creates the socket soon.
   *
   * @param onError called if `connect()` throws
   * @returns a function that closes it
   */
  open(options: OpenOptions, onError: (error: unknown) => void): () => void {
    const timer = setTimeout(() => {
      try {
        this.#connect(options);
      } catch (error) {
        onError(error);
      }
    });
    return () => {
      clearTimeout(timer);
      const { socket } = this.#status;
      this.#set(INITIAL);
      socket?.close();
    };
  }

  #connect(options: OpenOptions): void {
    const channel = this.#channel;
    const socket = connect<View, Message>({ ...options, ...(channel === undefined ? {} : { channel }) });
    this.#set({ state: socket.state, denial: undefined, socket });
    const isCurrent = () => this.#status.socket === socket;
    socket.on("state", (state) => {
      if (isCurrent())
        this.#set({ state, denial: state === "denied" ? this.#status.denial : undefined, socket });
    });
    socket.on("denied", ({ status, error, reference }) => {
      if (isCurrent()) this.#deny(socket, { kind: "denied", status, error, reference });
    });
    socket.on("revoked", ({ scope, reference }) => {
      if (isCurrent() && scope === "view")
        this.#deny(socket, { kind: "revoked", status: 403, error: REVOKED, reference });
    });
    socket.on("message", (message) => {
      if (isCurrent()) for (const listener of [...this.#messageListeners]) listener(message);
    });
    for (const resolve of this.#waiting.splice(0)) resolve(socket);
  }

  #deny(socket: Socket<View, Message>, denial: AccessDenial): void {
    this.#set({ state: socket.state, denial, socket });
  }

  #set(status: SocketStatus<View, Message>): void {
    this.#status = status;
    for (const listener of [...this.#listeners]) listener();
  }

  async #call(name: string, input?: object, options?: CallOptions): Promise<unknown> {
    const socket =
      this.#status.socket ??
      (await new Promise<Socket<View, Message>>((resolve) => this.#waiting.push(resolve)));
    const calls = socket.call as unknown as Readonly<
      Record<string, (input?: object, options?: CallOptions) => unknown>
    >;
    return calls[name]?.(input, options);
  }
}
