import type { Expression, Kysely } from "kysely";
import { ARRIVAL_MS, MAX_SESSION_MS } from "../protocol/quotas.ts";
import type { Database, Tables } from "../storage/database.ts";

/** Which open connections of a user are counted together: those to one view, or those to all views but some. */
export type ConnectionScope = { readonly view: string } | { readonly exceptViews: readonly string[] };

/** How many connections a user can have open at the same time. */
export interface ConnectionLimit {
  readonly max: number;
  readonly scope: ConnectionScope;
}

/** An open row, and the endpoint of its connection in the Management API. */
export interface OpenConnection {
  readonly id: string;
  readonly connectionId: string;
  readonly endpoint: string;
}

/** The open connections of single users. */
export class UserConnections {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Returns the number of open connections of a user. */
  async count(db: Kysely<Tables>, userId: string, scope: ConnectionScope): Promise<number> {
    const row = await openConnections(
      this.#database,
      db,
      this.#database.sql.val(userId),
      scope,
    ).executeTakeFirst();
    return Number(row?.count ?? 0);
  }

  /**
   * Returns the connections of a user that have been open for the longest time.
   *
   * It leaves out those for which `$connect` may not have been answered yet: API Gateway does not know them until then.
   */
  async oldest(userId: string, scope: ConnectionScope, limit: number): Promise<readonly OpenConnection[]> {
    const { db, now } = this.#database;
    const rows = await openConnections(this.#database, db, this.#database.sql.val(userId), scope)
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
}

/**
 * The number of open connections of a user, as a subquery. A row that is older than a connection can last does not count, even if its
 * `$disconnect` was lost.
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
    .where(({ eb }) => eb("open.connected_at", ">", eb(now, "-", MAX_SESSION_MS)));
  if ("view" in scope) return open.where("open.view", "=", scope.view);
  return scope.exceptViews.length === 0 ? open : open.where("open.view", "not in", scope.exceptViews);
}
