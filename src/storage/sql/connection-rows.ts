import type { Expression, ExpressionBuilder, Kysely } from "kysely";
import { ARRIVAL_MS, MAX_CONNECTION_ROW_AGE_MS } from "../../protocol/quotas.ts";
import { type Database, type Flag, parseList, type Tables } from "../database.ts";
import type {
  ConnectionRow,
  ConnectionScope,
  ConnectionWithChannels,
  OpenConnection,
} from "../stores/connections.ts";
import {
  type EffectivePermissionsQuery,
  type GrantsCache,
  permissionsFrom,
} from "./effective-permissions.ts";

/** A row of a connection with the permissions of its user. */
export interface RawRow {
  id: string;
  gateway_id: string;
  connection_id: string;
  view: string;
  user_id: string | null;
  session_id: string | null;
  age_ms: number;
  is_active: Flag | null;
  is_superuser: Flag | null;
  grants: unknown;
}

/** A row with the columns that a fan-out does not need. */
export interface DetailedRow extends RawRow {
  connected_at: number;
  closed_at: number | null;
  channels: unknown;
}

/** Builds the queries that read rows of connections. */
export class ConnectionQueries {
  readonly #database: Database;
  readonly #grantsSubquery: EffectivePermissionsQuery;

  /** @param grantsSubquery reads the permissions of the users of connections */
  constructor(database: Database, grantsSubquery: EffectivePermissionsQuery) {
    this.#database = database;
    this.#grantsSubquery = grantsSubquery;
  }

  /** Returns a query for open rows that are not older than a connection can be. */
  open(db: Kysely<Tables>, only?: readonly string[]) {
    return this.withinLifetime(db, only).where("c.closed_at", "is", null);
  }

  /** Returns a query for rows that are not older than a connection can be. */
  withinLifetime(db: Kysely<Tables>, only?: readonly string[]) {
    const { now } = this.#database;
    return this.#all(db, only).where((eb) =>
      eb("c.connected_at", ">", eb(now, "-", MAX_CONNECTION_ROW_AGE_MS)),
    );
  }

  #all(db: Kysely<Tables>, only?: readonly string[]) {
    return db
      .selectFrom("sallyport_connections as c")
      .leftJoin("sallyport_users as u", "u.id", "c.user_id")
      .select((eb) => [
        "c.id",
        "c.gateway_id",
        "c.connection_id",
        "c.view",
        "c.user_id",
        "c.session_id",
        eb(this.#database.now, "-", eb.ref("c.connected_at")).as("age_ms"),
        "u.is_active",
        "u.is_superuser",
        this.#grantsSubquery(db, eb.ref("c.user_id"), only).as("grants"),
      ]);
  }

  /** Returns the columns that a fan-out does not need. */
  detailsOf(eb: ExpressionBuilder<Tables & { c: Tables["sallyport_connections"] }, "c">) {
    const channels = this.channelsOf(this.#database.db, eb.ref("c.id"));
    return ["c.connected_at" as const, "c.closed_at" as const, channels.as("channels")];
  }

  /** Returns an expression for the channels of a connection, in the order of joining. */
  channelsOf(db: Kysely<Tables>, connectionKey: Expression<string>) {
    return this.#database.listOf(
      db
        .selectFrom("sallyport_memberships as member")
        .select("member.channel")
        .where("member.connection_key", "=", connectionKey)
        .orderBy("member.joined_at"),
      "channel",
    );
  }
}

/**
 * Converts a row with channels. Each message reads one. Assigning fields is faster than a spread.
 */
export function fromDetailedRow(row: DetailedRow, known?: GrantsCache): ConnectionWithChannels {
  const connection: Partial<Writable<ConnectionWithChannels>> = fromRow(row, known);
  connection.connectedAt = Number(row.connected_at);
  connection.isClosed = row.closed_at !== null;
  connection.channels = row.channels === NO_CHANNELS ? [] : parseList(row.channels);
  return connection as ConnectionWithChannels;
}

type Writable<Row> = { -readonly [Field in keyof Row]: Row[Field] };

/** An empty list, as both databases return it. Comparing is faster than parsing. */
const NO_CHANNELS = "[]";

/** Converts a row without channels. */
export function fromRow(row: RawRow, known?: GrantsCache): ConnectionRow {
  const { isActive, isSuperuser, permissions, grants } = permissionsFrom(row, known);
  return {
    id: row.id,
    gatewayId: row.gateway_id,
    connectionId: row.connection_id,
    view: row.view,
    userId: row.user_id,
    sessionId: row.session_id,
    ageMs: Number(row.age_ms),
    isActive,
    isSuperuser,
    permissions,
    grants,
  };
}

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
