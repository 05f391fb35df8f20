import type { Expression, Kysely } from "kysely";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../protocol/quotas.ts";
import { changesRecorded, type Database, type Tables } from "../database.ts";
import { prepared, preparedRow } from "../prepared.ts";
import type {
  CheckedPermissions,
  ConnectionActivity,
  ConnectionRow,
  ConnectionScope,
  ConnectionStore,
  ConnectionWithChannels,
  NewConnection,
  OpenResult,
} from "../stores/connections.ts";
import type { EffectivePermissions } from "../stores/users.ts";
import type { ChangeLog } from "./change-log.ts";
import { ConnectionCloses } from "./connection-closes.ts";
import { ConnectionPages } from "./connection-pages.ts";
import {
  ConnectionQueries,
  countOpenConnections,
  type DetailedRow,
  fromDetailedRow,
  fromRow,
  oldestOpenConnections,
  type RawRow,
} from "./connection-rows.ts";
import { type EffectivePermissionsQuery, GrantsCache } from "./effective-permissions.ts";
import { ConnectionOpener } from "./open-connection.ts";
import type { SqlTokens } from "./tokens.ts";

/** The maximum time between the close of a row and the close of its connection, in milliseconds. */
const CLOSING_MS = 60_000;

interface ChangeRow extends RawRow {
  last_change: number | null;
}

type PreparedFind = (values: {
  gatewayId: string;
  connectionId: string;
}) => DetailedRow | undefined | Promise<DetailedRow | undefined>;

/** The dependencies of {@link SqlConnections}. */
interface Dependencies {
  readonly users: {
    readonly grantsSubquery: EffectivePermissionsQuery;
    readonly holdersOf: (db: Kysely<Tables>, permission: string) => Expression<string>;
  };
  readonly tokens: Pick<SqlTokens, "spentTokenQuery">;
  readonly changeLog: ChangeLog;
}

/** {@link ConnectionStore} in SQL. */
export class SqlConnections implements ConnectionStore {
  readonly #database: Database;
  readonly #queries: ConnectionQueries;
  readonly #pages: ConnectionPages;
  readonly #closes: ConnectionCloses;
  readonly #opener: ConnectionOpener;
  readonly #find: PreparedFind;
  readonly #findWithChange: (db: Kysely<never>, values: { id: string }) => Promise<ChangeRow[]>;
  readonly #known = new GrantsCache();

  constructor(database: Database, { users, tokens, changeLog }: Dependencies) {
    this.#database = database;
    const queries = new ConnectionQueries(database, users.grantsSubquery);
    this.#queries = queries;
    this.#pages = new ConnectionPages(database, queries, users.holdersOf);
    this.#closes = new ConnectionCloses(database, queries, changeLog);
    this.#opener = new ConnectionOpener(database, users, tokens, changeLog);
    const { db } = database;
    this.#findWithChange = prepared(database, (value) =>
      queries.open(db).select(changesRecorded(db).as("last_change")).where("c.id", "=", value("id")),
    );
    this.#find = preparedRow(database, (value) =>
      queries
        .open(db)
        .select((eb) => queries.detailsOf(eb))
        .where("c.gateway_id", "=", value("gatewayId"))
        .where("c.connection_id", "=", value("connectionId")),
    );
  }

  /** Returns the connection with one statement. */
  find(
    gatewayId: string,
    connectionId: string,
  ): ConnectionWithChannels | undefined | Promise<ConnectionWithChannels | undefined> {
    const row = this.#find({ gatewayId, connectionId });
    if (row instanceof Promise) return row.then((read) => read && fromDetailedRow(read, this.#known));
    return row && fromDetailedRow(row, this.#known);
  }

  findById(id: string): Promise<ConnectionRow | undefined> {
    return this.findIn(this.#database.db, id);
  }

  /** Returns the open connection with an id, read in a transaction. */
  async findIn(db: Kysely<Tables>, id: string): Promise<ConnectionRow | undefined> {
    const row: RawRow | undefined = await this.#queries.open(db).where("c.id", "=", id).executeTakeFirst();
    return row && fromRow(row);
  }

  /** Reads with one statement, outside of a transaction. */
  async findWithChange(id: string): Promise<(ConnectionRow & { readonly lastChange: number }) | undefined> {
    const [row] = await this.#findWithChange(this.#database.db as unknown as Kysely<never>, { id });
    return row && { ...fromRow(row, this.#known), lastChange: Number(row.last_change ?? 0) };
  }

  async isOrphaned(connectionId: string): Promise<boolean> {
    const { db, now } = this.#database;
    const row = await db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("connection_id", "=", connectionId)
      .where(({ and, or, eb }) =>
        or([
          and([
            eb("closed_at", "is", null),
            eb("connected_at", ">", eb(now, "-", MAX_CONNECTION_ROW_AGE_MS)),
          ]),
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

  async isConnected(id: string): Promise<boolean> {
    const row = await this.#database.db
      .selectFrom("sallyport_connections")
      .select("id")
      .where("id", "=", id)
      .where("disconnected_at", "is", null)
      .executeTakeFirst();
    return row !== undefined;
  }

  open(
    connection: NewConnection,
    check: (user: EffectivePermissions) => void,
    checked?: CheckedPermissions,
  ): Promise<OpenResult> {
    return this.#opener.open(connection, check, checked);
  }

  disconnect(...given: Parameters<ConnectionStore["disconnect"]>) {
    return this.#closes.disconnect(...given);
  }

  closeMany(...given: Parameters<ConnectionStore["closeMany"]>) {
    return this.#closes.closeMany(...given);
  }

  closeAllOf(...given: Parameters<ConnectionStore["closeAllOf"]>) {
    return this.#closes.closeAllOf(...given);
  }

  /** Closes the rows of an ended session or a deleted user. See {@link ConnectionCloses}. */
  closeForSessionOrUser(...given: Parameters<ConnectionCloses["closeForSessionOrUser"]>) {
    return this.#closes.closeForSessionOrUser(...given);
  }

  oldestMs() {
    return this.#closes.oldestMs();
  }

  removeOlder(...given: Parameters<ConnectionStore["removeOlder"]>) {
    return this.#closes.removeOlder(...given);
  }

  page(...given: Parameters<ConnectionStore["page"]>) {
    return this.pageIn(this.#database.db, ...given);
  }

  /** Returns a page, read in a transaction. */
  pageIn(...given: Parameters<ConnectionPages["page"]>) {
    return this.#pages.page(...given);
  }

  /** Returns a page of open connections that lost a channel. See `LostChannelStore`. */
  pageWithLostChannels(...given: Parameters<ConnectionPages["pageWithLostChannels"]>) {
    return this.#pages.pageWithLostChannels(...given);
  }

  list(...given: Parameters<ConnectionStore["list"]>) {
    return this.#pages.list(...given);
  }

  recipients(...given: Parameters<ConnectionStore["recipients"]>) {
    return this.#pages.recipients(...given);
  }

  count(...given: Parameters<ConnectionStore["count"]>) {
    return this.#pages.count(...given);
  }

  countOfUser(userId: string, scope: ConnectionScope): Promise<number> {
    return countOpenConnections(this.#database, this.#database.db, userId, scope);
  }

  oldestOfUser(userId: string, scope: ConnectionScope, limit: number) {
    return oldestOpenConnections(this.#database, userId, scope, limit);
  }

  recordActivity(connections: readonly ConnectionActivity[]): Promise<void> {
    return recordActivity(this.#database, connections);
  }
}

/** A row of the values of the statement. */
interface ActivityRow {
  id: string;
  messages: number;
  age_ms: number;
}

/**
 * Records messages in one statement. See `ConnectionStore.recordActivity`.
 *
 * It writes ages instead of times, because times are those of the database clock.
 */
async function recordActivity(database: Database, connections: readonly ConnectionActivity[]): Promise<void> {
  const { now, sql } = database;
  await database.execute((db) => {
    const rows = connections.map(
      ({ id, count, ageMs }) =>
        sql`(cast(${id} as text), cast(${count} as integer), cast(${ageMs} as bigint))`,
    );
    return db
      .with("gathered(id, messages, age_ms)", () => sql<ActivityRow>`(values ${sql.join(rows)})`)
      .updateTable("sallyport_connections")
      .from("gathered")
      .set(({ eb, ref }) => {
        const at = eb(now, "-", ref("gathered.age_ms"));
        const last = ref("sallyport_connections.last_seen_at");
        return {
          last_seen_at: eb.case().when(at, ">", last).then(at).else(last).end(),
          request_count: eb("sallyport_connections.request_count", "+", ref("gathered.messages")),
        };
      })
      .whereRef("sallyport_connections.id", "=", "gathered.id")
      .execute();
  });
}
