import { MAX_FRAME_BYTES } from "../protocol/quotas.ts";

/** The fields of a CallError, without its message. */
interface CallErrorDetails {
  readonly status?: number;
  readonly reference?: string;
  readonly sent?: boolean;
  readonly retryAfterMs?: number | undefined;
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
}

/** The code of an attempt to connect that failed at the WebSocket handshake. */
export const HANDSHAKE_FAILED = "HANDSHAKE_FAILED";

/**
 * The error of a call, or of a token request, that returned no result. `message` is the text of the
 * server, if it sent one.
 *
 * | status | meaning |
 * | --- | --- |
 * | 0 | no answer: timeout, lost or closed connection. If `sent`, the handler may have run |
 * | 413 with `sent: false` | the message is larger than 32 KB and was not sent |
 * | any other | the status of the server, such as 403 for a missing permission |
 */
export class CallError extends Error {
  override readonly name = "CallError";
  /** The HTTP status of the answer, or 0 without an answer. */
  readonly status: number;
  /**
   * The reference of the decision, with which an operator finds the reason. Empty if the server
   * sent none.
   */
  readonly reference: string;
  /**
   * Whether the message was sent. If not, the handler did not run, and the call can be repeated.
   */
  readonly sent: boolean;
  /** The wait that the server requested before the next attempt, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** `HANDSHAKE_FAILED` if no connection was opened because the WebSocket handshake failed. */
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

/** The options of one call. */
export interface CallOptions {
  /**
   * Aborts the call, which then rejects with the reason of the signal. A message that was sent is
   * still handled by the server.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * The time limit of the call in milliseconds, including the wait for a connection. Default: the
   * option `callTimeoutMs` of `connect()`.
   */
  readonly timeoutMs?: number | undefined;
}

/** The parts of a message to a handler. */
export interface OutgoingMessage {
  readonly handlerKey: string;
  readonly handler: string;
  readonly action: string | undefined;
  readonly input: object | undefined;
}

/** The maximum delay of a timer. Browsers run a timer with a longer delay immediately. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Returns a delay that a timer accepts, in milliseconds. `Infinity` becomes almost 25 days. */
export function timerMs(ms: number): number {
  return Math.min(ms, MAX_TIMER_MS);
}

/**
 * The maximum number of calls in flight. It is below the default of the server's limit
 * `messagesInFlightPerConnection`, which also counts the messages of `send()` and pings.
 */
const MAX_CALLS_IN_FLIGHT = 32;

const CONNECTION_LOST =
  "The connection ended before the answer arrived. Check the effect of the call before you repeat it.";

/**
 * Returns the frame of a message.
 *
 * @param id the id of a call, or undefined for a message without an answer
 * @throws TypeError if the input has a field that the frame itself uses
 * @throws CallError with status 413 if the frame is larger than 32 KB
 */
export function encodeMessage({ handlerKey, handler, action, input }: OutgoingMessage, id?: string): string {
  for (const reserved of ["id", handlerKey, "toJSON", ...(action === undefined ? [] : ["action"])]) {
    if (input && reserved in input) {
      throw new TypeError(
        `The input of ${handler} has a field "${reserved}", which the message itself uses. Rename the field.`,
      );
    }
  }
  const text = JSON.stringify({ id, [handlerKey]: handler, action, ...input });
  // A browser sends a message as one frame, and API Gateway closes the connection for a larger one.
  if (new TextEncoder().encode(text).length > MAX_FRAME_BYTES) {
    throw new CallError(
      `The message for ${handler} is larger than ${MAX_FRAME_BYTES / 1024} KB. Send it in smaller parts.`,
      { status: 413 },
    );
  }
  return text;
}

/** A frame with the form of an answer to a call. The types of its fields are not checked yet. */
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

/** The number of random bytes of an id, so that another client cannot guess the id of a call. */
const ID_BYTES = 16;

function randomPrefix(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(ID_BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The calls that wait for an answer, or for a connection. */
export class Calls {
  readonly #pending = new Map<string, PendingCall>();
  readonly #onSettled: () => void;
  #inFlight = 0;
  /** The prefix of the ids of new calls. It is different for each connection. */
  #prefix = randomPrefix();
  #lastId = 0;

  /**
   * @param onSettled called when a sent call has settled, so that {@link transmit} can send the
   * next
   */
  constructor(onSettled: () => void = () => undefined) {
    this.#onSettled = onSettled;
  }

  /**
   * Adds a call, which {@link transmit} sends.
   *
   * @returns a promise of the result. It rejects with a CallError or with the reason of the signal.
   */
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
        this.#onSettled();
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
        const reason = `${message.handler} was not answered within ${timeoutMs} ms. Check its effect before you repeat it.`;
        call.reject(new CallError(reason, { sent: call.sent }));
      };
      const timer =
        timeoutMs !== undefined && Number.isFinite(timeoutMs)
          ? setTimeout(expire, timerMs(timeoutMs))
          : undefined;
      signal?.addEventListener("abort", abort);
      this.#pending.set(id, call);
    });
  }

  /** Sends waiting calls, oldest first, until the maximum is in flight or `send` returns false. */
  transmit(send: (text: string) => boolean): void {
    for (const call of this.#pending.values()) {
      if (call.sent) continue;
      if (this.#inFlight >= MAX_CALLS_IN_FLIGHT || !send(call.text)) return;
      call.sent = true;
      this.#inFlight++;
    }
  }

  /** Settles the sent call with the id of an answer. An answer without such a call is ignored. */
  answer({ id, ok, result, status, error, reference }: ReceivedAnswer): void {
    const call = typeof id === "string" ? this.#pending.get(id) : undefined;
    if (!call?.sent) return;
    if (ok) call.resolve(result);
    else {
      const message =
        typeof error === "string" ? error : "The server rejected the call and gave no reason. Check its log.";
      call.reject(
        new CallError(message, {
          status: typeof status === "number" ? status : 500,
          reference: typeof reference === "string" ? reference : "",
          sent: true,
        }),
      );
    }
  }

  /**
   * Rejects the sent calls after the connection was lost, because no answer can arrive any more.
   */
  connectionLost(): void {
    this.#prefix = randomPrefix();
    for (const call of this.#pending.values()) {
      if (call.sent) call.reject(new CallError(CONNECTION_LOST, { sent: true }));
    }
  }

  /** Rejects the calls that wait for a connection, if none will be opened. */
  rejectUnsent(error: CallError): void {
    for (const call of this.#pending.values()) if (!call.sent) call.reject(error);
  }
}
