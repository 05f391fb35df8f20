import { MAX_FRAME_BYTES } from "../protocol/quotas.ts";

/** What a call that was not answered with `ok` says beside its words. */
interface CallErrorDetails {
  readonly status?: number;
  readonly reference?: string;
  readonly sent?: boolean;
  readonly retryAfterMs?: number | undefined;
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
}

/** Code of an attempt to connect that ended at the WebSocket handshake. */
export const HANDSHAKE_FAILED = "HANDSHAKE_FAILED";

/**
 * Why a call, or a request for a token, gave no result. `message` holds the server's words where there are any.
 *
 * | status | means |
 * | --- | --- |
 * | 0 | no answer: timed out, connection lost, socket closed. With `sent` the handler may have run |
 * | 413 with `sent: false` | larger than one frame may be; it was not sent |
 * | any other | what the server answered; 403 for every refusal by permission |
 */
export class CallError extends Error {
  override readonly name = "CallError";
  /** HTTP status of the answer, or 0 where none came. */
  readonly status: number;
  /** Leads whoever may read the server's decisions to the reason. Empty where the server gave none. */
  readonly reference: string;
  /** Whether the message left this page. If not, calling again cannot do anything twice. */
  readonly sent: boolean;
  /** How long the server asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** `HANDSHAKE_FAILED` where no connection could be opened because the WebSocket handshake failed. */
  readonly code: typeof HANDSHAKE_FAILED | undefined;

  constructor(
    message: string,
    { status = 0, reference = "", sent = false, retryAfterMs, code }: CallErrorDetails = {},
  ) {
    super(message);
    this.status = status;
    this.reference = reference;
    this.sent = sent;
    this.retryAfterMs = retryAfterMs;
    this.code = code;
  }
}

export interface CallOptions {
  /** Gives the call up; it then rejects with the signal's reason. What was sent cannot be called back. */
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for the answer, waiting for the connection included. Default: the socket's `callTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** A message as it goes over the wire. `id` makes it a call. */
export interface OutgoingMessage {
  readonly handlerKey: string;
  readonly handler: string;
  readonly action: string | undefined;
  readonly input: object | undefined;
}

/** A longer timer would fire at once, in every browser. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Returns a delay that a timer accepts, in milliseconds. `Infinity` becomes almost 25 days. */
export function timerMs(ms: number): number {
  return Math.min(ms, LONGEST_TIMER_MS);
}

/**
 * Number of calls that can be sent and not answered at the same time. It is below the default of the server's limit
 * `messagesInFlightPerConnection`, which counts the messages of `send()` and pings as well.
 */
const MAX_CALLS_IN_FLIGHT = 32;

/**
 * @throws TypeError when the input has fields that the wire needs for itself
 * @throws CallError 413 when it does not fit into one frame
 */
export function encodeMessage({ handlerKey, handler, action, input }: OutgoingMessage, id?: string): string {
  for (const own of ["id", handlerKey, "toJSON", ...(action === undefined ? [] : ["action"])]) {
    if (input && own in input) {
      throw new TypeError(
        `The input of ${handler} has a field "${own}", which the wire uses itself. Name it differently.`,
      );
    }
  }
  const text = JSON.stringify({ id, [handlerKey]: handler, action, ...input });
  // A browser sends a message as one frame, and API Gateway answers a larger one by closing the socket.
  if (new TextEncoder().encode(text).length > MAX_FRAME_BYTES) {
    throw new CallError(`The message for ${handler} is larger than ${MAX_FRAME_BYTES / 1024} KB.`, {
      status: 413,
    });
  }
  return text;
}

/** A frame that looks like the answer to a call. Its fields are not checked yet. */
export interface ReceivedAnswer {
  readonly id: unknown;
  readonly ok: boolean;
  readonly result?: unknown;
  readonly status?: unknown;
  readonly error?: unknown;
  readonly reference?: unknown;
}

interface PendingCall {
  readonly text: string;
  sent: boolean;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Random bytes of an id, so that no other client can guess which call waits for an answer. */
const ID_BYTES = 16;

function randomPrefix(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(ID_BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The calls that wait for their answer, or for a connection to be sent on. */
export class Calls {
  readonly #pending = new Map<string, PendingCall>();
  readonly #freed: () => void;
  #inFlight = 0;
  /** Begins the ids of new calls. Each connection gets another one. */
  #prefix = randomPrefix();
  #lastId = 0;

  /** @param freed called when a call that was sent has settled, so that {@link transmit} can send the next one */
  constructor(freed: () => void = () => undefined) {
    this.#freed = freed;
  }

  /** Adds a call; {@link transmit} sends it. The promise settles once, and nothing of the call remains then. */
  add(message: OutgoingMessage, { signal, timeoutMs }: CallOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const id = `${this.#prefix}-${++this.#lastId}`;
      const text = encodeMessage(message, id);
      const settle = () => {
        this.#pending.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        if (!call.sent) return;
        this.#inFlight--;
        this.#freed();
      };
      const call: PendingCall = {
        text,
        sent: false,
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const abort = () => call.reject(signal?.reason);
      const expire = () => {
        const words = `${message.handler} was not answered within ${timeoutMs} ms.`;
        call.reject(new CallError(words, { sent: call.sent }));
      };
      const timer =
        timeoutMs !== undefined && Number.isFinite(timeoutMs)
          ? setTimeout(expire, timerMs(timeoutMs))
          : undefined;
      signal?.addEventListener("abort", abort);
      this.#pending.set(id, call);
    });
  }

  /** Sends calls that were not sent yet, oldest first, until too many are in flight or `send` returns false. */
  transmit(send: (text: string) => boolean): void {
    for (const call of this.#pending.values()) {
      if (call.sent) continue;
      if (this.#inFlight >= MAX_CALLS_IN_FLIGHT || !send(call.text)) return;
      call.sent = true;
      this.#inFlight++;
    }
  }

  /** Settles the call that was sent with this id. An answer with any other id, for example one that is too late, is ignored. */
  answer({ id, ok, result, status, error, reference }: ReceivedAnswer): void {
    const call = typeof id === "string" ? this.#pending.get(id) : undefined;
    if (!call?.sent) return;
    if (ok) call.resolve(result);
    else {
      const words = typeof error === "string" ? error : "The server rejected the call and gave no reason.";
      call.reject(
        new CallError(words, {
          status: typeof status === "number" ? status : 500,
          reference: typeof reference === "string" ? reference : "",
          sent: true,
        }),
      );
    }
  }

  /** The connection is gone, and with it the answers to what was sent. */
  lose(): void {
    this.#prefix = randomPrefix();
    for (const call of this.#pending.values()) {
      if (call.sent)
        call.reject(new CallError("The connection ended before the answer came.", { sent: true }));
    }
  }

  /** No connection will come: rejects what waits for one. */
  refuse(error: CallError): void {
    for (const call of this.#pending.values()) if (!call.sent) call.reject(error);
  }
}
