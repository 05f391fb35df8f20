/** The JSON messages of a connection, in both directions. */

/** The answer to a call. It has no `type`, which distinguishes it from a pushed message. */
export type CallAnswer =
  | { readonly id: string | number; readonly ok: true; readonly status: 200; readonly result: unknown }
  | {
      readonly id: string | number;
      readonly ok: false;
      readonly status: number;
      readonly error: string;
      readonly reference: string;
    };

/** The body of a denial that does not answer a call. */
export interface DenialBody {
  readonly ok: false;
  readonly error: string;
  readonly reference: string;
}

/**
 * The notice of a revocation. With the scope `view`, the connection closes next. With the scope
 * `channel`, it has left that channel.
 *
 * The notice does not contain the permission. The reference identifies the stored decision with the
 * reason.
 */
export type RevokedNotice =
  | { readonly type: "sallyport.revoked"; readonly scope: "view"; readonly reference: string }
  | {
      readonly type: "sallyport.revoked";
      readonly scope: "channel";
      readonly channel: string;
      readonly reference: string;
    };

/**
 * The notice that a user has access again to a channel that the connection had to leave. The
 * connection has not joined it. The client can join it again.
 */
export interface RestoredNotice {
  readonly type: "sallyport.restored";
  readonly scope: "channel";
  readonly channel: string;
}

/**
 * The `type` of a message with which a client checks that its connection is alive. The server
 * answers with an empty result, before it looks for a handler.
 */
export const PING_TYPE = "sallyport.ping";

/** The response of the token endpoint. `expires_in` is in seconds. */
export interface TokenBody {
  readonly token: string;
  readonly expires_in: number;
}

/** The text of every denial. It is the same for permissions, objects, channels and handlers. */
export const PERMISSION_DENIED = "Permission denied.";
