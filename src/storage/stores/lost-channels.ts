import type { ConnectionSelector, ConnectionWithChannels } from "./connections.ts";

/** An open connection, and the channels that it had to leave because a permission ended. */
export interface ConnectionWithLostChannels extends ConnectionWithChannels {
  /** The channels, in alphabetical order. */
  readonly lostChannels: readonly string[];
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

  /** Removes lost channels of a connection, after its client was notified. */
  remove(connectionKey: string, channels: readonly string[]): Promise<void>;
}
