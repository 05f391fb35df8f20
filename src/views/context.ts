import type { Audience, Requirement } from "../delivery/audience.ts";
import type { DeliveryPreview, DeliveryReport } from "../delivery/report.ts";
import type { AnyPermissionSet, Permission } from "../permissions/define.ts";
import type { ChangeOptions } from "../permissions/grants.ts";

/**
 * The user of a connection. The permissions are read for each event, together with the connection.
 */
export interface User {
  /** The user id in the app, or undefined for an anonymous user. */
  readonly id: string | undefined;
  readonly signedIn: boolean;
  /** Whether the user is an active superuser. */
  readonly isSuperuser: boolean;
  /**
   * Returns whether the user has a permission. Active superusers have all permissions.
   *
   * @throws ConfigurationError for a permission that the app does not declare
   */
  hasPermission(permission: Permission): boolean;
  /**
   * Returns whether the user has at least one of the permissions.
   *
   * @throws ConfigurationError for an empty list, or a permission that the app does not declare
   */
  hasAnyPermission(permissions: Iterable<Permission>): boolean;
  /**
   * Returns whether the user has all of the permissions.
   *
   * @throws ConfigurationError for an empty list, or a permission that the app does not declare
   */
  hasAllPermissions(permissions: Iterable<Permission>): boolean;
  /**
   * Returns whether the user has any permission of an app, for example
   * `user.hasAppPermissions(chat)`.
   */
  hasAppPermissions(app: AnyPermissionSet): boolean;
  /**
   * Requires a permission, for example `user.require(chat.can_moderate_chat)`.
   *
   * @returns the user, who is signed in
   * @throws RequestError if the user does not have the permission. It ends the event with 403
   */
  require(permission: Permission): SignedInUser;
}

/** A user who is signed in. Handlers with a permission or with `signedIn: true` receive it. */
export interface SignedInUser extends User {
  readonly id: string;
  readonly signedIn: true;
}

/** The open connection that an event belongs to. */
export interface Connection {
  /** Id of the connection in Sallyport. */
  readonly id: string;
  /** Connection id that API Gateway assigned. */
  readonly connectionId: string;
  /** Name of the gateway of the connection. */
  readonly gateway: string;
  /** Path of the view of the connection. */
  readonly view: string;
  /** The last joined channel of `channels`, or undefined if there is none. */
  readonly channel: string | undefined;
  /**
   * The joined channels, in the order of joining. Without those that the user has no permission
   * for.
   */
  readonly channels: readonly string[];
  /** Time of the connect, in epoch milliseconds. */
  readonly connectedAt: number;
}

/** Sends messages to an audience. `to()` returns it. */
export interface Sender {
  /**
   * Sends a message to all recipients of the audience who have permission to receive it.
   *
   * Permissions are checked when the message is sent. A recipient that cannot be reached is counted
   * in the report and is not an error.
   *
   * @param message a value that is serialized as JSON, at most 128 KB
   * @returns the number of recipients for each outcome
   * @throws DeliveryError if the message cannot be serialized or is too large. Nothing was sent
   * @throws SendInterruptedError if an error occurred after the first recipients. Its `report`
   *   contains the progress
   */
  send(message: unknown, options?: SendOptions): Promise<DeliveryReport>;
  /** Returns how many recipients a send would reach. Nothing is sent. It calls `authorizeMany`. */
  preview(): Promise<DeliveryPreview>;
  /**
   * Closes all connections of the audience, with or without permission.
   *
   * The client receives the close code 1000 with a reason that API Gateway sets.
   *
   * @param options `by` and `reason` for the audit log. In a handler, `by` defaults to the user
   */
  close(options?: ChangeOptions): Promise<DeliveryReport>;
}

/** The options of a send. All are optional. */
export interface SendOptions {
  /**
   * Aborts the send. Requests in flight are completed. Other recipients count as `unsent`. To
   * continue later, pass `cursor` of the report as `after`.
   */
  readonly signal?: AbortSignal;
  /** Called with the progress after each page of 500 recipients. */
  readonly onProgress?: (report: DeliveryReport) => void;
  /** The `cursor` of an earlier send to the same audience. Recipients before it are skipped. */
  readonly after?: string;
}

/** The argument of a handler. */
export interface MessageContext<Body = unknown, CurrentUser extends User = User> {
  readonly user: CurrentUser;
  readonly connection: Connection;
  /** The message without its `id` and the name of its handler, as the schema returned it. */
  readonly body: Body;
  /**
   * Checks the rules of a channel and joins it. Other joined channels are kept.
   *
   * @throws RequestError if no channel definition matches the name, or the user is denied
   */
  join(channel: string): Promise<void>;
  /**
   * Leaves a channel. If the connection has not joined it, nothing happens.
   *
   * @param channel default: the channel that was joined last
   */
  leave(channel?: string): Promise<void>;
  /**
   * Joins a channel and leaves the one that was joined last.
   *
   * @throws RequestError if no channel definition matches the name, or the user is denied. The
   *   joined channels do not change in this case
   */
  move(channel: string): Promise<void>;
  /**
   * Checks the rules and the `authorize` functions of a channel now. The channel need not be
   * joined.
   *
   * @throws RequestError if the user is denied
   */
  requireChannel(channel: string): Promise<void>;
  /**
   * Returns a sender that acts on behalf of this user.
   *
   * To send to a channel, the user must satisfy its rules when the message is sent. Otherwise,
   * `send` and `close` throw a RequestError.
   */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender;
}

/**
 * The argument of `connect()` of a view. All checks have passed. The connection is not stored yet.
 */
export interface ConnectContext {
  readonly user: User;
  /** The channel that will be joined, or undefined. */
  readonly channel: string | undefined;
  /** Connection id that API Gateway assigned. */
  readonly connectionId: string;
  /** The handshake request, with the headers and the query of the client. */
  readonly request: Request;
}

/** The argument of `disconnect()` of a view. */
export interface DisconnectContext {
  /** The user id, or undefined for an anonymous user. */
  readonly userId: string | undefined;
  readonly connection: Connection;
  /** WebSocket close code, if API Gateway sent it. */
  readonly code: number | undefined;
  /** WebSocket close reason, if API Gateway sent it. */
  readonly reason: string | undefined;
  /**
   * Returns a sender that acts as the server. The rules of the disconnected user are not checked.
   */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender;
}
