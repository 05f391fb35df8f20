import type { CompiledQuery, Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../database.ts";
import { bindStatement, cachedStatement, prepared } from "../prepared.ts";
import type {
  CheckedPermissions,
  ConnectionScope,
  NewConnection,
  OpenResult,
  SpentTokenRef,
} from "../stores/connections.ts";
import type { EffectivePermissions } from "../stores/users.ts";
import type { ChangeLog } from "./change-log.ts";
import { countOpenConnections, openConnections } from "./connection-rows.ts";
import {
  type EffectivePermissionsQuery,
  firstExpiry,
  NEVER,
  type PermissionColumns,
  permissionColumns,
  permissionsFrom,
  unchangedSince,
} from "./effective-permissions.ts";

/** Returns the name of the lock for counting and opening the connections of a user. */
function connectionsLock(userId: string): string {
  return `connections of ${userId}`;
}

/** A new connection with the permissions of its user. One statement opens and reads both. */
export interface OpenedConnection extends EffectivePermissions {
  readonly id: string;
}

interface Values extends Omit<NewConnection, "limit" | "token"> {
  readonly tokenHash: string | undefined;
  readonly spentAt: number | undefined;
  readonly max: number;
  readonly validUntil: number;
}

/** Returns a subquery for the row of a token that opens a connection. */
interface TokenQuery {
  spentTokenQuery(
    db: Kysely<Tables>,
    hash: Expression<string>,
    spentAt: Expression<number>,
  ): Expression<unknown>;
}

type Open = (db: Kysely<never>, values: Values) => Promise<(PermissionColumns & { id: string })[]>;
type Bind = (values: Values) => CompiledQuery;
type Parameter = Parameters<Parameters<typeof bindStatement<Values, unknown>>[1]>[0];

/** Identifies the variant of the statement that opens a row. */
interface Shape {
  readonly hasToken: boolean;
  /**
   * Which later changes prevent the row: none, changes that affect the connection, or any change.
   */
  readonly preventedBy: "none" | "affecting" | "any";
  /** Whether the statement also joins a channel. */
  readonly joins: boolean;
  /** The connections that are counted for the limit, or null for no limit. */
  readonly counted: ConnectionScope | null;
}

/** Opens the rows of connections. */
export class ConnectionOpener {
  readonly #database: Database;
  readonly #grantsSubquery: EffectivePermissionsQuery;
  readonly #changeLog: ChangeLog;
  readonly #spentToken: TokenQuery["spentTokenQuery"];
  readonly #open = new Map<string, Open>();
  readonly #openUnchanged = new Map<string, Bind>();
  readonly #join: (values: { id: string; channel: string }) => CompiledQuery;

  /**
   * @param rights reads the permissions that are returned with a row
   * @param tokens returns a subquery for a token of a session that was not ended
   * @param changeLog checks whether a change affects a connection that is being opened
   */
  constructor(
    database: Database,
    rights: { readonly grantsSubquery: EffectivePermissionsQuery },
    tokens: TokenQuery,
    changeLog: ChangeLog,
  ) {
    this.#changeLog = changeLog;
    this.#database = database;
    this.#grantsSubquery = rights.grantsSubquery;
    this.#spentToken = (db, hash, spentAt) => tokens.spentTokenQuery(db, hash, spentAt);
    const { db, now, sql } = database;
    this.#join = bindStatement(sql, (value) =>
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
   * Opens a connection. See `ConnectionStore.open`.
   *
   * With `checked`, one statement requires that no change was recorded since the permissions were
   * read. Otherwise, or after a change, the statement that writes the row reads the permissions
   * again, and they are checked before the commit.
   */
  async open(
    connection: NewConnection,
    check: (user: EffectivePermissions) => void,
    checked: CheckedPermissions | undefined,
  ): Promise<OpenResult> {
    const { userId, limit } = connection;
    const lock = userId === null || limit === undefined ? undefined : connectionsLock(userId);
    if (checked && (await this.#openUnchangedRow(connection, checked, lock))) return { kind: "opened" };
    return this.#database.sharedTransaction<OpenResult>(
      async (db) => {
        const opened = await this.#openIn(db, connection);
        if (!opened) return this.#whyNotOpened(db, connection);
        check(opened);
        return { kind: "opened" };
      },
      { lock },
    );
  }

  /**
   * Opens a row and joins its channel, in a transaction. The caller checks the returned
   * permissions.
   *
   * With a limit, the transaction must hold the lock of {@link connectionsLock}. Counting and
   * opening are one statement, but on PostgreSQL two concurrent statements do not see each other's
   * rows.
   *
   * Nothing is opened if the session was ended, a change affects the connection, or the limit is
   * reached. The same applies if the AWS connection id has a row already. AWS assigns each id only
   * once.
   *
   * @returns undefined if nothing was opened
   */
  async #openIn(db: Kysely<Tables>, connection: NewConnection): Promise<OpenedConnection | undefined> {
    const { channel } = connection;
    const joins = channel !== undefined && this.#database.supportsWritableCte;
    const on = db as unknown as Kysely<never>;
    const open = cachedStatement<Shape, Open>(
      this.#open,
      {
        hasToken: connection.token !== undefined,
        preventedBy: connection.since === undefined ? "none" : "affecting",
        joins,
        counted: connection.limit?.scope ?? null,
      },
      (shape) => prepared(this.#database, (value) => this.#buildOpen(shape, value, "with permissions")),
    );
    const [row] = await open(on, valuesOf(connection, null));
    if (!row) return undefined;
    if (channel !== undefined && !joins) await on.executeQuery(this.#join({ id: row.id, channel }));
    return { id: row.id, ...permissionsFrom(row) };
  }

  /**
   * Opens a row and joins its channel, if no permissions have changed since those of the user were
   * read. It needs one round trip if the database supports it.
   *
   * @param lock the name from {@link connectionsLock} if the connection has a limit
   * @returns false if nothing was opened. {@link open} then opens the row if the change does not
   *   affect the connection
   */
  async #openUnchangedRow(
    connection: NewConnection,
    checked: CheckedPermissions,
    lock: string | undefined,
  ): Promise<boolean> {
    const { id, channel } = connection;
    const joins = channel !== undefined && this.#database.supportsWritableCte;
    const bind = cachedStatement<Shape, Bind>(
      this.#openUnchanged,
      {
        hasToken: connection.token !== undefined,
        preventedBy: "any",
        joins,
        counted: connection.limit?.scope ?? null,
      },
      (shape) => bindStatement(this.#database.sql, (value) => this.#buildOpen(shape, value, "alone")),
    );
    const values = valuesOf({ ...connection, since: checked.since }, firstExpiry(checked));
    const statements = [bind(values)];
    if (channel !== undefined && !joins) statements.push(this.#join({ id, channel }));
    return (await this.#database.executeBatch(statements, { lock })) > 0;
  }

  /** Returns why the row was not written. */
  async #whyNotOpened(db: Kysely<Tables>, connection: NewConnection): Promise<OpenResult> {
    // The statement was retried because its result was lost, but it had written the row.
    if (await this.#isOpened(db, connection)) return { kind: "opened" };
    const { token, limit, since, userId } = connection;
    if (token !== undefined) {
      const status = await findSpentStatus(db, token);
      if (status) return { kind: status };
    }
    if (since !== undefined) {
      const { last, isAffected } = await this.#changeLog.check(db, connection, since);
      if (isAffected) return { kind: "changed", last };
    }
    if (userId !== null && limit !== undefined) {
      const count = await countOpenConnections(this.#database, db, userId, limit.scope);
      if (count >= limit.max) return { kind: "full" };
    }
    return { kind: "exists" };
  }

  /** Returns whether the row of a connection exists and is open. */
  async #isOpened(db: Kysely<Tables>, { id }: NewConnection): Promise<boolean> {
    const row = await db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("id", "=", id)
      .where("closed_at", "is", null)
      .executeTakeFirst();
    return row !== undefined;
  }

  /**
   * Builds the statement that opens a row.
   *
   * @param returns whether it returns the permissions of the user, or only the id
   */
  #buildOpen(
    { hasToken, preventedBy, joins, counted }: Shape,
    value: Parameter,
    returns: "with permissions" | "alone",
  ) {
    const { db, now, sql } = this.#database;
    const text = (name: keyof Values) => sql<string>`cast(${value(name)} as text)`;
    const number = (name: keyof Values) => sql<number>`cast(${value(name)} as bigint)`;
    const conditions: Expression<SqlBool>[] = [
      // Without a condition in the SELECT, SQLite parses ON CONFLICT as the ON of a join.
      sql<boolean>`1 = 1`,
    ];
    if (hasToken) {
      const token = this.#spentToken(db, text("tokenHash"), number("spentAt"));
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

/** Returns why a spent token is no longer valid, or undefined if it is valid. */
async function findSpentStatus(
  db: Kysely<Tables>,
  { hash, spentAt }: SpentTokenRef,
): Promise<"token-deleted" | "session-ended" | "token-respent" | undefined> {
  const row = await db
    .selectFrom("sallyport_tokens")
    .select(["ended_at", "spent_at", "user_id"])
    .where("hash", "=", hash)
    .executeTakeFirst();
  if (!row) return "token-deleted";
  if (row.ended_at !== null) return "session-ended";
  return Number(row.spent_at) === spentAt ? undefined : "token-respent";
}
