import type { CompiledQuery, Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import { bindStatement, cachedStatement } from "../storage/prepared.ts";
import { NEVER, unchangedSince } from "../storage/sql/effective-permissions.ts";

/** A request of a connection to join a channel. */
export interface MembershipRequest {
  readonly connectionKey: string;
  readonly channel: string;
  /** The maximum number of joined channels, including this one. Default: no maximum. */
  readonly max?: number;
  /** A channel to leave with the same statement. Default: none. */
  readonly leaving?: string | undefined;
}

/** A request to join a channel, after the permissions were read and checked. */
export interface CheckedMembershipRequest extends MembershipRequest {
  /** Number of the last change before the permissions were read. */
  readonly since: number;
  /** When the first of the grants expires, in epoch milliseconds, or null if none expires. */
  readonly validUntil: number | null;
}

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

/**
 * The channels of connections. A membership grants no access: each delivery checks the permissions.
 */
export class Memberships {
  readonly #database: Database;
  readonly #joins = new Map<string, (values: Values) => CompiledQuery>();
  readonly #leave: (values: { connectionKey: string; channel: string }) => CompiledQuery;

  constructor(database: Database) {
    this.#database = database;
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
   * Joins a channel, or joins it again. The channel becomes the last joined channel.
   *
   * The transaction of the caller must exclude other joins of the connection. On PostgreSQL,
   * concurrent transactions do not see each other's rows.
   *
   * @returns false if the maximum is reached. Nothing is joined or left in this case
   */
  async join(db: Kysely<Tables>, joining: MembershipRequest): Promise<boolean> {
    const values = valuesOf(joining);
    const leaves = values.leaving !== values.channel;
    const isOneStatement = this.#database.supportsWritableCte;
    const shape = { leaves: leaves && isOneStatement, isChecked: false };
    const joined = await db.executeQuery(this.#joinStatement(shape, values));
    if (joined.rows.length === 0) return false;
    if (leaves && !isOneStatement) await this.leave(db, values.connectionKey, values.leaving);
    return true;
  }

  /**
   * Joins a channel in one round trip, if the connection is open and no permissions have changed
   * since they were read.
   *
   * @param lock excludes other joins of the connection
   * @returns false if nothing was joined or left. Call {@link join} in this case. It is always
   *   false if the database does not support data-modifying WITH
   */
  async joinUnchanged(joining: CheckedMembershipRequest, lock: string): Promise<boolean> {
    if (!this.#database.supportsWritableCte) return false;
    const values = valuesOf(joining);
    const shape = { leaves: values.leaving !== values.channel, isChecked: true };
    const statement = this.#joinStatement(shape, values);
    return (await this.#database.executeBatch([statement], { lock })) > 0;
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
    const conditions: Expression<SqlBool>[] = [sql<boolean>`${others} < ${number("max")}`];
    if (isChecked) {
      const open = db
        .selectFrom("sallyport_connections as open")
        .select("open.id")
        .where("open.id", "=", text("connectionKey"))
        .where("open.closed_at", "is", null);
      conditions.push(sql<boolean>`exists ${open}`);
      conditions.push(...unchangedSince(this.#database, number("since"), number("validUntil")));
    }
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

  /** Returns whether a connection has joined a channel. */
  async isIn(connectionKey: string, channel: string): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_memberships")
      .select("connection_key")
      .where("connection_key", "=", connectionKey)
      .where("channel", "=", channel)
      .executeTakeFirst();
    return row !== undefined;
  }

  /**
   * Leaves a channel.
   *
   * @returns whether the connection had joined it
   */
  async leave(db: Kysely<Tables>, connectionKey: string, channel: string): Promise<boolean> {
    return (await db.executeQuery(this.#leave({ connectionKey, channel }))).rows.length > 0;
  }

  /** Leaves a channel, in one round trip if the database supports it. */
  async leaveOne(connectionKey: string, channel: string): Promise<void> {
    await this.#database.executeBatch([this.#leave({ connectionKey, channel })]);
  }

  /**
   * Leaves many channels in one transaction.
   *
   * @returns those that were joined. Of concurrent calls, only one returns each membership
   */
  async leaveMany<Item extends { readonly connection: { readonly id: string }; readonly channel: string }>(
    leaving: readonly Item[],
  ): Promise<readonly Item[]> {
    if (leaving.length === 0) return [];
    // The fixed order prevents a deadlock with another call for some of the same memberships.
    const inOrder = [...leaving].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    return this.#database.sharedTransaction(async (db) => {
      const left: Item[] = [];
      for (const one of inOrder) if (await this.leave(db, one.connection.id, one.channel)) left.push(one);
      return left;
    });
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

function valuesOf({
  connectionKey,
  channel,
  max,
  leaving,
  ...checked
}: MembershipRequest & Partial<CheckedMembershipRequest>): Values {
  return {
    connectionKey,
    channel,
    leaving: leaving ?? channel,
    max: max ?? Number.MAX_SAFE_INTEGER,
    since: checked.since ?? 0,
    validUntil: checked.validUntil ?? NEVER,
  };
}
