import * as v from "valibot";
import type { ConnectionFilter } from "../connections/connections.ts";
import { optionsOf, parseOptions, rowLimit, searchedText } from "../options.ts";
import type { Services } from "../services.ts";

/** An open socket, as people look at it. */
export interface ConnectionInfo {
  /** Our id of it: `sallyport.to({ session })`. */
  readonly connection: string;
  readonly connectionId: string;
  /** Name of the gateway that owns the socket. */
  readonly gateway: string;
  readonly view: string;
  /** null for somebody who has not signed in. */
  readonly user: string | null;
  /** In the order of joining, whether or not their rules still hold. */
  readonly channels: readonly string[];
  /** Epoch milliseconds. */
  readonly connectedAt: number;
  /** When it last sent something, or connected; epoch milliseconds, as it was a few seconds ago. */
  readonly lastSeenAt: number;
  /** Messages it has sent, as of a few seconds ago. */
  readonly requestCount: number;
}

/** Which open sockets. */
export interface ConnectionQuery extends ConnectionFilter {
  /** At most this many. Default 100, at most 1 000. */
  readonly limit?: number | undefined;
}

const SESSION_QUERY = optionsOf<ConnectionQuery>()({
  connection: v.optional(searchedText),
  user: v.optional(searchedText),
  channel: v.optional(searchedText),
  view: v.optional(searchedText),
  after: v.optional(searchedText),
  limit: rowLimit,
});

/** Returns open connections in the order of their ids, a page at a time. @throws ConfigurationError for an invalid filter */
export async function listConnections(
  services: Services,
  query: ConnectionQuery,
): Promise<readonly ConnectionInfo[]> {
  const { limit, ...filter } = parseOptions("listSessions()", SESSION_QUERY, query);
  const rows = await services.connections.list(filter, limit);
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
