import { randomUUID } from "node:crypto";
import type { Expression, Kysely, SqlBool } from "kysely";
import type { Database, Tables } from "../storage/database.ts";
import { prepared } from "../storage/prepared.ts";
import {
  type ReadRights,
  type RightsColumns,
  type RightsOf,
  rightsColumns,
  rightsFrom,
} from "./rights-of.ts";
import { type ConnectionLimit, type ConnectionScope, openConnections } from "./user-connections.ts";

/** The lock under which the connections of a user are counted and opened. */
export function lockOfConnections(userId: string): string {
  return `connections of ${userId}`;
}

/** What opens a session. */
export interface NewSession {
  readonly gatewayId: string;
  readonly connectionId: string;
  readonly view: string;
  readonly userId: string | null;
  readonly loginId: string | null;
  readonly sourceIp: string | null;
  /** Joined at once. */
  readonly channel: string | undefined;
  /** Hash of the token that was spent, whose login must not have ended meanwhile. */
  readonly tokenHash: string | undefined;
  /** How many connections the user can have open, this one included; undefined for any number. */
  readonly limit: ConnectionLimit | undefined;
  /**
   * Number of the last change before `authorize` was called. No row is opened if a later one concerns this connection. undefined:
   * no `authorize` was called.
   */
  readonly since: number | undefined;
}

/** A session just opened, with its user's state and rights by the same statement. */
export interface OpenedSession extends ReadRights {
  readonly id: string;
}

interface Values extends Omit<NewSession, "limit"> {
  readonly id: string;
  readonly max: number;
}

/** The SQL condition that a change after `since` concerns a connection. */
interface ChangeCondition {
  affects(
    db: Kysely<Tables>,
    connection: Readonly<Record<"userId" | "loginId" | "view" | "channel", Expression<string | null>>>,
    since: Expression<number>,
  ): Expression<SqlBool>;
}

type Open = (db: Kysely<never>, values: Values) => Promise<(RightsColumns & { id: string })[]>;

/** The conditions of a row, and whether it joins a channel. */
interface Shape {
  readonly hasToken: boolean;
  readonly checksChanges: boolean;
  readonly joins: boolean;
  readonly counted: ConnectionScope | null;
}

/** Opens the rows of sessions. */
export class Entries {
  readonly #database: Database;
  readonly #heldBy: RightsOf;
  readonly #changeLog: ChangeCondition;
  readonly #standing: (db: Kysely<Tables>, hash: Expression<string>) => Expression<unknown>;
  readonly #open = new Map<string, Open>();
  readonly #join: (db: Kysely<never>, values: { id: string; channel: string }) => Promise<unknown>;

  /**
   * @param rights the rights that come back with a row
   * @param tokens the row of a token whose login has not ended, as a subquery
   * @param changeLog checks whether a change concerns a connection that is opened
   */
  constructor(
    database: Database,
    rights: { readonly heldBy: RightsOf },
    tokens: { standing(db: Kysely<Tables>, hash: Expression<string>): Expression<unknown> },
    changeLog: ChangeCondition,
  ) {
    this.#changeLog = changeLog;
    this.#database = database;
    this.#heldBy = rights.heldBy;
    this.#standing = (db, hash) => tokens.standing(db, hash);
    const { db, now } = database;
    this.#join = prepared(database, (value) =>
      db
        .insertInto("sallyport_memberships")
        .values({ session_id: value("id"), channel: value("channel"), joined_at: now }),
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
  async open(db: Kysely<Tables>, session: NewSession): Promise<OpenedSession | undefined> {
    const { channel } = session;
    const joins = channel !== undefined && this.#database.writesInWith;
    const on = db as unknown as Kysely<never>;
    const open = this.#statement({
      hasToken: session.tokenHash !== undefined,
      checksChanges: session.since !== undefined,
      joins,
      counted: session.limit?.scope ?? null,
    });
    const [row] = await open(on, { ...session, id: randomUUID(), max: session.limit?.max ?? 0 });
    if (!row) return undefined;
    if (channel !== undefined && !joins) await this.#join(on, { id: row.id, channel });
    return { id: row.id, ...rightsFrom(row) };
  }

  #statement(shape: Shape): Open {
    const key = JSON.stringify(shape);
    const open = this.#open.get(key) ?? this.#prepare(shape);
    this.#open.set(key, open);
    return open;
  }

  #prepare({ hasToken, checksChanges, joins, counted }: Shape): Open {
    const { db, now, sql } = this.#database;
    return prepared(this.#database, (value) => {
      const text = (name: keyof Values) => sql<string>`cast(${value(name)} as text)`;
      const conditions: Expression<SqlBool>[] = [
        // SQLite would take the ON of a conflict for a join's, had the SELECT no condition.
        sql<boolean>`1 = 1`,
      ];
      if (hasToken) conditions.push(sql<boolean>`exists ${this.#standing(db, text("tokenHash"))}`);
      if (checksChanges) {
        const affected = {
          userId: text("userId"),
          loginId: text("loginId"),
          view: text("view"),
          channel: text("channel"),
        };
        const since = sql<number>`cast(${value("since")} as bigint)`;
        conditions.push(sql<boolean>`not ${this.#changeLog.affects(db, affected, since)}`);
      }
      if (counted !== null) {
        const scope = "view" in counted ? { view: text("view") } : counted;
        const count = openConnections(this.#database, db, text("userId"), scope);
        conditions.push(sql<boolean>`${count} < cast(${value("max")} as bigint)`);
      }
      const row = db
        .selectNoFrom([
          text("id").as("id"),
          text("gatewayId").as("gateway_id"),
          text("connectionId").as("connection_id"),
          text("view").as("view"),
          text("userId").as("user_id"),
          text("loginId").as("login_id"),
          text("sourceIp").as("source_ip"),
          now.as("connected_at"),
          now.as("last_seen_at"),
        ])
        .where(({ and }) => and(conditions));
      const opening = db
        .insertInto("sallyport_sessions")
        .columns([
          "id",
          "gateway_id",
          "connection_id",
          "view",
          "user_id",
          "login_id",
          "source_ip",
          "connected_at",
          "last_seen_at",
        ])
        .expression(row)
        .onConflict((conflict) => conflict.columns(["connection_id", "gateway_id"]).doNothing())
        .returning((eb) => ["id", ...rightsColumns(db, eb.ref("sallyport_sessions.user_id"), this.#heldBy)]);
      if (!joins) return opening;
      return db
        .with("opened", () => opening)
        .with("joined", (cte) =>
          cte
            .insertInto("sallyport_memberships")
            .columns(["session_id", "channel", "joined_at"])
            .expression(
              cte
                .selectFrom("opened")
                .select(["opened.id", text("channel").as("channel"), now.as("joined_at")]),
            ),
        )
        .selectFrom("opened")
        .selectAll();
    });
  }
}
