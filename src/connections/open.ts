import type { CompiledQuery, Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import { bound, prepared, remembered } from "../storage/prepared.ts";
import {
  type EffectivePermissions,
  type EffectivePermissionsQuery,
  NEVER,
  type PermissionColumns,
  permissionColumns,
  permissionsFrom,
  unchangedSince,
} from "../storage/sql/effective-permissions.ts";
import { type ConnectionLimit, type ConnectionScope, openConnections } from "./user-connections.ts";

/** The lock under which the connections of a user are counted and opened. */
export function lockOfConnections(userId: string): string {
  return `connections of ${userId}`;
}

/** A token as one connect has spent it. */
export interface SpentMark {
  readonly hash: string;
  /** Epoch milliseconds. */
  readonly spentAt: number;
}

/** What opens a session. */
export interface NewConnection {
  /** Id of the row: unique, and never used again. */
  readonly id: string;
  readonly gatewayId: string;
  readonly connectionId: string;
  readonly view: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly sourceIp: string | null;
  /** Joined at once. */
  readonly channel: string | undefined;
  /** The token that was spent, and whose login must not have ended meanwhile. */
  readonly token: SpentMark | undefined;
  /** How many connections the user can have open, this one included; undefined for any number. */
  readonly limit: ConnectionLimit | undefined;
  /**
   * Number of the last change before `authorize` was called. No row is opened if a later one concerns this connection. undefined:
   * no `authorize` was called.
   */
  readonly since: number | undefined;
}

/** What opens a session whose permissions were read and checked before. */
export interface CheckedConnection extends NewConnection {
  /** Number of the last change before the permissions were read. */
  readonly since: number;
  /** When the first of the grants that were read ends, in epoch milliseconds. null: none of them ends. */
  readonly validUntil: number | null;
}

/** A session just opened, with its user's state and rights by the same statement. */
export interface OpenedConnection extends EffectivePermissions {
  readonly id: string;
}

interface Values extends Omit<NewConnection, "limit" | "token"> {
  readonly tokenHash: string | undefined;
  readonly spentAt: number | undefined;
  readonly max: number;
  readonly validUntil: number;
}

/** The row of a token that opens a connection, as a subquery. */
interface StandingToken {
  standing(db: Kysely<Tables>, hash: Expression<string>, spentAt: Expression<number>): Expression<unknown>;
}

/** The SQL condition that a change after `since` concerns a connection. */
interface ChangeCondition {
  affects(
    db: Kysely<Tables>,
    connection: Readonly<Record<"userId" | "sessionId" | "view" | "channel", Expression<string | null>>>,
    since: Expression<number>,
  ): Expression<SqlBool>;
}

type Open = (db: Kysely<never>, values: Values) => Promise<(PermissionColumns & { id: string })[]>;
type Bind = (values: Values) => CompiledQuery;
type Parameter = Parameters<Parameters<typeof bound<Values, unknown>>[1]>[0];

/** The conditions of a row, and whether it joins a channel. */
interface Shape {
  readonly hasToken: boolean;
  /** Which changes since the permissions were read prevent the row: none, those that concern the connection, or any. */
  readonly preventedBy: "none" | "affecting" | "any";
  readonly joins: boolean;
  readonly counted: ConnectionScope | null;
}

/** Opens the rows of sessions. */
export class ConnectionOpener {
  readonly #database: Database;
  readonly #grantsSubquery: EffectivePermissionsQuery;
  readonly #changeLog: ChangeCondition;
  readonly #standing: StandingToken["standing"];
  readonly #open = new Map<string, Open>();
  readonly #openUnchanged = new Map<string, Bind>();
  readonly #join: (values: { id: string; channel: string }) => CompiledQuery;

  /**
   * @param rights the rights that come back with a row
   * @param tokens the row of a token whose login has not ended, as a subquery
   * @param changeLog checks whether a change concerns a connection that is opened
   */
  constructor(
    database: Database,
    rights: { readonly grantsSubquery: EffectivePermissionsQuery },
    tokens: StandingToken,
    changeLog: ChangeCondition,
  ) {
    this.#changeLog = changeLog;
    this.#database = database;
    this.#grantsSubquery = rights.grantsSubquery;
    this.#standing = (db, hash, spentAt) => tokens.standing(db, hash, spentAt);
    const { db, now, sql } = database;
    this.#join = bound(sql, (value) =>
      db
        .insertInto("sallyport_memberships")
        .columns(["connection_key", "channel", "joined_at"])
        .expression(
          db
            .selectFrom("sallyport_connections")
            .select(["id", sql<string>`cast(${value("channel")} as text)`.as("channel"), now.as("joined_at")])
            .where("id", "=", value("id")),
        ),
    );
  }

  /**
   * Opens a row and puts it into its channel, inside the transaction of a caller who judges the rights that come back.
   *
   * With a limit, the caller's transaction has the lock of {@link lockOfConnections}: counting and opening are one statement, but on
   * PostgreSQL two of them do not see each other's rows.
   *
   * @returns undefined where nothing was opened: the token's login has ended, a change concerned the connection, the user's limit is
   *   reached, or a row, open or closed, bears the connection's id, which AWS never gives twice
   */
  async open(db: Kysely<Tables>, connection: NewConnection): Promise<OpenedConnection | undefined> {
    const { channel } = connection;
    const joins = channel !== undefined && this.#database.supportsWritableCte;
    const on = db as unknown as Kysely<never>;
    const open = remembered<Shape, Open>(
      this.#open,
      {
        hasToken: connection.token !== undefined,
        preventedBy: connection.since === undefined ? "none" : "affecting",
        joins,
        counted: connection.limit?.scope ?? null,
      },
      (shape) => prepared(this.#database, (value) => this.#opening(shape, value, "with permissions")),
    );
    const [row] = await open(on, valuesOf(connection, null));
    if (!row) return undefined;
    if (channel !== undefined && !joins) await on.executeQuery(this.#join({ id: row.id, channel }));
    return { id: row.id, ...permissionsFrom(row) };
  }

  /**
   * Opens a row and puts it into its channel, if nobody's permissions have changed since those of the user were read. Takes one round trip
   * where the database can.
   *
   * @param lock of {@link lockOfConnections}, with a limit
   * @returns false if nothing was opened. Then call {@link open}, which opens the row if the change does not concern the connection
   */
  async openUnchanged(connection: CheckedConnection, lock: string | undefined): Promise<boolean> {
    const { id, channel } = connection;
    const joins = channel !== undefined && this.#database.supportsWritableCte;
    const bind = remembered<Shape, Bind>(
      this.#openUnchanged,
      {
        hasToken: connection.token !== undefined,
        preventedBy: "any",
        joins,
        counted: connection.limit?.scope ?? null,
      },
      (shape) => bound(this.#database.sql, (value) => this.#opening(shape, value, "alone")),
    );
    const statements = [bind(valuesOf(connection, connection.validUntil))];
    if (channel !== undefined && !joins) statements.push(this.#join({ id, channel }));
    return (await this.#database.executeBatch(statements, { lock })) > 0;
  }

  /** Whether the row of a session is there, and open. */
  async isOpened(db: Kysely<Tables>, { id }: NewConnection): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("id", "=", id)
      .where("closed_at", "is", null)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** @param returns the row of the session with the permissions of its user, or only its id */
  #opening(
    { hasToken, preventedBy, joins, counted }: Shape,
    value: Parameter,
    returns: "with permissions" | "alone",
  ) {
    const { db, now, sql } = this.#database;
    const text = (name: keyof Values) => sql<string>`cast(${value(name)} as text)`;
    const number = (name: keyof Values) => sql<number>`cast(${value(name)} as bigint)`;
    const conditions: Expression<SqlBool>[] = [
      // SQLite would take the ON of a conflict for a join's, had the SELECT no condition.
      sql<boolean>`1 = 1`,
    ];
    if (hasToken) {
      const token = this.#standing(db, text("tokenHash"), number("spentAt"));
      conditions.push(sql<boolean>`exists ${token}`);
    }
    if (preventedBy === "affecting") {
      const affected = {
        userId: text("userId"),
        sessionId: text("sessionId"),
        view: text("view"),
        channel: text("channel"),
      };
      conditions.push(sql<boolean>`not ${this.#changeLog.affects(db, affected, number("since"))}`);
    }
    if (preventedBy === "any") {
      conditions.push(...unchangedSince(this.#database, number("since"), number("validUntil")));
    }
    if (counted !== null) {
      const scope = "view" in counted ? { view: text("view") } : counted;
      const count = openConnections(this.#database, db, text("userId"), scope);
      conditions.push(sql<boolean>`${count} < ${number("max")}`);
    }
    const row = db
      .selectNoFrom([
        text("id").as("id"),
        text("gatewayId").as("gateway_id"),
        text("connectionId").as("connection_id"),
        text("view").as("view"),
        text("userId").as("user_id"),
        text("sessionId").as("session_id"),
        text("sourceIp").as("source_ip"),
        now.as("connected_at"),
        now.as("last_seen_at"),
      ])
      .where(({ and }) => and(conditions));
    const inserting = db
      .insertInto("sallyport_connections")
      .columns([
        "id",
        "gateway_id",
        "connection_id",
        "view",
        "user_id",
        "session_id",
        "source_ip",
        "connected_at",
        "last_seen_at",
      ])
      .expression(row)
      .onConflict((conflict) => conflict.columns(["connection_id", "gateway_id"]).doNothing())
      .returning("id");
    const opening =
      returns === "alone"
        ? inserting
        : inserting.returning((eb) =>
            permissionColumns(db, eb.ref("sallyport_connections.user_id"), this.#grantsSubquery),
          );
    if (!joins) return opening as never;
    return db
      .with("opened", () => opening)
      .with("joined", (cte) =>
        cte
          .insertInto("sallyport_memberships")
          .columns(["connection_key", "channel", "joined_at"])
          .expression(
            cte
              .selectFrom("opened")
              .select(["opened.id", text("channel").as("channel"), now.as("joined_at")]),
          ),
      )
      .selectFrom("opened")
      .selectAll() as never;
  }
}

function valuesOf({ limit, token, ...connection }: NewConnection, validUntil: number | null): Values {
  return {
    ...connection,
    tokenHash: token?.hash,
    spentAt: token?.spentAt,
    max: limit?.max ?? 0,
    validUntil: validUntil ?? NEVER,
  };
}
