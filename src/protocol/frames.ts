/** The JSON that travels on the socket, both ways. */

/** The answer to a call. It never has a `type`, so it cannot be mistaken for a pushed message. */
export type CallAnswer =
  | { readonly id: string | number; readonly ok: true; readonly status: 200; readonly result: unknown }
  | {
      readonly id: string | number;
      readonly ok: false;
      readonly status: number;
      readonly error: string;
      readonly reference: string;
    };

/** What a refused peer hears where there is no call to answer. */
export interface RefusalBody {
  readonly ok: false;
  readonly error: string;
  readonly reference: string;
}

/**
 * A right ended. `view`: the socket closes next; `channel`: that channel was left. It never names the permission; the
 * reference leads whoever may read decisions to the reason.
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
 * `type` of a message by which a client checks that its connection is alive. The server answers it before it looks for a
 * handler, with an empty result.
 */
export const PING_TYPE = "sallyport.ping";

/** What the token endpoint answers. `expires_in` is in seconds. */
export interface TokenBody {
  readonly token: string;
  readonly expires_in: number;
}

/** The words for every refusal by permission: missing permission, object, channel and handler sound alike. */
export const PERMISSION_DENIED = "Permission denied.";
