import type { CompiledQuery, Expression, Generated, Kysely, RawBuilder, sql } from "kysely";

/**
 * The SQL port: what the rooms need of a database, and the few things in which the two databases differ,
 * each declared as a capability. Nobody outside this folder asks which database it is.
 */
export interface Database {
  /** Shared by every room; opens nothing before the first query. */
  readonly db: Kysely<Tables>;
  /**
   * Kysely's template tag. Modules that every app loads take it from here, so that Kysely is loaded with the storage and not before:
   * it is five of six modules of the core.
   */
  readonly sql: Sql;
  /** The database's own clock, in epoch milliseconds, as an expression inside a statement. */
  readonly now: RawBuilder<number>;
  /**
   * A correlated subquery as a JSON array: of its one column's values, or of a list for each row where it has
   * several. Read it with {@link parseList}.
   */
  listOf(subquery: Expression<unknown>, ...columns: readonly string[]): RawBuilder<unknown>;
  /**
   * Runs `work` as one write transaction that sees and excludes every earlier one.
   *
   * `work` may run more than once and awaits nothing but SQL: anything else would hold up all other writers.
   *
   * @throws StorageError when the database cannot be reached or stays locked
   */
  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * The same for what changes nobody's rights, such as a connect: it sees every earlier {@link transaction} and excludes it, but
   * may run beside others of its own kind, where the database can. So each of its statements is right by itself, whatever
   * another one does between two of them.
   */
  sharedTransaction<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    options?: BesideOptions,
  ): Promise<Result>;
  /**
   * Runs statements like {@link sharedTransaction}, in one round trip where the database can. The commit is sent with them, so each of them must
   * be right whatever the others return. They may run twice, where the answer to the first time was lost.
   *
   * @returns the number of rows that the first statement returned
   * @throws StorageError when the database cannot be reached or stays locked
   */
  executeBatch(statements: readonly CompiledQuery[], options?: BesideOptions): Promise<number>;
  /**
   * One statement that is right by itself, and that no other has to agree with: no transaction, so one trip to the database.
   *
   * @param work awaits exactly one statement
   * @throws StorageError when the database cannot be reached or stays locked
   */
  execute<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * Reads at most one row for an event that has just arrived, outside of any transaction, by the cheapest call of the driver. Where a read
   * takes a round trip, it returns a promise, and waits behind the statements of events that have begun.
   *
   * undefined: the connection is in use or the database is locked, so the caller runs the statement through `db`. Absent where there is no
   * such call.
   */
  readRow?(query: CompiledQuery): RowRead | Promise<RowRead> | undefined;
  /**
   * Selected by a statement outside of a transaction, it lets the statement end before what it wrote is on the disk. A crash of the database
   * can take that back, unless a later write has ended before the crash.
   */
  readonly commitsLater: RawBuilder<unknown>;
  /** Whether a `with` may write, so that two rows that belong together need one trip. */
  readonly supportsWritableCte: boolean;
  /**
   * Runs `work` and then undoes it: what a change would do, by the very statements that would do it. `work` reads a snapshot of the
   * database, with its own changes. On PostgreSQL, other writers wait only for the rows that `work` changes, so it changes none that all
   * of them change, such as the counter of changes. On SQLite, which has one writer, they wait for all of it.
   */
  rollbackTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * Tells whether another process may have written since the last call; cheap enough to ask four times a
   * second.
   */
  pollExternalChanges(): Promise<boolean>;
  /** Selected in a transaction that changes rights, it wakes whoever {@link listen}s through another storage when that commits. */
  readonly notification: RawBuilder<unknown>;
  /**
   * Calls `woken` when somebody's rights may have changed through another storage, of another process as a rule, where the database
   * can tell. Only a wake-up: it may come for nothing, and fail to come at all.
   *
   * @returns what ends it
   */
  listen(woken: () => void): () => Promise<void>;
  /**
   * Checks that the database accepts writes, by a write that leaves no row: one round trip, and no lock that another one waits for.
   *
   * @throws what the driver reports, for example for a standby, or a disk that is full or read-only
   */
  checkWritable(): Promise<void>;
  /** Why no connection can be made at the moment, where the database has connections and that is known. */
  readonly unreachable?: string | undefined;
  /** Turns what the driver threw into a {@link StorageError} that says what to do; other errors pass. */
  failure(error: unknown): unknown;
  /** Brings the tables up to date, one process at a time. Gives the names of the migrations that ran. */
  migrate(): Promise<readonly string[]>;
  /** Closes what this port opened itself; a Kysely that the app brought stays open. */
  close(): Promise<void>;
}

/** Kysely's template tag for SQL. */
export type Sql = typeof sql;

/** What {@link Database.readRow} has read. */
export interface RowRead {
  /** undefined: there is no such row. */
  readonly row: unknown;
}

/** Options of {@link Database.sharedTransaction} and {@link Database.executeBatch}. */
export interface BesideOptions {
  /** Transactions with the same lock exclude each other. It costs no statement of its own. Default: none. */
  readonly lock?: string | undefined;
  /** Whether a statement may take longer than a few seconds, because it reads many rows. Default false. */
  readonly isSlow?: boolean;
}

/** Runs statements one after the other. @returns the number of rows that the first one returned */
export async function runInOrder(db: Kysely<Tables>, statements: readonly CompiledQuery[]): Promise<number> {
  const rows: number[] = [];
  for (const statement of statements) rows.push((await db.executeQuery(statement)).rows.length);
  return rows[0] ?? 0;
}

/** A list as either database returns it: PostgreSQL parsed, SQLite as JSON text. */
export function parseList<Item = string>(value: unknown): readonly Item[] {
  return typeof value === "string" ? (JSON.parse(value) as Item[]) : ((value ?? []) as Item[]);
}

/** Key of the counter that each change of permissions raises. Its value is the number of the last change. */
export const CHANGES = "changes recorded";

/** Key of the counter that {@link Database.checkWritable} writes and removes. */
export const WRITE_CHECK = "check that the database accepts writes";

/** The number of the last change, as a subquery: null for none. */
export function changesRecorded(db: Kysely<Tables>) {
  return db
    .selectFrom("sallyport_counters as changes")
    .select("changes.count")
    .where("changes.key", "=", CHANGES);
}

/** 1 or 0, which both databases store and compare alike. */
export type Flag = 0 | 1;

/** Columns that end in `_at` are epoch milliseconds. */
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
    /** When the session of the app was ended that the token was issued to. */
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
    /** Apps that have enforced it as far as they can judge: `,id,id,`. */
    done_by: Generated<string>;
  };
  /** What the changes of the last minutes concern. See `ChangeLog`. */
  sallyport_changes: {
    number: number;
    scope: "user" | "group" | "session" | "connection" | "channel" | "view" | "everyone" | "nothing";
    subject: string;
    /** 0 if the change only added permissions. */
    removes: Flag;
    recorded_at: number;
  };
  /** Whom a change touched, where the change itself removed what would have told it. */
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
    verdict: "allowed" | "refused";
    reason: string | null;
    user_id: string | null;
    connection_key: string | null;
    view: string | null;
    handler: string | null;
    channel: string | null;
    repeats: number;
    details: string;
  };
  /** The rules that the running code declares, as the last `migrate` found them. */
  sallyport_rules: {
    kind: "view" | "handler" | "channel" | "sending";
    name: string;
    rule: string;
    recorded_at: number;
  };
}

/** Who gave a right, when, why, and until when it holds; `until_at` null is for good. */
interface Grant {
  until_at: number | null;
  granted_at: number;
  granted_by: string | null;
  reason: string | null;
}

/** Lets timers and sockets of this process have their turn: a database in the process answers before they do. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Returns true for a Kysely, of whichever copy of the package. */
export function isKysely(value: unknown): boolean {
  const { selectFrom, transaction } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return typeof selectFrom === "function" && typeof transaction === "function";
}
