import type { Expression, ExpressionBuilder, Kysely } from "kysely";
import { MAX_SESSION_MS } from "../protocol/quotas.ts";
import { changesRecorded, type Database, type Flag, parseList, type Tables } from "../storage/database.ts";
import { prepared, preparedRow } from "../storage/prepared.ts";
import {
  type EffectivePermissions,
  type EffectivePermissionsQuery,
  KnownGrants,
  permissionsFrom,
} from "../storage/sql/effective-permissions.ts";
import { type ConnectionSelector, isSelected, type SelectorBy, selectedBy, withValue } from "./selector.ts";

/** A session as its row says, with its user's state and rights from the same statement. */
export interface ConnectionRow extends EffectivePermissions {
  readonly id: string;
  readonly gatewayId: string;
  readonly connectionId: string;
  readonly view: string;
  readonly userId: string | null;
  readonly sessionId: string | null;
  /** How long ago it connected when the row was read, in milliseconds. */
  readonly ageMs: number;
}

/** All of a session, with the channels it is in, in the order of joining. */
export interface ConnectionWithChannels extends ConnectionRow {
  /** Epoch milliseconds by the database's clock. */
  readonly connectedAt: number;
  /** Only statements that look past closed rows give one. */
  readonly isClosed: boolean;
  readonly channels: readonly string[];
}

/** A session with what is known of its messages, a few seconds late. */
export interface ListedConnection extends ConnectionWithChannels {
  /** Epoch milliseconds by the database's clock. */
  readonly lastSeenAt: number;
  readonly requestCount: number;
}

/** A session whose socket has closed, with the channels it was in. */
export type DisconnectedConnection = Pick<
  ConnectionWithChannels,
  "id" | "connectionId" | "view" | "userId" | "connectedAt" | "channels"
>;

/** Which live sessions to list. */
export interface ConnectionFilter {
  /** The session of this id, if it is live. */
  readonly connection?: string | undefined;
  readonly user?: string | undefined;
  /** In this channel. */
  readonly channel?: string | undefined;
  /** Path of the view that accepted them. */
  readonly view?: string | undefined;
  /** The last id of the page before. */
  readonly after?: string | undefined;
}

/** What statements about sessions ask of rights. */
export interface RightsBrought {
  readonly grantsSubquery: EffectivePermissionsQuery;
  /** Ids of the users who hold a permission now, as a subquery. */
  readonly holdersOf: (db: Kysely<Tables>, permission: string) => Expression<string>;
}

/** Why a row is closed when rights alone ended it. */
export const PERMISSION_ENDED = "right ended";

/** How long a connection may take to close after its row was closed, in milliseconds. */
const CLOSING_MS = 60_000;

/** Sessions read by one statement of a fan-out. */
export const PAGE_SIZE = 500;

interface RawRow {
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

interface WholeRow extends RawRow {
  connected_at: number;
  closed_at: number | null;
  channels: unknown;
}

interface ChangeRow extends RawRow {
  last_change: number | null;
}

type DepartedRow = Pick<WholeRow, "id" | "connection_id" | "view" | "user_id" | "connected_at" | "channels">;

type PreparedFind = (values: {
  gatewayId: string;
  connectionId: string;
}) => WholeRow | undefined | Promise<WholeRow | undefined>;

type PreparedPage = (db: Kysely<never>, values: { subject: string; after: string }) => Promise<RawRow[]>;

/** Fan-out statements kept compiled: one for each kind of audience and list of permissions asked about. */
const MAX_RECIPIENT_STATEMENTS = 200;

/** Who is here: one row for each open socket. */
export class Connections {
  readonly #database: Database;
  readonly #rights: RightsBrought;
  readonly #find: PreparedFind;
  readonly #depart: (
    db: Kysely<never>,
    values: { gatewayId: string; connectionId: string; code: number | null; reason: string | null },
  ) => Promise<DepartedRow[]>;
  readonly #findWithChange: (db: Kysely<never>, values: { id: string }) => Promise<ChangeRow[]>;
  readonly #known = new KnownGrants();
  readonly #recipients = new Map<string, PreparedPage>();

  /** @param rights the rights that every statement here brings along with a session */
  constructor(database: Database, rights: RightsBrought) {
    this.#database = database;
    this.#rights = rights;
    const { db, now } = database;
    this.#depart = prepared(database, (value) =>
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
          this.#channelsOf(db, eb.ref("sallyport_connections.id")).as("channels"),
        ]),
    );
    this.#findWithChange = prepared(database, (value) =>
      this.#live(db).select(changesRecorded(db).as("last_change")).where("s.id", "=", value("id")),
    );
    this.#find = preparedRow(database, (value) =>
      this.#live(database.db)
        .select((eb) => this.#detailsOf(eb))
        .where("s.gateway_id", "=", value("gatewayId"))
        .where("s.connection_id", "=", value("connectionId")),
    );
  }

  /**
   * The live session of a connection with its channels, its user's state and rights: one statement. Returned without a promise where
   * the database reads at once.
   */
  find(
    gatewayId: string,
    connectionId: string,
  ): ConnectionWithChannels | undefined | Promise<ConnectionWithChannels | undefined> {
    const row = this.#find({ gatewayId, connectionId });
    if (row instanceof Promise) return row.then((read) => read && wholeOf(read, this.#known));
    return row && wholeOf(row, this.#known);
  }

  /**
   * Returns whether a connection has no open row, through whichever gateway, and none that was closed within the last minute: such a
   * connection is being closed already.
   */
  async isOrphaned(connectionId: string): Promise<boolean> {
    const { db, now } = this.#database;
    const row = await db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("connection_id", "=", connectionId)
      .where(({ and, or, eb }) =>
        or([
          and([eb("closed_at", "is", null), eb("connected_at", ">", eb(now, "-", MAX_SESSION_MS))]),
          // A close in the future is from before the clock was set back.
          and([
            eb("closed_at", ">", eb(now, "-", CLOSING_MS)),
            eb("closed_at", "<", eb(now, "+", CLOSING_MS)),
          ]),
        ]),
      )
      .executeTakeFirst();
    return row === undefined;
  }

  /** Whether a session's socket may still exist: no `$disconnect` has come for it yet. */
  async isConnected(id: string): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("id", "=", id)
      .where("disconnected_at", "is", null)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** The live session of a row's id, read inside a transaction. */
  async findById(db: Kysely<Tables>, id: string): Promise<ConnectionRow | undefined> {
    const row: RawRow | undefined = await this.#live(db).where("s.id", "=", id).executeTakeFirst();
    return row && fromRow(row);
  }

  /** The same outside of a transaction, with the number of the last change before the permissions were read: one statement. */
  async findWithChange(id: string): Promise<(ConnectionRow & { readonly lastChange: number }) | undefined> {
    const [row] = await this.#findWithChange(this.#database.db as unknown as Kysely<never>, { id });
    return row && { ...fromRow(row, this.#known), lastChange: Number(row.last_change ?? 0) };
  }

  /**
   * Notes that a connection has ended and closes its row if it is still open. Idempotent: only the first call
   * gives the session, with the channels it was in.
   */
  async disconnect(
    gatewayId: string,
    connectionId: string,
    closed: { code: number | undefined; reason: string | undefined },
  ): Promise<DisconnectedConnection | undefined> {
    const { code = null, reason = null } = closed;
    const values = { gatewayId, connectionId, code, reason: reason?.slice(0, 200) ?? null };
    const [row] = await this.#database.execute((db) => this.#depart(db as unknown as Kysely<never>, values));
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
   * Closes rows in one statement: from then on they are nobody's to any other. Their sockets may live on.
   *
   * @param record writes in the same transaction which of them were open. Default: nothing
   * @returns ids of those that were open: of two racing calls one gets each
   */
  async closeMany(
    ids: readonly string[],
    reason: string,
    record?: (db: Kysely<Tables>, closed: readonly string[]) => Promise<unknown>,
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
      if (open.length > 0) await record?.(db, open);
      return open;
    });
    return new Set(closed);
  }

  /** Closes every open row of a gateway whose sockets cannot exist any more, as after a restart of a local one. */
  async closeAllOf(gatewayId: string, reason: string): Promise<number> {
    const result = await this.#database.transaction(async (db) => {
      const gone = db
        .selectFrom("sallyport_connections")
        .select("id")
        .where("gateway_id", "=", gatewayId)
        .where("disconnected_at", "is", null);
      await db.deleteFrom("sallyport_memberships").where("connection_key", "in", gone).execute();
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
   * Closes the rows of a login that has ended, or of a user who was deleted, in the transaction that does it.
   *
   * @returns how many were open
   */
  async closeOf(
    db: Kysely<Tables>,
    whose: { readonly session: string } | { readonly user: string },
    reason: string,
  ): Promise<number> {
    const { numUpdatedRows } = await db
      .updateTable("sallyport_connections")
      .set({ closed_at: this.#database.now, close_reason: reason })
      .where((eb) =>
        "session" in whose ? eb("session_id", "=", whose.session) : eb("user_id", "=", whose.user),
      )
      .where("closed_at", "is", null)
      .executeTakeFirst();
    return Number(numUpdatedRows);
  }

  /**
   * Removes rows of sockets that connected longer ago than one can live, with their memberships.
   *
   * @returns how many, at most `limit`
   */
  async removeOlder(thanMs: number, limit: number): Promise<number> {
    const { now } = this.#database;
    return this.#database.sharedTransaction(async (db) => {
      const old = await db
        .selectFrom("sallyport_connections")
        .select("id")
        .where(({ eb }) => eb("connected_at", "<", eb(now, "-", Math.max(thanMs, MAX_SESSION_MS))))
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

  /**
   * One keyset page of live sessions in the order of their ids, each with its user's state, rights and channels.
   *
   * @param after the last id of the page before, `""` for the first page
   * @param options.db the transaction to read in. Default: none
   * @param options.isTakenOver looks at rows, too, that a process closed by a right that ended, and whose sockets it may
   *   not have lived to close. Default false
   */
  async page(
    selector: ConnectionSelector,
    after: string,
    options: { readonly db?: Kysely<Tables>; readonly isTakenOver?: boolean } = {},
  ): Promise<readonly ConnectionWithChannels[]> {
    const { db = this.#database.db, isTakenOver = false } = options;
    const rows: WholeRow[] = await this.#page(db, selector, after, undefined, isTakenOver)
      .select((eb) => this.#detailsOf(eb))
      .execute();
    return rows.map((row) => wholeOf(row));
  }

  /**
   * Live sessions for people to look at, in the order of their ids.
   *
   * @param filter all of what is given must hold
   */
  async list(filter: ConnectionFilter, limit: number): Promise<readonly ListedConnection[]> {
    const { connection, user, view, channel, after = "" } = filter;
    let query = this.#live(this.#database.db)
      .select((eb) => [...this.#detailsOf(eb), "s.last_seen_at", "s.request_count"])
      .where("s.id", ">", after)
      .orderBy("s.id")
      .limit(limit);
    if (connection !== undefined) query = query.where("s.id", "=", connection);
    if (user !== undefined) query = query.where("s.user_id", "=", user);
    if (view !== undefined) query = query.where("s.view", "=", view);
    if (channel !== undefined) {
      query = query.where(({ exists, selectFrom }) =>
        exists(
          selectFrom("sallyport_memberships as joined")
            .select("joined.connection_key")
            .whereRef("joined.connection_key", "=", "s.id")
            .where("joined.channel", "=", channel),
        ),
      );
    }
    const rows: (WholeRow & { last_seen_at: number; request_count: number })[] = await query.execute();
    return rows.map((row) => ({
      ...wholeOf(row),
      lastSeenAt: Number(row.last_seen_at),
      requestCount: row.request_count,
    }));
  }

  /**
   * The same page for a fan-out, without the channels.
   *
   * @param only the permissions that the rows contain. undefined: all
   */
  async recipients(
    selector: ConnectionSelector,
    after: string,
    only: readonly string[] | undefined,
  ): Promise<readonly ConnectionRow[]> {
    const read = this.#readRecipients(selector, only);
    const values = { subject: selectedBy(selector), after };
    const rows = await read(this.#database.db as unknown as Kysely<never>, values);
    return rows.map((row) => fromRow(row, this.#known));
  }

  /** Live sessions of an audience. @param after the last id that is not counted; `""` for none */
  async count(selector: ConnectionSelector, after: string): Promise<number> {
    const row = await this.#page(this.#database.db, selector, after)
      .clearSelect()
      .clearOrderBy()
      .clearLimit()
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirst();
    return Number(row?.count ?? 0);
  }

  #readRecipients(selector: ConnectionSelector, only: readonly string[] | undefined): PreparedPage {
    const by = selector.kind === "holders" ? selector.permission : "";
    const key = JSON.stringify([selector.kind, by, only]);
    let read = this.#recipients.get(key);
    if (!read) {
      read = prepared(this.#database, (value) =>
        this.#page(this.#database.db, withValue(selector, value("subject")), value("after"), only),
      );
      this.#recipients.set(key, read);
      if (this.#recipients.size > MAX_RECIPIENT_STATEMENTS) {
        this.#recipients.delete(this.#recipients.keys().next().value ?? "");
      }
    }
    return read;
  }

  #page(
    db: Kysely<Tables>,
    selector: SelectorBy<string | Expression<string>>,
    after: string | Expression<string>,
    only?: readonly string[],
    isTakenOver = false,
  ) {
    const young = this.#young(db, only);
    const connected = young.where("s.disconnected_at", "is", null);
    let query = young.where("s.closed_at", "is", null).limit(PAGE_SIZE);
    if (selector.kind === "session" || selector.kind === "deleted-user") {
      query = connected.where("s.closed_at", "is not", null).limit(PAGE_SIZE);
    } else if (isTakenOver) {
      query = connected
        .where((eb) => eb.or([eb("s.closed_at", "is", null), eb("s.close_reason", "=", PERMISSION_ENDED)]))
        .limit(PAGE_SIZE);
    }
    // Walking the channel's own index keeps a small channel cheap among a million sessions.
    query =
      selector.kind === "channel"
        ? (query
            .innerJoin("sallyport_memberships as joined", (join) =>
              join.onRef("joined.connection_key", "=", "s.id").on("joined.channel", "=", selector.channel),
            )
            .where("joined.connection_key", ">", after)
            .orderBy("joined.connection_key") as unknown as typeof query)
        : query.where("s.id", ">", after).orderBy("s.id");
    return query.where((eb) =>
      isSelected(eb as never, selector, (permission) => this.#rights.holdersOf(db, permission)),
    );
  }

  /** Open, and young enough for its socket to exist. */
  #live(db: Kysely<Tables>, only?: readonly string[]) {
    return this.#young(db, only).where("s.closed_at", "is", null);
  }

  #young(db: Kysely<Tables>, only?: readonly string[]) {
    const { now } = this.#database;
    return this.#all(db, only).where((eb) => eb("s.connected_at", ">", eb(now, "-", MAX_SESSION_MS)));
  }

  #all(db: Kysely<Tables>, only?: readonly string[]) {
    return db
      .selectFrom("sallyport_connections as s")
      .leftJoin("sallyport_users as u", "u.id", "s.user_id")
      .select((eb) => [
        "s.id",
        "s.gateway_id",
        "s.connection_id",
        "s.view",
        "s.user_id",
        "s.session_id",
        eb(this.#database.now, "-", eb.ref("s.connected_at")).as("age_ms"),
        "u.is_active",
        "u.is_superuser",
        this.#rights.grantsSubquery(db, eb.ref("s.user_id"), only).as("grants"),
      ]);
  }

  /** What a fan-out can do without. */
  #detailsOf(eb: ExpressionBuilder<Tables & { s: Tables["sallyport_connections"] }, "s">) {
    const channels = this.#channelsOf(this.#database.db, eb.ref("s.id"));
    return ["s.connected_at" as const, "s.closed_at" as const, channels.as("channels")];
  }

  /** In the order of joining. */
  #channelsOf(db: Kysely<Tables>, connectionKey: Expression<string>) {
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

/** Every message reads one: added to, as a spread into another object would cost more than all the rest of it. */
function wholeOf(row: WholeRow, known?: KnownGrants): ConnectionWithChannels {
  const connection: Partial<Writable<ConnectionWithChannels>> = fromRow(row, known);
  connection.connectedAt = Number(row.connected_at);
  connection.isClosed = row.closed_at !== null;
  connection.channels = row.channels === NO_CHANNELS ? [] : parseList(row.channels);
  return connection as ConnectionWithChannels;
}

type Writable<Row> = { -readonly [Field in keyof Row]: Row[Field] };

/** As both databases spell it: most sessions are in none, or in one. */
const NO_CHANNELS = "[]";

function fromRow(row: RawRow, known?: KnownGrants): ConnectionRow {
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
