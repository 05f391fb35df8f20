import type { CompiledQuery, Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import { bound, remembered } from "../storage/prepared.ts";
import { NEVER, unchangedSince } from "../storage/sql/effective-permissions.ts";

/** A channel that a session joins. */
export interface MembershipRequest {
  readonly connectionKey: string;
  readonly channel: string;
  /** Channels that the session can be in, this one included. Default: any number. */
  readonly max?: number;
  /** A channel that is left by the same statement. Default: none. */
  readonly leaving?: string | undefined;
}

/** A channel that a session joins. Its permissions were read and checked before. */
export interface CheckedMembershipRequest extends MembershipRequest {
  /** Number of the last change before the permissions were read. */
  readonly since: number;
  /** When the first of the grants that were read ends, in epoch milliseconds. null: none of them ends. */
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

type Parameter = Parameters<Parameters<typeof bound<Values, unknown>>[1]>[0];

/** Which statement joins. */
interface Shape {
  /** Whether another channel is left. */
  readonly leaves: boolean;
  /** Whether it requires that no change was recorded since the permissions were read. */
  readonly isChecked: boolean;
}

/** Which sessions are in which channels. A membership proves nothing: each delivery checks the permissions. */
export class Memberships {
  readonly #database: Database;
  readonly #joins = new Map<string, (values: Values) => CompiledQuery>();
  readonly #leave: (values: { connectionKey: string; channel: string }) => CompiledQuery;

  constructor(database: Database) {
    this.#database = database;
    const { db, sql } = database;
    this.#leave = bound(sql, (value) =>
      db
        .deleteFrom("sallyport_memberships")
        .where("connection_key", "=", value("connectionKey"))
        .where("channel", "=", value("channel"))
        .returning("channel"),
    );
  }

  /**
   * Joins, or joins again: the channel becomes the one that was joined last. The caller's transaction excludes other joins of the
   * connection, since on PostgreSQL two of them do not see each other's rows.
   *
   * @returns false if it is in as many others as it can be; nothing is joined or left then
   */
  async join(db: Kysely<Tables>, joining: MembershipRequest): Promise<boolean> {
    const values = valuesOf(joining);
    const leaves = values.leaving !== values.channel;
    const inOne = this.#database.supportsWritableCte;
    const joined = await db.executeQuery(this.#joined({ leaves: leaves && inOne, isChecked: false }, values));
    if (joined.rows.length === 0) return false;
    if (leaves && !inOne) await this.leave(db, values.connectionKey, values.leaving);
    return true;
  }

  /**
   * The same in one round trip, if no change was recorded since the permissions of the session were read, and the session is open.
   *
   * @param lock excludes other joins of the connection
   * @returns false if nothing was joined or left: then {@link join} decides. It is always false if the database has no WITH that writes
   */
  async joinUnchanged(joining: CheckedMembershipRequest, lock: string): Promise<boolean> {
    if (!this.#database.supportsWritableCte) return false;
    const values = valuesOf(joining);
    const statement = this.#joined({ leaves: values.leaving !== values.channel, isChecked: true }, values);
    return (await this.#database.executeBatch([statement], { lock })) > 0;
  }

  #joined(shape: Shape, values: Values): CompiledQuery {
    const bind = remembered(this.#joins, shape, () =>
      bound(this.#database.sql, (value) => this.#joining(shape, value)),
    );
    return bind(values);
  }

  #joining({ leaves, isChecked }: Shape, value: Parameter) {
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
            // Two joins within a millisecond still have an order.
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

  /** @returns whether it was joined */
  async leave(db: Kysely<Tables>, connectionKey: string, channel: string): Promise<boolean> {
    return (await db.executeQuery(this.#leave({ connectionKey, channel }))).rows.length > 0;
  }

  /** Leaves in one round trip where the database can. */
  async leaveOne(connectionKey: string, channel: string): Promise<void> {
    await this.#database.executeBatch([this.#leave({ connectionKey, channel })]);
  }

  /** Many at once, in one transaction. @returns those that were joined: of two racing calls one gets each */
  async leaveMany<Left extends { readonly connection: { readonly id: string }; readonly channel: string }>(
    leaving: readonly Left[],
  ): Promise<readonly Left[]> {
    if (leaving.length === 0) return [];
    // In one order, whoever else names some of them too: otherwise each could wait for the other.
    const inOrder = [...leaving].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    return this.#database.sharedTransaction(async (db) => {
      const left: Left[] = [];
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
