import type { Permission } from "../permissions/define.ts";
import type { ConnectContext, DisconnectContext } from "./context.ts";
import type { ViewLimits } from "./limits.ts";
import type { ViewOptions } from "./view-options.ts";

/** For the type only. An object that has the optional members of a view is not a view. */
declare const brand: unique symbol;

/**
 * The base class of views. A subclass declares its permissions and the handlers that clients can
 * call:
 *
 * ```ts
 * class ChatView extends WebSocketView {
 *   static permissionsRequired = [chat.can_use_chat];
 *   say = handler({ body: Say }, async ({ body, to }) => { … });
 * }
 * ```
 *
 * Options are static fields, and handlers are instance fields. One frozen instance serves all
 * connections. Do not store data of a client on it.
 */
export abstract class WebSocketView {
  /** The user must have at least one of these permissions. */
  declare static readonly permissionsRequired?: readonly Permission[];
  /** The user must have all of these permissions. With `permissionsRequired`, both rules apply. */
  declare static readonly allPermissionsRequired?: readonly Permission[];
  /** `true`: the user must be signed in and active. No permission is needed. */
  declare static readonly signedIn?: boolean;
  /** `true`: all clients are accepted, whether signed in or not. Subclasses do not inherit it. */
  declare static readonly allowAnonymous?: boolean;
  /** `false`: the rules of parent classes do not apply to this class. Default true. */
  declare static readonly inheritRules?: boolean;
  /**
   * The handlers that clients can call. A subclass cannot allow handlers of a parent class that the
   * list of the parent class excludes. Default: all handlers.
   */
  declare static readonly allowedHandlers?: readonly string[];
  /** `true`: the view has no handlers, and its clients only receive messages. Default false. */
  declare static readonly receiveOnly?: boolean;
  /**
   * The channel to join if the client names none. It must match a channel definition. Default:
   * none.
   */
  declare static readonly defaultChannel?: string;
  /**
   * Limits of this view, which replace those of the app. Subclasses inherit the values that they do
   * not set. Default: the limits of the app.
   */
  declare static readonly limits?: ViewLimits;
  /** The field of a message that contains the name of the handler. Default "handler". */
  declare static readonly handlerKey?: string;
  /**
   * The field that selects the route in API Gateway and, without `handlerKey`, the handler. Default
   * "action".
   */
  declare static readonly routeKey?: string;

  declare readonly [brand]: true;

  /**
   * Called after all checks, before the connection is stored. Throw `forbidden("reason")` to deny it.
   */
  connect?(context: ConnectContext): void | Promise<void>;
  /** Called once per connection, after its row was closed. Errors are passed to `onError`. */
  disconnect?(context: DisconnectContext): void | Promise<void>;
}

/** A class that extends {@link WebSocketView}. */
export type ViewClass = (new () => WebSocketView) & ViewOptions;
