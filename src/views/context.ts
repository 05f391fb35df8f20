import type { Audience, Requirement } from "../delivery/audience.ts";
import type { DeliveryPreview, DeliveryReport } from "../delivery/report.ts";
import type { AnyPermissionSet, Permission } from "../permissions/define.ts";
import type { ChangeOptions } from "../permissions/grants.ts";

/** Who is behind the socket, with the rights that were read together with the session for this very event. */
export interface User {
  /** The app's own id; undefined for somebody who has not signed in. */
  readonly id: string | undefined;
  readonly signedIn: boolean;
  readonly isSuperuser: boolean;
  /** Active superusers have every permission. */
  hasPermission(permission: Permission): boolean;
  /** @throws ConfigurationError for an empty list, which would ask for nothing */
  hasAnyPermission(permissions: Iterable<Permission>): boolean;
  /** @throws ConfigurationError for an empty list, which would ask for nothing */
  hasAllPermissions(permissions: Iterable<Permission>): boolean;
  /** Whether the user has any permission of an app: `user.hasAppPermissions(chat)`. */
  hasAppPermissions(app: AnyPermissionSet): boolean;
  /** Goes on, or ends the event with the generic refusal: `user.require(chat.can_moderate_chat)`. */
  require(permission: Permission): SignedInUser;
}

/** A user who is known to have signed in: what a handler with a permission of its own, or `signedIn`, is given. */
export interface SignedInUser extends User {
  readonly id: string;
  readonly signedIn: true;
}

/** The open socket that an event belongs to. */
export interface Connection {
  /** Our own id of the row. */
  readonly id: string;
  /** API Gateway's id of the socket. */
  readonly connectionId: string;
  /** Name of the gateway that owns the socket. */
  readonly gateway: string;
  /** Path of the view that accepted the socket. */
  readonly view: string;
  /** The channel joined last of `channels`, or undefined when in none. */
  readonly channel: string | undefined;
  /** The channels that the session is in and whose rules the user meets, in the order of joining. */
  readonly channels: readonly string[];
  /** Epoch milliseconds. */
  readonly connectedAt: number;
}

/** Something that a send goes out through. */
export interface Sender {
  /**
   * Sends one message to everyone in the audience who may have it now.
   *
   * @param message becomes JSON, at most 128 KB of it
   * @returns what became of it for each recipient; a refusal by one recipient's socket is a line, not an error
   * @throws DeliveryError when the message is no JSON or too large: nothing has been sent
   * @throws SendInterruptedError when the database failed half-way: `report` says how far it came
   */
  send(message: unknown, options?: SendOptions): Promise<DeliveryReport>;
  /** How many a send would reach now. Nothing is sent; `authorizeMany` is asked. */
  preview(): Promise<DeliveryPreview>;
  /**
   * Ends every session of the audience, permitted or not, and closes its socket. The browser sees 1000 and words of
   * API Gateway's own. The audit keeps who did it and why; from a handler's context it was the user, unless you say otherwise.
   */
  close(options?: ChangeOptions): Promise<DeliveryReport>;
}

/** How a send to many goes. */
export interface SendOptions {
  /**
   * Ends it: posts that were not handed over count as `unsent`, those that were come to their end, and the report's `cursor` is
   * where it goes on.
   */
  readonly signal?: AbortSignal;
  /** Told how far it has come after each page of 500 recipients. */
  readonly onProgress?: (report: DeliveryReport) => void;
  /** The `cursor` of a send to the same audience that was ended: whoever had it then is left out. */
  readonly after?: string;
}

/** What a handler is given. */
export interface MessageContext<Body = unknown, CurrentUser extends User = User> {
  readonly user: CurrentUser;
  readonly connection: Connection;
  /** The message without its `id` and the name of its handler, as the schema returned it. */
  readonly body: Body;
  /**
   * Joins a channel beside those the session is in, after the channel's rules have been checked.
   *
   * @throws RefusedError when no definition matches the name, or a rule says no
   */
  join(channel: string): Promise<void>;
  /** Leaves a channel; without a name, the one joined last. Leaving one that was not joined does nothing. */
  leave(channel?: string): Promise<void>;
  /** Joins a channel and leaves the one joined last. When it is refused, the session stays where it was. */
  move(channel: string): Promise<void>;
  /**
   * Goes on only if the user may be in a channel now: its rules and every `authorize`. Being joined proves nothing.
   *
   * @throws RefusedError when not
   */
  requireChannel(channel: string): Promise<void>;
  /**
   * A send on this user's behalf. To a channel it demands that the user meets the channel's rule now, by rights
   * read when it is sent.
   *
   * @throws RefusedError from `send` and `close`, when the user does not
   */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender;
}

/** What `connect()` of a view is given: every guard has passed, the session is not open yet. */
export interface ConnectContext {
  readonly user: User;
  /** The channel that will be joined, or undefined. */
  readonly channel: string | undefined;
  readonly connectionId: string;
  /** The handshake as API Gateway passed it on: the client's own headers and query. */
  readonly request: Request;
}

/** What `disconnect()` of a view is given, once per session. */
export interface DisconnectContext {
  readonly userId: string | undefined;
  readonly connection: Connection;
  /** WebSocket close code, where API Gateway told it. */
  readonly code: number | undefined;
  readonly reason: string | undefined;
  /** The server speaking: no rule of the departed user is asked. */
  to(audience: Audience, ...requirement: readonly [requirement?: Requirement]): Sender;
}
