import type { CompiledQuery, Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../database.ts";
import { bindStatement, cachedStatement } from "../prepared.ts";
import type { CheckedPermissions, ConnectionRow } from "../stores/connections.ts";
import type { JoinResult, MembershipRequest, MembershipStore } from "../stores/memberships.ts";
import type { ChangeLog } from "./change-log.ts";
import type { SqlConnections } from "./connections.ts";
import { firstExpiry, NEVER, unchangedSince } from "./effective-permissions.ts";

interface Values {
  readonly connectionKey: string;
  readonly channel: string;
  readonly leaving: string;
  readonly max: number;
  readonly since: number;
  readonly validUntil: number;
}

type Parameter = Parameters<Parameters<typeof bindStatement<Values, unknown>>[1]>[0];

/** Identifies the variant of the statement that joins a channel. */
interface Shape {
  /** Whether it leaves another channel. */
  readonly leaves: boolean;
  /** Whether it requires that no change was recorded since the permissions were read. */
  readonly isChecked: boolean;
}

/** The dependencies of {@link SqlMemberships}. */
interface Dependencies {
  readonly connections: SqlConnections;
  readonly changeLog: ChangeLog;
}

/** {@link MembershipStore} in SQL. */
export class SqlMemberships implements MembershipStore {
  readonly #database: Database;
  readonly #connections: SqlConnections;
  readonly #changeLog: ChangeLog;
  readonly #joins = new Map<string, (values: Values) => CompiledQuery>();
  readonly #leave: (values: { connectionKey: string; channel: string }) => CompiledQuery;

  constructor(database: Database, { connections, changeLog }: Dependencies) {
    this.#database = database;
    this.#connections = connections;
    this.#changeLog = changeLog;
    const { db, sql } = database;
    this.#leave = bindStatement(sql, (value) =>
      db
        .deleteFrom("sallyport_memberships")
        .where("connection_key", "=", value("connectionKey"))
        .where("channel", "=", value("channel"))
        .returning("channel"),
    );
  }

  /**
   * Without `authorize`, the permissions are read and checked first, if the database supports
   * writable CTEs. The statement that writes the membership requires that no change was recorded
   * since then.
   *
   * With `authorize`, or after a change, the permissions are read in the transaction of the
   * membership. That transaction excludes permission changes, but runs concurrently with other
   * joins and connects.
   */
  async join(request: MembershipRequest, check: (connection: ConnectionRow) => void): Promise<JoinResult> {
    const { connectionKey, channel, since } = request;
    const lock = `channels of ${connectionKey}`;
    if (since === undefined && this.#database.supportsWritableCte) {
      const joined = await this.#joinUnchanged(request, check, lock);
      if (joined) return joined;
    }
    return this.#database.sharedTransaction<JoinResult>(
      async (db) => {
        const current = await this.#connections.findIn(db, connectionKey);
        if (!current) return "closed";
        if (since !== undefined) {
          const { isAffected } = await this.#changeLog.check(db, { ...current, channel }, since);
          if (isAffected) return "changed";
        }
        check(current);
        if (await this.#join(db, request)) return "joined";
        return (await this.#connections.findIn(db, connectionKey)) ? "full" : "closed";
      },
      { lock },
    );
  }

  /**
   * Joins with one statement instead of a transaction.
   *
   * @returns undefined if a change was recorded since the permissions were read, or the maximum is
   *   reached
   */
  async #joinUnchanged(
    request: MembershipRequest,
    check: (connection: ConnectionRow) => void,
    lock: string,
  ): Promise<JoinResult | undefined> {
    let current: Awaited<ReturnType<SqlConnections["findWithChange"]>>;
    try {
      current = await this.#connections.findWithChange(request.connectionKey);
    } catch {
      // The transaction reads again, and is retried if the database connection was lost.
      return undefined;
    }
    if (!current) return "closed";
    check(current);
    const values = valuesOf(request, { since: current.lastChange, grants: current.grants });
    const shape = { leaves: values.leaving !== values.channel, isChecked: true };
    const statement = this.#joinStatement(shape, values);
    return (await this.#database.executeBatch([statement], { lock })) > 0 ? "joined" : undefined;
  }

  /**
   * Joins a channel in a transaction that excludes other joins of the connection. On PostgreSQL,
   * concurrent transactions do not see each other's rows.
   *
   * @returns false if the maximum is reached, or the connection was closed. Nothing is joined or
   *   left in this case
   */
  async #join(db: Kysely<Tables>, request: MembershipRequest): Promise<boolean> {
    const values = valuesOf(request);
    const leaves = values.leaving !== values.channel;
    const isOneStatement = this.#database.supportsWritableCte;
    const shape = { leaves: leaves && isOneStatement, isChecked: false };
    const joined = await db.executeQuery(this.#joinStatement(shape, values));
    if (joined.rows.length === 0) return false;
    if (leaves && !isOneStatement) await this.#leaveIn(db, values.connectionKey, values.leaving);
    return true;
  }

  #joinStatement(shape: Shape, values: Values): CompiledQuery {
    const bind = cachedStatement(this.#joins, shape, () =>
      bindStatement(this.#database.sql, (value) => this.#buildJoin(shape, value)),
    );
    return bind(values);
  }

  #buildJoin({ leaves, isChecked }: Shape, value: Parameter) {
    const { db, now, sql } = this.#database;
    const text = (name: "connectionKey" | "channel" | "leaving") => sql<string>`cast(${value(name)} as text)`;
    const number = (name: "max" | "since" | "validUntil") => sql<number>`cast(${value(name)} as bigint)`;
    const member = db
      .selectFrom("sallyport_memberships as member")
      .where("member.connection_key", "=", text("connectionKey"));
    const last = member.select(({ fn }) => fn.max("member.joined_at").as("last"));
    const others = member
      .select(({ fn }) => fn.countAll<number>().as("others"))
      .where("member.channel", "not in", [text("channel"), text("leaving")]);
    // The connection can be closed after it was read. Closing does not exclude joins.
    const open = db
      .selectFrom("sallyport_connections as open")
      .select("open.id")
      .where("open.id", "=", text("connectionKey"))
      .where("open.closed_at", "is", null);
    const conditions: Expression<SqlBool>[] = [
      sql<boolean>`${others} < ${number("max")}`,
      sql<boolean>`exists ${open}`,
    ];
    if (isChecked) conditions.push(...unchangedSince(this.#database, number("since"), number("validUntil")));
    const joining = db
      .insertInto("sallyport_memberships")
      .columns(["connection_key", "channel", "joined_at"])
      .expression(
        db
          .selectNoFrom([
            text("connectionKey").as("connection_key"),
            text("channel").as("channel"),
            // Two joins within the same millisecond must have an order.
            sql<number>`case when ${last} >= ${now} then ${last} + 1 else ${now} end`.as("joined_at"),
          ])
          .where(({ and }) => and(conditions)),
      )
      .onConflict((conflict) =>
        conflict
          .columns(["connection_key", "channel"])
          .doUpdateSet({ joined_at: ({ ref }) => ref("excluded.joined_at") }),
      )
      .returning("channel");
    if (!leaves) return joining as never;
    return db
      .with("joined", () => joining)
      .with("departed", (cte) =>
        cte
          .deleteFrom("sallyport_memberships")
          .where("connection_key", "=", value("connectionKey"))
          .where("channel", "=", value("leaving"))
          .where(({ exists }) => exists(cte.selectFrom("joined").select("joined.channel")))
          .returning("channel"),
      )
      .selectFrom("joined")
      .selectAll() as never;
  }

  async isIn(connectionKey: string, channel: string): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_memberships")
      .select("connection_key")
      .where("connection_key", "=", connectionKey)
      .where("channel", "=", channel)
      .executeTakeFirst();
    return row !== undefined;
  }

  async #leaveIn(db: Kysely<Tables>, connectionKey: string, channel: string): Promise<boolean> {
    return (await db.executeQuery(this.#leave({ connectionKey, channel }))).rows.length > 0;
  }

  async leave(connectionKey: string, channel: string): Promise<void> {
    await this.#database.executeBatch([this.#leave({ connectionKey, channel })]);
  }

  async loseMany<Item extends { readonly connection: { readonly id: string }; readonly channel: string }>(
    leaving: readonly Item[],
  ): Promise<readonly Item[]> {
    if (leaving.length === 0) return [];
    // The fixed order prevents a deadlock with another call for some of the same memberships.
    const inOrder = [...leaving].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    return this.#database.sharedTransaction(async (db) => {
      const left: Item[] = [];
      for (const one of inOrder) if (await this.#leaveIn(db, one.connection.id, one.channel)) left.push(one);
      await addLostChannels(db, left);
      return left;
    });
  }

  async leaveAll(connectionKeys: readonly string[]): Promise<void> {
    await this.#database.execute((db) =>
      db.deleteFrom("sallyport_memberships").where("connection_key", "in", connectionKeys).execute(),
    );
  }
}

/** Maximum number of rows per INSERT, because databases limit the number of parameters. */
const ROWS_PER_INSERT = 5000;

async function addLostChannels(
  db: Kysely<Tables>,
  left: readonly { readonly connection: { readonly id: string }; readonly channel: string }[],
): Promise<void> {
  const rows = left.map(({ connection, channel }) => ({
    connection_key: connection.id,
    channel,
    revocation_id: null,
  }));
  for (let from = 0; from < rows.length; from += ROWS_PER_INSERT) {
    await db
      .insertInto("sallyport_lost_channels")
      .values(rows.slice(from, from + ROWS_PER_INSERT))
      // A notice of an earlier loss can be in progress, and must not remove this one.
      .onConflict((conflict) =>
        conflict.columns(["connection_key", "channel"]).doUpdateSet({ revocation_id: null }),
      )
      .execute();
  }
}

function keyOf({
  connection,
  channel,
}: {
  readonly connection: { readonly id: string };
  readonly channel: string;
}): string {
  return `${connection.id} ${channel}`;
}

function valuesOf(
  { connectionKey, channel, max, leaving }: MembershipRequest,
  checked?: CheckedPermissions,
): Values {
  return {
    connectionKey,
    channel,
    leaving: leaving ?? channel,
    max: max ?? Number.MAX_SAFE_INTEGER,
    since: checked?.since ?? 0,
    validUntil: checked ? (firstExpiry(checked) ?? NEVER) : NEVER,
  };
}
