import { checkedLimit, checkFilter } from "../access/audit.ts";
import type { SessionFilter } from "../sessions/sessions.ts";
import type { Rooms } from "./rooms.ts";

/** An open socket, as people look at it. */
export interface SessionInfo {
  /** Our id of it: `sallyport.to({ session })`. */
  readonly session: string;
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
}

/** Which open sockets. */
export interface SessionQuery extends SessionFilter {
  /** At most this many. Default 100, at most 1 000. */
  readonly limit?: number | undefined;
}

/** Open sockets in the order of their ids, a page at a time. @throws ConfigurationError for a limit that is none */
export async function listSessions(rooms: Rooms, query: SessionQuery): Promise<readonly SessionInfo[]> {
  checkFilter("listSessions()", query, ["session", "user", "channel", "view", "after"], ["limit"]);
  const rows = await rooms.sessions.list(query, checkedLimit(query.limit));
  return Promise.all(
    rows.map(async ({ id, connectionId, gatewayId, view, userId, channels, connectedAt }) => {
      const gateway = (await rooms.gateways.find(gatewayId))?.name ?? gatewayId;
      return { session: id, connectionId, gateway, view, user: userId, channels, connectedAt };
    }),
  );
}
