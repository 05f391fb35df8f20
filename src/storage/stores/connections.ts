import type { EffectiveGrant, EffectivePermissions } from "./users.ts";

/** The row of a connection with the permissions of its user, read together. */
export interface ConnectionRow extends EffectivePermissions {
  readonly id: string;
  readonly gatewayId: string;
  readonly connectionId: string;
  readonly view: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  /** The time since the connect when the row was read, in milliseconds. */
  readonly ageMs: number;
}

/** The row of a connection with its channels. */
export interface ConnectionWithChannels extends ConnectionRow {
  /** Time of the connect in epoch milliseconds, by the clock of the database. */
  readonly connectedAt: number;
  /** Whether the row is closed. Most operations read open rows only. */
  readonly isClosed: boolean;
  /** The joined channels, in the order of joining. */
  readonly channels: readonly string[];
}

/** A connection with its activity. The activity is a few seconds old. */
export interface ListedConnection extends ConnectionWithChannels {
  /** Time of the last message in epoch milliseconds, by the clock of the database. */
  readonly lastSeenAt: number;
  /** The number of messages. */
  readonly requestCount: number;
}

/** A connection that has disconnected, with the channels that it had joined. */
export type DisconnectedConnection = Pick<
  ConnectionWithChannels,
  "id" | "connectionId" | "view" | "userId" | "connectedAt" | "channels"
>;

/** Selects open connections. A connection must match all given fields. */
export interface ConnectionFilter {
  /** The id of the row. */
  readonly connection?: string | undefined;
  readonly user?: string | undefined;
  /** Only connections that have joined this channel. */
  readonly channel?: string | undefined;
  /** Path of the view. */
  readonly view?: string | undefined;
  /** The last id of the previous page, to list the next page. Default: the first page. */
  readonly after?: string | undefined;
}

/**
 * Selects connections.
 *
 * - `all`: all connections
 * - `channel`, `view`, `user`, `group`: the connections of one channel, view, user or group
 * - `listed`: the connections of the users of a revocation
 * - `holders`: the connections of the active users with a permission
 * - `connection`, `connection-id`: one connection, by its row or by its AWS id
 * - `session`, `deleted-user`: the closed rows of an ended session or a deleted user that have not
 *   disconnected. Connections that were opened later are not selected
 */
export type ConnectionSelector =
  | { readonly kind: "all" }
  | { readonly kind: "channel"; readonly channel: string }
  | { readonly kind: "view"; readonly view: string }
  | { readonly kind: "user"; readonly userId: string }
  | { readonly kind: "group"; readonly group: string }
  | { readonly kind: "listed"; readonly revocationId: string }
  | { readonly kind: "holders"; readonly permission: string }
  | { readonly kind: "connection"; readonly connectionKey: string }
  | { readonly kind: "connection-id"; readonly connectionId: string }
  | { readonly kind: "session"; readonly sessionId: string }
  | { readonly kind: "deleted-user"; readonly userId: string };

/** The close reason of a row that a revocation closed. */
export const PERMISSION_ENDED = "permission ended";

/** The maximum number of connections of a page. */
export const CONNECTION_PAGE = 500;

/**
 * Selects the connections that are counted together: those of one view, or of all views but some.
 */
export type ConnectionScope = { readonly view: string } | { readonly exceptViews: readonly string[] };

/** The maximum number of open connections of a user. */
export interface ConnectionLimit {
  readonly max: number;
  readonly scope: ConnectionScope;
}

/** An open connection, and the endpoint of its management API. */
export interface OpenConnection {
  readonly id: string;
  readonly connectionId: string;
  readonly endpoint: string;
}

/** Identifies a token that this connect has spent. */
export interface SpentTokenRef {
  /** SHA-256 of the token in hexadecimal. */
  readonly hash: string;
  /** When the token was spent, in epoch milliseconds. */
  readonly spentAt: number;
}

/** A connection to open. */
export interface NewConnection {
  /** Id of the row. It is unique and never used again. */
  readonly id: string;
  readonly gatewayId: string;
  readonly connectionId: string;
  readonly view: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly sourceIp: string | null;
  /** The channel to join. */
  readonly channel: string | undefined;
  /** The spent token. No row is opened if its session was ended. */
  readonly token: SpentTokenRef | undefined;
  /**
   * The maximum number of open connections of the user, including this one. Undefined for no limit.
   */
  readonly limit: ConnectionLimit | undefined;
  /**
   * Number of the last change before `authorize` was called. No row is opened if a later change
   * affects this connection. Undefined if no `authorize` was called.
   */
  readonly since: number | undefined;
}

/** Permissions that were read and checked before an operation. */
export interface CheckedPermissions {
  /** Number of the last change before the permissions were read. */
  readonly since: number;
  /** The grants that were read. They must not have expired. Undefined if they are not known. */
  readonly grants: readonly EffectiveGrant[] | undefined;
}

/**
 * The result of opening a connection.
 *
 * - `opened`: the row exists
 * - `changed`: a change that affects the connection was recorded since `authorize` was called.
 *   `last` is the number of the last change
 * - `full`: the user has reached the limit of open connections
 * - `token-deleted`, `session-ended`, `token-respent`: the token is no longer valid. After a crash,
 *   the database may have lost that the token was spent, so that another connect spent it
 * - `exists`: the AWS connection id has a row already. AWS assigns each id only once
 */
export type OpenResult =
  | { readonly kind: "opened" }
  | { readonly kind: "changed"; readonly last: number }
  | { readonly kind: "full" | "token-deleted" | "session-ended" | "token-respent" | "exists" };

/** The messages of a connection since its activity was last recorded. */
export interface ConnectionActivity {
  readonly id: string;
  /** The number of messages. */
  readonly count: number;
  /** Time since the last message, in milliseconds. */
  readonly ageMs: number;
}

/** The rows of connections. Each operation is atomic. */
export interface ConnectionStore {
  /**
   * Returns the open connection with an AWS connection id, with its channels and permissions.
   *
   * If the database reads synchronously, the result is not a promise.
   */
  find(
    gatewayId: string,
    connectionId: string,
  ): ConnectionWithChannels | undefined | Promise<ConnectionWithChannels | undefined>;

  /** Returns the open connection with an id. */
  findById(id: string): Promise<ConnectionRow | undefined>;

  /**
   * Returns the open connection with an id, and the number of the last change before its
   * permissions were read.
   */
  findWithChange(id: string): Promise<(ConnectionRow & { readonly lastChange: number }) | undefined>;

  /**
   * Returns whether a connection has no open row, and no row that was closed within the last
   * minute.
   *
   * A row of any gateway counts. A connection with a recently closed row is already being closed.
   */
  isOrphaned(connectionId: string): Promise<boolean>;

  /** Returns whether no `$disconnect` was received for a connection. */
  isConnected(id: string): Promise<boolean>;

  /**
   * Opens a row and joins its channel. Nothing is opened if the result is not `opened`.
   *
   * @param check receives the permissions of the user, as the operation reads them. If it throws,
   *   nothing is opened and the operation rejects with its error. It can be called several times
   * @param checked permissions that `check` accepts. The row is opened without `check` if no
   *   permissions have changed since. Default: `check` is always called
   */
  open(
    connection: NewConnection,
    check: (user: EffectivePermissions) => void,
    checked?: CheckedPermissions,
  ): Promise<OpenResult>;

  /**
   * Records that a connection has disconnected, and closes its row.
   *
   * @returns the connection and its channels, or undefined if a previous call has recorded it
   */
  disconnect(
    gatewayId: string,
    connectionId: string,
    closed: { readonly code: number | undefined; readonly reason: string | undefined },
  ): Promise<DisconnectedConnection | undefined>;

  /**
   * Closes rows. Other operations do not see them afterwards. The WebSockets stay open.
   *
   * @param options.isLogged whether to record the close as a change of these connections, so that
   *   other processes read them again. Default false
   * @returns the ids of the rows that were open. Of concurrent calls, only one returns each id
   */
  closeMany(
    ids: readonly string[],
    reason: string,
    options?: { readonly isLogged?: boolean },
  ): Promise<ReadonlySet<string>>;

  /**
   * Closes all rows of a gateway without open WebSockets, such as a local gateway after a restart.
   *
   * @returns the number of closed rows
   */
  closeAllOf(gatewayId: string, reason: string): Promise<number>;

  /**
   * Returns a page of at most {@link CONNECTION_PAGE} open connections with channels and
   * permissions, ordered by id.
   *
   * @param after the last id of the previous page, `""` for the first page
   * @param options.includeClosed whether to include rows that a revocation closed. A process can
   *   have stopped before it closed their WebSockets. Default false
   */
  page(
    selector: ConnectionSelector,
    after: string,
    options?: { readonly includeClosed?: boolean },
  ): Promise<readonly ConnectionWithChannels[]>;

  /** Returns at most `limit` open connections that match a filter, ordered by id. */
  list(filter: ConnectionFilter, limit: number): Promise<readonly ListedConnection[]>;

  /**
   * Returns a page of at most {@link CONNECTION_PAGE} open connections for a fan-out, ordered by
   * id. The rows do not contain channels.
   *
   * @param only the permissions to read. Undefined for all permissions
   */
  recipients(
    selector: ConnectionSelector,
    after: string,
    only: readonly string[] | undefined,
  ): Promise<readonly ConnectionRow[]>;

  /**
   * Returns the number of open connections of an audience.
   *
   * @param after the last id that is not counted, `""` to count all
   */
  count(selector: ConnectionSelector, after: string): Promise<number>;

  /** Returns the number of open connections of a user. */
  countOfUser(userId: string, scope: ConnectionScope): Promise<number>;

  /**
   * Returns the oldest open connections of a user, oldest first.
   *
   * Connections are left out if their `$connect` may not have been answered. Until then, API
   * Gateway does not accept calls for them.
   */
  oldestOfUser(userId: string, scope: ConnectionScope, limit: number): Promise<readonly OpenConnection[]>;

  /** Records messages of at most 1 000 connections. */
  recordActivity(connections: readonly ConnectionActivity[]): Promise<void>;

  /** Returns the age of the oldest row in milliseconds, or undefined if there are no rows. */
  oldestMs(): Promise<number | undefined>;

  /**
   * Removes the rows and memberships of connections that are older than `thanMs` milliseconds. The
   * minimum is the maximum duration of a connection.
   *
   * @returns how many were removed, at most `limit`
   */
  removeOlder(thanMs: number, limit: number): Promise<number>;
}
