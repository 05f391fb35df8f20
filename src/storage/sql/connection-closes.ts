import type { Kysely } from "kysely";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../protocol/quotas.ts";
import { type Database, parseList, type Tables } from "../database.ts";
import { prepared } from "../prepared.ts";
import type { DisconnectedConnection } from "../stores/connections.ts";
import type { ChangeLog } from "./change-log.ts";
import type { ConnectionQueries, DetailedRow } from "./connection-rows.ts";

type DisconnectedRow = Pick<
  DetailedRow,
  "id" | "connection_id" | "view" | "user_id" | "connected_at" | "channels"
>;

/** Closes and removes rows of connections. See `ConnectionStore`. */
export class ConnectionCloses {
  readonly #database: Database;
  readonly #changeLog: ChangeLog;
  readonly #disconnectRow: (
    db: Kysely<never>,
    values: { gatewayId: string; connectionId: string; code: number | null; reason: string | null },
  ) => Promise<DisconnectedRow[]>;

  constructor(database: Database, queries: ConnectionQueries, changeLog: ChangeLog) {
    this.#database = database;
    this.#changeLog = changeLog;
    const { db, now } = database;
    this.#disconnectRow = prepared(database, (value) =>
      db
        .updateTable("sallyport_connections")
        .set(({ fn }) => ({
          disconnected_at: now,
          closed_at: fn.coalesce("closed_at", now),
          close_code: value("code"),
          close_reason: fn.coalesce("close_reason", value("reason")),
        }))
        .where("gateway_id", "=", value("gatewayId"))
        .where("connection_id", "=", value("connectionId"))
        .where("disconnected_at", "is", null)
        .returning((eb) => [
          "id",
          "connection_id",
          "view",
          "user_id",
          "connected_at",
          queries.channelsOf(db, eb.ref("sallyport_connections.id")).as("channels"),
        ]),
    );
  }

  /**
   * Records that a connection has disconnected, and closes its row.
   *
   * @returns the connection and its channels, or undefined if a previous call has recorded it
   */
  async disconnect(
    gatewayId: string,
    connectionId: string,
    closed: { code: number | undefined; reason: string | undefined },
  ): Promise<DisconnectedConnection | undefined> {
    const { code = null, reason = null } = closed;
    const values = { gatewayId, connectionId, code, reason: reason?.slice(0, 200) ?? null };
    const [row] = await this.#database.execute((db) =>
      this.#disconnectRow(db as unknown as Kysely<never>, values),
    );
    return (
      row && {
        id: row.id,
        connectionId: row.connection_id,
        view: row.view,
        userId: row.user_id,
        connectedAt: Number(row.connected_at),
        channels: parseList(row.channels),
      }
    );
  }

  /**
   * Closes rows in one statement.
   *
   * A logged close is recorded in the same transaction: a process that reads the change finds the
   * rows closed.
   */
  async closeMany(
    ids: readonly string[],
    reason: string,
    { isLogged = false }: { readonly isLogged?: boolean } = {},
  ): Promise<ReadonlySet<string>> {
    if (ids.length === 0) return new Set();
    const closed = await this.#database.sharedTransaction(async (db) => {
      const rows = await db
        .updateTable("sallyport_connections")
        .set({ closed_at: this.#database.now, close_reason: reason })
        .where("id", "in", ids)
        .where("closed_at", "is", null)
        .returning("id")
        .execute();
      const open = rows.map(({ id }) => id);
      if (isLogged && open.length > 0) {
        const subjects = open.map((subject) => ({ scope: "connection", subject }) as const);
        await this.#changeLog.append(db, subjects);
      }
      return open;
    });
    return new Set(closed);
  }

  /**
   * Closes all rows of a gateway without open WebSockets, such as a local gateway after a restart.
   *
   * @returns the number of closed rows
   */
  async closeAllOf(gatewayId: string, reason: string): Promise<number> {
    const result = await this.#database.transaction(async (db) => {
      const connected = db
        .selectFrom("sallyport_connections")
        .select("id")
        .where("gateway_id", "=", gatewayId)
        .where("disconnected_at", "is", null);
      await db.deleteFrom("sallyport_memberships").where("connection_key", "in", connected).execute();
      return db
        .updateTable("sallyport_connections")
        .set({ closed_at: this.#database.now, disconnected_at: this.#database.now, close_reason: reason })
        .where("gateway_id", "=", gatewayId)
        .where("disconnected_at", "is", null)
        .executeTakeFirst();
    });
    return Number(result.numUpdatedRows);
  }

  /**
   * Closes the rows of an ended session or a deleted user, in the transaction of the caller.
   *
   * @returns the number of rows that were open
   */
  async closeForSessionOrUser(
    db: Kysely<Tables>,
    owner: { readonly session: string } | { readonly user: string },
    reason: string,
  ): Promise<number> {
    const { numUpdatedRows } = await db
      .updateTable("sallyport_connections")
      .set({ closed_at: this.#database.now, close_reason: reason })
      .where((eb) =>
        "session" in owner ? eb("session_id", "=", owner.session) : eb("user_id", "=", owner.user),
      )
      .where("closed_at", "is", null)
      .executeTakeFirst();
    return Number(numUpdatedRows);
  }

  /** Returns the age of the oldest row in milliseconds, or undefined if there are no rows. */
  async oldestMs(): Promise<number | undefined> {
    const { db, now } = this.#database;
    const row = await db
      .selectFrom("sallyport_connections")
      .select(({ eb }) => eb(now, "-", eb.ref("connected_at")).as("age"))
      .orderBy("connected_at")
      .limit(1)
      .executeTakeFirst();
    return row && Number(row.age);
  }

  /**
   * Removes the rows and memberships of connections that are older than `thanMs` milliseconds. The
   * minimum is the maximum duration of a connection.
   *
   * @returns how many were removed, at most `limit`
   */
  async removeOlder(thanMs: number, limit: number): Promise<number> {
    const { now } = this.#database;
    return this.#database.sharedTransaction(async (db) => {
      const old = await db
        .selectFrom("sallyport_connections")
        .select("id")
        .where(({ eb }) => eb("connected_at", "<", eb(now, "-", Math.max(thanMs, MAX_CONNECTION_ROW_AGE_MS))))
        .orderBy("connected_at")
        .limit(limit)
        .execute();
      if (old.length === 0) return 0;
      const ids = old.map(({ id }) => id).sort();
      await db.deleteFrom("sallyport_memberships").where("connection_key", "in", ids).execute();
      const { numDeletedRows } = await db
        .deleteFrom("sallyport_connections")
        .where("id", "in", ids)
        .executeTakeFirst();
      return Number(numDeletedRows);
    });
  }
}
