import type { Expression, ExpressionBuilder, Kysely, SqlBool } from "kysely";
import { type Database, parseList, type Tables } from "../database.ts";
import { prepared } from "../prepared.ts";
import {
  CONNECTION_PAGE,
  type ConnectionFilter,
  type ConnectionRow,
  type ConnectionSelector,
  type ConnectionWithChannels,
  type ListedConnection,
  PERMISSION_ENDED,
} from "../stores/connections.ts";
import type { ConnectionWithLostChannels } from "../stores/lost-channels.ts";
import {
  type ConnectionQueries,
  type DetailedRow,
  fromDetailedRow,
  fromRow,
  type RawRow,
} from "./connection-rows.ts";
import { GrantsCache } from "./effective-permissions.ts";

type PreparedPage = (db: Kysely<never>, values: { subject: string; after: string }) => Promise<RawRow[]>;

/**
 * The maximum number of compiled fan-out statements. One per kind of audience and list of
 * permissions.
 */
const MAX_RECIPIENT_STATEMENTS = 200;

/** Reads pages of connections. See `ConnectionStore`. */
export class ConnectionPages {
  readonly #database: Database;
  readonly #queries: ConnectionQueries;
  readonly #holdersOf: (db: Kysely<Tables>, permission: string) => Expression<string>;
  readonly #known = new GrantsCache();
  readonly #recipients = new Map<string, PreparedPage>();

  /** @param holdersOf returns a subquery for the ids of the users with a permission */
  constructor(
    database: Database,
    queries: ConnectionQueries,
    holdersOf: (db: Kysely<Tables>, permission: string) => Expression<string>,
  ) {
    this.#database = database;
    this.#queries = queries;
    this.#holdersOf = holdersOf;
  }

  /**
   * Returns a page of open connections with channels and permissions, ordered by id.
   *
   * @param after the last id of the previous page, `""` for the first page
   * @param options.includeClosed whether to include rows that a revocation closed. A process can
   *   have stopped before it closed their WebSockets. Default false
   */
  async page(
    db: Kysely<Tables>,
    selector: ConnectionSelector,
    after: string,
    { includeClosed = false }: { readonly includeClosed?: boolean } = {},
  ): Promise<readonly ConnectionWithChannels[]> {
    const rows: DetailedRow[] = await this.#page(db, selector, after, undefined, includeClosed)
      .select((eb) => this.#queries.detailsOf(eb))
      .execute();
    return rows.map((row) => fromDetailedRow(row));
  }

  /** Returns a page of open connections that lost a channel, ordered by id. */
  async pageWithLostChannels(
    db: Kysely<Tables>,
    selector: ConnectionSelector,
    after: string,
    limit = CONNECTION_PAGE,
  ): Promise<readonly ConnectionWithLostChannels[]> {
    // The channel was left, so the connection is not selected by its memberships.
    const [others, channel] =
      selector.kind === "channel" ? [{ kind: "all" } as const, selector.channel] : [selector, undefined];
    let lost = db.selectFrom("sallyport_lost_channels").select("connection_key");
    if (channel !== undefined) lost = lost.where("channel", "=", channel);
    const rows: (DetailedRow & { lost_channels: unknown })[] = await this.#page(db, others, after)
      .where("c.id", "in", lost)
      .select((eb) => this.#queries.detailsOf(eb))
      .select((eb) => this.#lostChannelsOf(db, eb.ref("c.id")).as("lost_channels"))
      .limit(limit)
      .execute();
    return rows.map((row) => ({ ...fromDetailedRow(row), lostChannels: parseList(row.lost_channels) }));
  }

  #lostChannelsOf(db: Kysely<Tables>, connectionKey: Expression<string>) {
    return this.#database.listOf(
      db
        .selectFrom("sallyport_lost_channels as lost")
        .select("lost.channel")
        .where("lost.connection_key", "=", connectionKey)
        .orderBy("lost.channel"),
      "channel",
    );
  }

  /**
   * Returns a page of open connections that match a filter, ordered by id.
   */
  async list(filter: ConnectionFilter, limit: number): Promise<readonly ListedConnection[]> {
    const { connection, user, view, channel, after = "" } = filter;
    let query = this.#queries
      .open(this.#database.db)
      .select((eb) => [...this.#queries.detailsOf(eb), "c.last_seen_at", "c.request_count"])
      .where("c.id", ">", after)
      .orderBy("c.id")
      .limit(limit);
    if (connection !== undefined) query = query.where("c.id", "=", connection);
    if (user !== undefined) query = query.where("c.user_id", "=", user);
    if (view !== undefined) query = query.where("c.view", "=", view);
    if (channel !== undefined) {
      query = query.where(({ exists, selectFrom }) =>
        exists(
          selectFrom("sallyport_memberships as joined")
            .select("joined.connection_key")
            .whereRef("joined.connection_key", "=", "c.id")
            .where("joined.channel", "=", channel),
        ),
      );
    }
    const rows: (DetailedRow & { last_seen_at: number; request_count: number })[] = await query.execute();
    return rows.map((row) => ({
      ...fromDetailedRow(row),
      lastSeenAt: Number(row.last_seen_at),
      requestCount: row.request_count,
    }));
  }

  /**
   * Returns a page of open connections for a fan-out, ordered by id. The rows do not contain
   * channels.
   *
   * @param only the permissions to read. Undefined for all permissions
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

  /**
   * Returns the number of open connections of an audience.
   *
   * @param after the last id that is not counted, `""` to count all
   */
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
    includeClosed = false,
  ) {
    const current = this.#queries.withinLifetime(db, only);
    const connected = current.where("c.disconnected_at", "is", null);
    let query = current.where("c.closed_at", "is", null).limit(CONNECTION_PAGE);
    if (selector.kind === "session" || selector.kind === "deleted-user") {
      query = connected.where("c.closed_at", "is not", null).limit(CONNECTION_PAGE);
    } else if (includeClosed) {
      query = connected
        .where((eb) => eb.or([eb("c.closed_at", "is", null), eb("c.close_reason", "=", PERMISSION_ENDED)]))
        .limit(CONNECTION_PAGE);
    }
    // Reading the index of the channel is fast for a small channel among a million connections.
    query =
      selector.kind === "channel"
        ? (query
            .innerJoin("sallyport_memberships as joined", (join) =>
              join.onRef("joined.connection_key", "=", "c.id").on("joined.channel", "=", selector.channel),
            )
            .where("joined.connection_key", ">", after)
            .orderBy("joined.connection_key") as unknown as typeof query)
        : query.where("c.id", ">", after).orderBy("c.id");
    return query.where((eb) =>
      isSelected(eb as never, selector, (permission) => this.#holdersOf(db, permission)),
    );
  }
}

/** A selector with a value of any type, such as a parameter of a prepared statement. */
type SelectorBy<Value> =
  | { readonly kind: "all" }
  | { readonly kind: "channel"; readonly channel: Value }
  | { readonly kind: "view"; readonly view: Value }
  | { readonly kind: "user"; readonly userId: Value }
  | { readonly kind: "group"; readonly group: Value }
  | { readonly kind: "listed"; readonly revocationId: Value }
  | { readonly kind: "holders"; readonly permission: string }
  | { readonly kind: "connection"; readonly connectionKey: Value }
  | { readonly kind: "connection-id"; readonly connectionId: Value }
  | { readonly kind: "session"; readonly sessionId: Value }
  | { readonly kind: "deleted-user"; readonly userId: Value };

/** Returns the value of a selector, or `""` if it has none that can be a parameter. */
function selectedBy(selector: ConnectionSelector): string {
  if (selector.kind === "all" || selector.kind === "holders") return "";
  const { kind: _kind, ...by } = selector;
  return Object.values(by)[0] ?? "";
}

/** Returns a selector of the same kind with another value. */
function withValue<Value>(selector: ConnectionSelector, value: Value): SelectorBy<Value> {
  if (selector.kind === "all" || selector.kind === "holders") return selector;
  const { kind, ...by } = selector;
  return { kind, [Object.keys(by)[0] as string]: value } as unknown as SelectorBy<Value>;
}

/** Connections as `c`, joined with their users as `u`. */
type Joined = Tables & { c: Tables["sallyport_connections"]; u: Tables["sallyport_users"] };

/**
 * Returns the SQL condition of a selector. For a channel it is always true, because the caller
 * joins the memberships of the channel.
 *
 * @param holders returns a subquery for the ids of the users with a permission
 */
function isSelected(
  eb: ExpressionBuilder<Joined, "c" | "u">,
  selector: SelectorBy<string | Expression<string>>,
  holders: (permission: string) => Expression<string>,
): Expression<SqlBool> {
  switch (selector.kind) {
    case "all":
    case "channel":
      return eb.lit(true);
    case "view":
      return eb("c.view", "=", selector.view);
    case "user":
    case "deleted-user":
      return eb("c.user_id", "=", selector.userId);
    case "connection":
      return eb("c.id", "=", selector.connectionKey);
    case "connection-id":
      return eb("c.connection_id", "=", selector.connectionId);
    case "session":
      return eb("c.session_id", "=", selector.sessionId);
    case "listed":
      return eb(
        "c.user_id",
        "in",
        eb
          .selectFrom("sallyport_revocation_users as listed")
          .select("listed.user_id")
          .where("listed.revocation_id", "=", selector.revocationId),
      );
    case "group":
      return eb(
        "c.user_id",
        "in",
        eb
          .selectFrom("sallyport_user_groups as member")
          .select("member.user_id")
          .where("member.group_name", "=", selector.group),
      );
    case "holders":
      return eb.and([
        eb("u.is_active", "=", 1),
        eb.or([eb("u.is_superuser", "=", 1), eb("c.user_id", "in", holders(selector.permission))]),
      ]);
  }
}
