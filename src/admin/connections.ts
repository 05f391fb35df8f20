import * as v from "valibot";
import { optionsOf, parseOptions, rowLimit, searchedText } from "../options.ts";
import type { AdminServices } from "../services.ts";
import type { ConnectionFilter } from "../storage/stores/connections.ts";

/** An open connection, as `listConnections()` returns it. */
export interface ConnectionInfo {
  /** Sallyport's id of the connection, for `sallyport.to({ connection })`. */
  readonly connection: string;
  /** Connection id of API Gateway. */
  readonly connectionId: string;
  /** Name of the gateway of the connection. */
  readonly gateway: string;
  /** Path of the view. */
  readonly view: string;
  /** User id, or `null` if the client is not signed in. */
  readonly user: string | null;
  /** Channels in the order of joining. A permission change can be about to remove some. */
  readonly channels: readonly string[];
  /** When it connected, in epoch milliseconds. */
  readonly connectedAt: number;
  /** When it last sent a message or connected, in epoch milliseconds. Delayed by a few seconds. */
  readonly lastSeenAt: number;
  /** Number of messages that it has sent. Delayed by a few seconds. */
  readonly requestCount: number;
}

/** Selects the open connections that `listConnections()` returns. */
export interface ConnectionQuery extends ConnectionFilter {
  /** Maximum number of connections, 1 to 1000. Default 100. */
  readonly limit?: number | undefined;
}

const CONNECTION_QUERY = optionsOf<ConnectionQuery>()({
  connection: v.optional(searchedText),
  user: v.optional(searchedText),
  channel: v.optional(searchedText),
  view: v.optional(searchedText),
  after: v.optional(searchedText),
  limit: rowLimit,
});

/**
 * Returns open connections in the order of their ids, one page at a time.
 *
 * @throws ConfigurationError if the query is invalid
 */
export async function listConnections(
  services: AdminServices,
  query: ConnectionQuery,
): Promise<readonly ConnectionInfo[]> {
  const { limit, ...filter } = parseOptions("listConnections()", CONNECTION_QUERY, query);
  const rows = await services.store.connections.list(filter, limit);
  return Promise.all(
    rows.map(async (row) => ({
      connection: row.id,
      connectionId: row.connectionId,
      gateway: (await services.gateways.find(row.gatewayId))?.name ?? row.gatewayId,
      view: row.view,
      user: row.userId,
      channels: row.channels,
      connectedAt: row.connectedAt,
      lastSeenAt: row.lastSeenAt,
      requestCount: row.requestCount,
    })),
  );
}
