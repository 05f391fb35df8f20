import type { ConnectionSelector, ConnectionWithChannels } from "./connections.ts";

/** An open connection, and the channels that it had to leave because a permission ended. */
export interface ConnectionWithLostChannels extends ConnectionWithChannels {
  /** The channels, in alphabetical order. */
  readonly lostChannels: readonly string[];
}

/** A channel that a connection had to leave. */
export interface LostChannel {
  readonly connectionKey: string;
  readonly channel: string;
}

/**
 * The channels that open connections had to leave because a permission ended. `MembershipStore`
 * adds them. A client is notified when its user has access again.
 */
export interface LostChannelStore {
  /**
   * Returns a page of open connections with lost channels, ordered by id. The selector `channel`
   * selects the connections that lost this channel.
   *
   * @param after the last id of the previous page, `""` for the first page
   */
  page(selector: ConnectionSelector, after: string): Promise<readonly ConnectionWithLostChannels[]>;

  /**
   * Claims a lost channel of a connection for a revocation record, before its client is notified.
   *
   * @returns false if the channel is not lost anymore, or another record has claimed it
   */
  claim(lost: LostChannel, revocationId: string): Promise<boolean>;

  /** Returns a claimed channel, because its client could not be notified. */
  release(lost: LostChannel, revocationId: string): Promise<void>;

  /**
   * Removes a lost channel that the record has claimed. A channel that was lost again since then is
   * kept.
   */
  remove(lost: LostChannel, revocationId: string): Promise<void>;
}
