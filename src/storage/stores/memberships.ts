import type { ConnectionRow } from "./connections.ts";

/** A request of a connection to join a channel. */
export interface MembershipRequest {
  readonly connectionKey: string;
  readonly channel: string;
  /** The maximum number of joined channels, including this one. Default: no maximum. */
  readonly max?: number;
  /** A channel to leave with the same operation. Default: none. */
  readonly leaving?: string | undefined;
  /**
   * Number of the last change before `authorize` was called. Nothing is joined if a later change
   * affects the connection. Undefined if no `authorize` was called.
   */
  readonly since?: number | undefined;
}

/**
 * The result of joining a channel.
 *
 * - `changed`: a change that affects the connection was recorded since `authorize` was called
 * - `full`: the connection has joined the maximum number of channels
 * - `closed`: the connection is not open
 */
export type JoinResult = "joined" | "changed" | "full" | "closed";

/**
 * The channels of connections. A membership grants no access: each delivery checks the permissions.
 * Each operation is atomic.
 */
export interface MembershipStore {
  /**
   * Joins a channel, or joins it again. The channel becomes the last joined channel. Nothing is
   * joined or left if the result is not `joined`.
   *
   * @param check receives the connection, as the operation reads it. If it throws, nothing is
   *   joined and the operation rejects with its error. It can be called several times
   */
  join(request: MembershipRequest, check: (connection: ConnectionRow) => void): Promise<JoinResult>;

  /** Returns whether a connection has joined a channel. */
  isIn(connectionKey: string, channel: string): Promise<boolean>;

  /** Leaves a channel. */
  leave(connectionKey: string, channel: string): Promise<void>;

  /**
   * Leaves many channels because a permission ended, and adds them to the lost channels of their
   * connections.
   *
   * @returns those that were joined. Of concurrent calls, only one returns each membership
   */
  loseMany<Item extends { readonly connection: { readonly id: string }; readonly channel: string }>(
    leaving: readonly Item[],
  ): Promise<readonly Item[]>;

  /** Leaves all channels of at most 1 000 connections. */
  leaveAll(connectionKeys: readonly string[]): Promise<void>;
}
