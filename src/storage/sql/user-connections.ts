import type { Expression, Kysely } from "kysely";
import { ARRIVAL_MS, MAX_CONNECTION_ROW_AGE_MS } from "../../protocol/quotas.ts";
import type { Database, Tables } from "../database.ts";
import type { ConnectionScope, OpenConnection } from "../stores/connections.ts";

/**
 * Returns a subquery for the number of open connections of a user.
 *
 * A row that is older than the maximum duration of a connection is not counted. Its `$disconnect`
 * was lost.
 */
export function openConnections(
  { now }: Database,
  db: Kysely<Tables>,
  userId: Expression<string>,
  scope: ConnectionScope | { readonly view: Expression<string> },
) {
  const open = db
    .selectFrom("sallyport_connections as open")
    .select(({ fn }) => fn.countAll<number>().as("count"))
    .where("open.user_id", "=", userId)
    .where("open.closed_at", "is", null)
    .where(({ eb }) => eb("open.connected_at", ">", eb(now, "-", MAX_CONNECTION_ROW_AGE_MS)));
  if ("view" in scope) return open.where("open.view", "=", scope.view);
  return scope.exceptViews.length === 0 ? open : open.where("open.view", "not in", scope.exceptViews);
}

/** Returns the number of open connections of a user. */
export async function countOpenConnections(
  database: Database,
  db: Kysely<Tables>,
  userId: string,
  scope: ConnectionScope,
): Promise<number> {
  const row = await openConnections(database, db, database.sql.val(userId), scope).executeTakeFirst();
  return Number(row?.count ?? 0);
}

/** Returns the oldest open connections of a user. See `ConnectionStore.oldestOfUser`. */
export async function oldestOpenConnections(
  database: Database,
  userId: string,
  scope: ConnectionScope,
  limit: number,
): Promise<readonly OpenConnection[]> {
  const { db, now, sql } = database;
  const rows = await openConnections(database, db, sql.val(userId), scope)
    .clearSelect()
    .innerJoin("sallyport_gateways as g", "g.id", "open.gateway_id")
    .select(["open.id", "open.connection_id", "g.endpoint"])
    .where(({ eb }) => eb("open.connected_at", "<", eb(now, "-", ARRIVAL_MS)))
    .orderBy("open.connected_at")
    .orderBy("open.id")
    .limit(limit)
    .execute();
  return rows.map(({ id, connection_id, endpoint }) => ({ id, connectionId: connection_id, endpoint }));
}
