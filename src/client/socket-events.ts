import type { RestoredNotice, RevokedNotice } from "../protocol/frames.ts";
import type { HANDSHAKE_FAILED } from "./calls.ts";

/**
 * The state of a socket.
 *
 * - `connecting`: a token is requested, or the WebSocket is opening.
 * - `open`: calls are sent.
 * - `reconnecting`: the next attempt to connect follows after a wait.
 * - `denied`: the connection was denied, or its permission was revoked. With the option `view`, the
 *   client requests a token from time to time, and connects when access returns.
 * - `closed`: `close()` was called.
 */
export type SocketState = "connecting" | "open" | "reconnecting" | "denied" | "closed";

/** The part that all messages of the server have. Types of messages can extend it, or not. */
export interface AnyMessage {
  readonly type?: string;
}

/** A message of the server that is not the answer to a call. */
export interface ServerMessage extends AnyMessage {
  readonly [field: string]: unknown;
}

/**
 * The reason why no connection was opened: a denial by the token endpoint, or failed handshakes.
 */
export interface Denial {
  /** The HTTP status of the token endpoint, or 0 with a `code`. */
  readonly status: number;
  /**
   * `HANDSHAKE_FAILED` if the client stopped after ten failed handshakes in a row. It stops only if
   * no connection was open before.
   */
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
  /** The text of the server, or a description of the failed handshake. */
  readonly error: string;
  /** The reference of the decision, with which an operator finds the reason. Can be empty. */
  readonly reference: string;
  /** With status 429, the approximate time until the automatic next attempt, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/** An error outside of a call: of an attempt to connect, or of a message of `send()`. */
export interface ClientError {
  /** The text of the server, or a description of the error. */
  readonly message: string;
  /** `HANDSHAKE_FAILED` if the WebSocket handshake failed. */
  readonly code?: typeof HANDSHAKE_FAILED | undefined;
  /** The reference of a denial by the app. */
  readonly reference?: string;
  /** The id of the request in an error of API Gateway. */
  readonly requestId?: string;
}

/** The events of a `Socket`, and the values that their listeners receive. */
export interface SocketEvents<Message> {
  /** A message of the server that is not the answer to a call. */
  readonly message: Message;
  /** The new state. */
  readonly state: SocketState;
  /**
   * A permission was revoked. With the scope `view`, the state is now `denied`. With the scope
   * `channel`, the connection left that channel and stays open.
   */
  readonly revoked: RevokedNotice;
  /**
   * The user has access again to a channel that the connection had to leave. To join it again, call
   * a handler of the view, or `reconnect({ channel })`.
   */
  readonly restored: RestoredNotice;
  /**
   * The token endpoint answered with 4xx, or no handshake succeeded.
   *
   * After status 429, the client tries again after the time in `Retry-After`. After failed
   * handshakes, it tries again when the network returns or the page becomes visible.
   */
  readonly denied: Denial;
  /** An error outside of a call. The client tries again if no connection is open. */
  readonly error: ClientError;
}
