import type { CompiledQuery, Expression, Generated, Kysely, RawBuilder, sql } from "kysely";
import type { Storage } from "./store.ts";

/**
 * A database with SQL. The code of this folder uses it. Other code uses its {@link Storage.store}.
 *
 * Differences between SQLite and PostgreSQL are declared as capabilities.
 */
export interface Database extends Storage {
  /** Kysely for Sallyport's tables. The connection opens on the first query. */
  readonly db: Kysely<Tables>;
  /**
   * The template tag of Kysely. Other modules use it from here, so that Kysely is loaded with the
   * storage only. Kysely is five of six modules of the core.
   */
  readonly sql: Sql;
  /** An SQL expression for the clock of the database, in epoch milliseconds. */
  readonly now: RawBuilder<number>;
  /**
   * Returns a correlated subquery as a JSON array. With one column, the items are its values. With
   * several columns, each item is an array. Read it with {@link parseList}.
   */
  listOf(subquery: Expression<unknown>, ...columns: readonly string[]): RawBuilder<unknown>;
  /**
   * Runs `work` as a write transaction that excludes all other write transactions.
   *
   * `work` can run more than once. It must not await anything but SQL, because other writers wait
   * for it.
   *
   * @throws StorageError if the database cannot be reached or remains locked
   */
  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * Runs `work` as a write transaction that does not change permissions, such as a connect.
   *
   * It excludes {@link transaction}, but not other shared transactions, if the database supports
   * that. Each of its statements must be correct independently of concurrent shared transactions.
   */
  sharedTransaction<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    options?: SharedTransactionOptions,
  ): Promise<Result>;
  /**
   * Runs statements as a {@link sharedTransaction}, in one round trip if the database supports it.
   *
   * The commit is sent together with the statements, so no statement can depend on the result of
   * another. The statements can run twice if the first answer was lost.
   *
   * @returns the number of rows that the first statement returned
   * @throws StorageError if the database cannot be reached or remains locked
   */
  executeBatch(statements: readonly CompiledQuery[], options?: SharedTransactionOptions): Promise<number>;
  /**
   * Runs a single statement outside of a transaction, in one round trip.
   *
   * @param work awaits exactly one statement
   * @throws StorageError if the database cannot be reached or remains locked
   */
  execute<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * Reads at most one row for a new event, outside of a transaction, with the fastest call of the
   * driver.
   *
   * If a read takes a round trip, the result is a promise. Statements of earlier events run first.
   * If the result is undefined, the connection is in use or the database is locked, and the caller
   * must use `db`. The method is missing if the driver has no such call.
   */
  readRow?(query: CompiledQuery): RowRead | Promise<RowRead> | undefined;
  /**
   * An expression for the select list or RETURNING of a single statement. The statement then ends
   * before its write is on disk. A crash of the database can undo the write, unless a later write
   * was committed.
   */
  readonly asyncCommit: RawBuilder<unknown>;
  /** Whether WITH can contain a write, so that two related rows need one round trip. */
  readonly supportsWritableCte: boolean;
  /**
   * Runs `work` and rolls it back, to preview a change with the statements of the change itself.
   *
   * `work` reads a snapshot that includes its own changes. On PostgreSQL, other writers wait only
   * for the rows that it changes. It must not change rows that all writers change, such as the
   * counter of changes. On SQLite, other writers wait until it ends.
   */
  rollbackTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * An expression to select in a transaction that changes permissions. The commit notifies
   * listeners.
   */
  readonly notification: RawBuilder<unknown>;
  /** Converts an error of the driver. See `Store.failure`. */
  failure(error: unknown): unknown;
}

/** The SQL template tag of Kysely. */
export type Sql = typeof sql;

/** The result of {@link Database.readRow}. */
export interface RowRead {
  /** Undefined if the row does not exist. */
  readonly row: unknown;
}

/** Options of {@link Database.sharedTransaction} and {@link Database.executeBatch}. */
export interface SharedTransactionOptions {
  /**
   * Transactions with the same lock exclude each other. It needs no additional round trip. Default:
   * none.
   */
  readonly lock?: string | undefined;
}

/**
 * Runs statements one after the other.
 *
 * @returns the number of rows that the first one returned
 */
export async function runInOrder(db: Kysely<Tables>, statements: readonly CompiledQuery[]): Promise<number> {
  const rows: number[] = [];
  for (const statement of statements) rows.push((await db.executeQuery(statement)).rows.length);
  return rows[0] ?? 0;
}

/**
 * Returns the items of a {@link Database.listOf} column. PostgreSQL can return it parsed, SQLite as
 * JSON text.
 */
export function parseList<Item = string>(value: unknown): readonly Item[] {
  return typeof value === "string" ? (JSON.parse(value) as Item[]) : ((value ?? []) as Item[]);
}

/**
 * Key of the counter that each change of permissions increments. Its value is the number of the
 * last change.
 */
export const CHANGES = "changes recorded";

/** Key of the counter that {@link Database.checkWritable} writes and removes. */
export const WRITE_CHECK = "check that the database accepts writes";

/**
 * How far in the future a stored time can be, in milliseconds. A later time was written before the
 * clock was set back. The window, token or lease that it belongs to has ended.
 */
export const MAX_CLOCK_SKEW_MS = 5_000;

/** Returns a subquery for the number of the last change, or null if there was none. */
export function changesRecorded(db: Kysely<Tables>) {
  return db
    .selectFrom("sallyport_counters as changes")
    .select("changes.count")
    .where("changes.key", "=", CHANGES);
}

/** A boolean as 1 or 0. Both databases store and compare it in the same way. */
export type Flag = 0 | 1;

/** The tables of Sallyport. Columns that end in `_at` are epoch milliseconds. */
export interface Tables {
  sallyport_users: { id: string; is_active: Flag; is_superuser: Flag; created_at: number };
  sallyport_groups: { name: string; created_at: number };
  sallyport_permissions: { name: string; label: string; created_at: number };
  sallyport_user_permissions: Grant & { user_id: string; permission: string };
  sallyport_group_permissions: Grant & { group_name: string; permission: string };
  sallyport_user_groups: Grant & { user_id: string; group_name: string };
  sallyport_gateways: {
    id: string;
    name: string;
    api_id: string | null;
    stage: string;
    endpoint: string;
    secret_hash: string | null;
    previous_secret_hash: string | null;
    replies: "route" | "push";
    created_at: number;
    updated_at: number;
  };
  sallyport_connections: {
    id: string;
    gateway_id: string;
    connection_id: string;
    view: string;
    user_id: string | null;
    session_id: string | null;
    source_ip: string | null;
    connected_at: number;
    last_seen_at: number;
    request_count: number;
    closed_at: number | null;
    disconnected_at: number | null;
    close_code: number | null;
    close_reason: string | null;
  };
  sallyport_memberships: { connection_key: string; channel: string; joined_at: number };
  /** The channels that open connections had to leave, until their users have access again. */
  sallyport_lost_channels: {
    connection_key: string;
    channel: string;
    /** The record whose worker notifies the client, or null. */
    revocation_id: string | null;
  };
  sallyport_tokens: {
    hash: string;
    user_id: string;
    session_id: string | null;
    origin: string | null;
    gateway_id: string | null;
    view: string | null;
    channel: string | null;
    created_at: number;
    expires_at: number;
    spent_at: number | null;
    /** When the session of the token was ended. */
    ended_at: number | null;
  };
  sallyport_ended_sessions: { session_hash: string; ended_at: number };
  sallyport_counters: { key: string; window_started_at: number; count: number };
  sallyport_revocations: {
    id: string;
    scope: "user" | "users" | "deleted-user" | "group" | "session" | "channel" | "view" | "everyone";
    subject: string;
    created_at: number;
    claimed_by: string | null;
    claimed_until: number | null;
    change_number: number | null;
    /** Ids of the apps that have enforced it for the views that they mount: `,id,id,`. */
    done_by: Generated<string>;
    /** 1 if the change only added permissions, so that only lost channels are checked. */
    adds_only: Generated<Flag>;
  };
  /** The subjects of the changes of the last minutes. See `ChangeLog`. */
  sallyport_changes: {
    number: number;
    scope: "user" | "group" | "session" | "connection" | "channel" | "view" | "everyone" | "nothing";
    subject: string;
    /** 0 if the change only added permissions. */
    removes: Flag;
    recorded_at: number;
  };
  /** The affected users of a change that deleted the rows that would identify them. */
  sallyport_revocation_users: { revocation_id: string; user_id: string };
  sallyport_audit: {
    number: number;
    at: number;
    action: string;
    made_by: string | null;
    reason: string | null;
    user_id: string | null;
    group_name: string | null;
    permission: string | null;
    details: string;
  };
  sallyport_decisions: {
    reference: string;
    at: number;
    event: string;
    verdict: "allowed" | "denied";
    reason: string | null;
    user_id: string | null;
    connection_key: string | null;
    view: string | null;
    handler: string | null;
    channel: string | null;
    repeats: number;
    details: string;
  };
  /** The rules that the code declared at the last `migrate`. */
  sallyport_rules: {
    kind: "view" | "handler" | "channel" | "sending";
    name: string;
    rule: string;
    recorded_at: number;
  };
}

/** Who granted a permission, when, why, and until when. `until_at` null means without an end. */
export interface Grant {
  until_at: number | null;
  granted_at: number;
  granted_by: string | null;
  reason: string | null;
}

/** Returns whether a value is a Kysely instance, of any copy of the package. */
export function isKysely(value: unknown): boolean {
  const { selectFrom, transaction } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return typeof selectFrom === "function" && typeof transaction === "function";
}
