import type { Permission } from "../permissions/define.ts";
import type { ConnectContext, DisconnectContext } from "./context.ts";
import type { ViewLimits } from "./limits.ts";
import type { ViewOptions } from "./view-options.ts";

/** Types only: an object with every optional field of a view is not a view. */
declare const brand: unique symbol;

/**
 * The base class of views. A subclass declares who may use it and which handlers clients may call:
 *
 * ```ts
 * class ChatView extends WebSocketView {
 *   static permissionsRequired = [chat.can_use_chat];
 *   say = handler({ body: Say }, async ({ body, to }) => { … });
 * }
 * ```
 *
 * Options are static fields, handlers are instance fields. One frozen instance serves all connections, so do not store data of a client
 * on it.
 */
export abstract class WebSocketView {
  /** The user must have at least one of these permissions. */
  declare static readonly permissionsRequired?: readonly Permission[];
  /** The user must have every one of these permissions. With `permissionsRequired`, both rules apply. */
  declare static readonly allPermissionsRequired?: readonly Permission[];
  /** `true`: the user must be signed in and active. No permission is needed. */
  declare static readonly signedIn?: boolean;
  /** `true`: everyone is accepted, signed in or not. Applies only to the class that is mounted, not to its subclasses. */
  declare static readonly allowAnonymous?: boolean;
  /** `false`: the rules of parent classes do not apply to this class. Default true. */
  declare static readonly inheritRules?: boolean;
  /** The handlers that clients may call. A subclass cannot allow handlers that a parent's list leaves out. Default: all handlers. */
  declare static readonly allowedHandlers?: readonly string[];
  /** `true`: the view has no handlers, its clients only receive. Default false. */
  declare static readonly receiveOnly?: boolean;
  /** The channel that a connection joins if the client names none. It must match a channel definition. Default: none. */
  declare static readonly defaultChannel?: string;
  /** Limits of this view, which replace those of the app. Subclasses inherit each value that they do not set. Default: the app's. */
  declare static readonly limits?: ViewLimits;
  /** The field of a message that contains the name of the handler. Default "handler". */
  declare static readonly handlerKey?: string;
  /** The field that selects the route in API Gateway and, without `handlerKey`, the handler. Default "action". */
  declare static readonly routeKey?: string;

  declare readonly [brand]: true;

  /** Called after every check, before the connection is stored. Throw `refuse("reason")` to deny it. */
  connect?(context: ConnectContext): void | Promise<void>;
  /** Called once per connection, after its row was closed. */
  disconnect?(context: DisconnectContext): void | Promise<void>;
}

export type ViewClass = (new () => WebSocketView) & ViewOptions;
