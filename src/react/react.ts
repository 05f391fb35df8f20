import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { AnyMessage, CallsOf, ConnectOptions, ServerMessage, Socket } from "../client/socket.ts";
import { type AccessDenial, type SocketStatus, SocketStore } from "./socket-store.ts";

export type { AccessDenial, SocketStatus };

/** The properties of a provider: the options of `connect()`. */
export interface SallyportProviderProps extends ConnectOptions {
  readonly children?: ReactNode;
}

/** The result of `useSocket()`. */
export interface UseSocketResult<View, Message extends AnyMessage> extends SocketStatus<View, Message> {
  /** The handlers of the view: `call.say({ text })`. A call waits until the socket is open. */
  readonly call: CallsOf<View>;
  /** Connects again now, for example after a denial. */
  readonly reconnect: () => void;
}

/** The result of `useCall()`. */
export interface UseCallResult<Call> {
  /**
   * Calls the handler. The promise rejects with the error that `error` contains too. It is the same
   * function at each render.
   */
  readonly call: Call;
  /** Whether a call is in flight. */
  readonly isPending: boolean;
  /**
   * The error of the call that failed last, until the next call begins: a `CallError` if the server denied
   * the call, or the reason of an `AbortSignal`.
   */
  readonly error: Error | undefined;
}

/** The messages of a type. Without a union of types, all messages. */
export type MessageOfType<Message, Type> = [Extract<Message, { readonly type: Type }>] extends [never]
  ? Message
  : Extract<Message, { readonly type: Type }>;

/** The provider and the hooks of one view. */
export interface SallyportReact<View, Message extends AnyMessage> {
  /**
   * Keeps a connection to the view while it is rendered, and gives it to the hooks below it.
   *
   * Another `url`, `view`, `token`, `action` or `handlerKey` opens another connection. Another
   * `channel` joins that channel. Another function `token` is called for the next token. Other changed
   * options are used when another connection is opened.
   */
  readonly SallyportProvider: (props: SallyportProviderProps) => ReactElement;
  /** Returns the state of the connection, and the last denial. */
  readonly useSocket: () => UseSocketResult<View, Message>;
  /** Returns a handler of the view, and whether a call of it is in flight or failed. */
  readonly useCall: <Name extends keyof CallsOf<View>>(name: Name) => UseCallResult<CallsOf<View>[Name]>;
  /** Calls a function for each message of a type. It can be another function at each render. */
  readonly useMessages: <Type extends Message["type"]>(
    type: Type,
    handler: (message: MessageOfType<Message, Type>) => void,
  ) => void;
}

/**
 * Creates the provider and the hooks of a view. Call it once per view, in a module of its own.
 *
 * @example
 * export const { SallyportProvider, useSocket, useCall, useMessages } =
 *   createSallyportReact<ChatView, ChatMessage>();
 */
export function createSallyportReact<View, Message extends AnyMessage = ServerMessage>(): SallyportReact<
  View,
  Message
> {
  const StoreContext = createContext<SocketStore<View, Message> | undefined>(undefined);

  function useStore(): SocketStore<View, Message> {
    const store = useContext(StoreContext);
    if (store) return store;
    throw new Error(
      "A hook of createSallyportReact() is used outside of its provider. Use it in a component below the SallyportProvider of the same call.",
    );
  }

  return {
    SallyportProvider({ children, ...options }) {
      const [store] = useState(() => new SocketStore<View, Message>(options.channel));
      useConnection(store, options);
      return createElement(StoreContext.Provider, { value: store }, children);
    },

    useSocket() {
      const store = useStore();
      const status = useSyncExternalStore(store.subscribe, store.status, store.initialStatus);
      return { ...status, call: store.call, reconnect: store.reconnect };
    },

    useCall(name) {
      const { call } = useStore();
      return useTracked(call[name]);
    },

    useMessages(type, handler) {
      const store = useStore();
      const latest = useLatest(handler);
      const listener = useCallback(
        (message: Message) => {
          if (message.type === type) latest.current(message as MessageOfType<Message, typeof type>);
        },
        [type, latest],
      );
      // The first effect runs at the commit, so that no message is missed. The second one also runs
      // when React hides the component and shows it again. A listener that is added twice is called once.
      useInsertionEffect(() => store.onMessage(listener), [store, listener]);
      useEffect(() => store.onMessage(listener), [store, listener]);
    },
  };
}

/** Opens the socket of a store while the component is mounted. */
function useConnection<View, Message extends AnyMessage>(
  store: SocketStore<View, Message>,
  options: ConnectOptions,
): void {
  const { url, token, view, action, handlerKey, channel } = options;
  const latest = useLatest(options);
  const [, setFailure] = useState<unknown>();
  // A function is a new one at each render, so it does not open another connection.
  const endpoint = typeof token === "function" ? "a function" : token;
  // biome-ignore lint/correctness/useExhaustiveDependencies: these options open another connection
  useEffect(() => {
    const { channel: _, ...rest } = latest.current;
    const own =
      typeof rest.token === "function" ? { ...rest, token: () => tokenOf(latest.current.token) } : rest;
    // An error boundary receives an error that is thrown while React updates the state.
    return store.open(own, (error) =>
      setFailure(() => {
        throw error;
      }),
    );
  }, [store, url, endpoint, view, action, handlerKey]);
  useEffect(() => store.join(channel), [store, channel]);
}

/** Calls the function of the last render. The type of `token` is part of the key, so it is one. */
async function tokenOf(token: ConnectOptions["token"]): Promise<string> {
  return typeof token === "function" ? token() : "";
}

/** Returns a handler with the state of its calls. */
function useTracked<Call>(handler: Call): UseCallResult<Call> {
  const [result, setResult] = useState<CallStatus>({ handler, ...IDLE });
  const call = useCallback(
    async (...args: readonly unknown[]) => {
      // A result of another handler, which the component called before, is replaced.
      setResult((before) => ({
        handler,
        pending: (before.handler === handler ? before.pending : 0) + 1,
        error: undefined,
      }));
      const settle = (error?: Error) =>
        setResult((before) =>
          before.handler === handler
            ? { handler, pending: before.pending - 1, error: error ?? before.error }
            : before,
        );
      try {
        const output = await (handler as (...args: readonly unknown[]) => Promise<unknown>)(...args);
        settle();
        return output;
      } catch (error) {
        settle(error as Error);
        throw error;
      }
    },
    [handler],
  );
  const { pending, error } = result.handler === handler ? result : IDLE;
  return { call: call as Call, isPending: pending > 0, error };
}

const IDLE = { pending: 0, error: undefined };

/** The calls of one handler. */
interface CallStatus {
  readonly handler: unknown;
  /** The number of calls in flight. */
  readonly pending: number;
  readonly error: Error | undefined;
}

/** Returns a reference to the value of the last render that was committed. */
function useLatest<Value>(value: Value): { readonly current: Value } {
  const latest = useRef(value);
  // An effect runs later than the commit. A message between them would use the value before it.
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

export type { Socket };
