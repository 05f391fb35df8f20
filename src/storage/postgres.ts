import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { CompiledQuery, type Expression, Kysely, PostgresDialect, type RawBuilder, sql } from "kysely";
import type { Client, ClientConfig } from "pg";
import * as v from "valibot";
import { ConfigurationError, StorageError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { loadingFailure } from "../optional-packages.ts";
import {
  booleanOption,
  functionOption,
  optionsOf,
  parseOptions,
  textOption,
  wholeNumberOption,
} from "../options.ts";
import { BigintToNumberPlugin } from "./bigint-to-number.ts";
import { ChangeListener, type NotificationClient } from "./change-listener.ts";
import { CheckedPool, RETRY_FOR_MS, RETRY_PAUSE_MS } from "./checked-pool.ts";
import {
  CHANGES,
  type Database,
  isKysely,
  type RowRead,
  runInOrder,
  type SharedTransactionOptions,
  type Tables,
  WRITE_CHECK,
} from "./database.ts";
import { findPending, runMigrations } from "./migration-runner.ts";
import { migrations } from "./migrations.ts";
import { NamedStatements } from "./named-statements.ts";
import { OneTripTransaction, type TripStatement } from "./one-trip.ts";
import { isConnectionLost, isLate, isTransient, isUndone } from "./postgres-failures.ts";
import { PostgresHosts } from "./postgres-hosts.ts";
import { storeOf } from "./sql/sql-store.ts";
import type { Storage, Store } from "./store.ts";

/** The options of `postgres()`. All but `schema` require a connection string as the source. */
export interface PostgresOptions {
  /**
   * The schema of Sallyport's tables. `migrate` creates it. Default: the first of the search path.
   */
  readonly schema?: string | undefined;
  /** The maximum number of connections of this process, from 2 to 10 000. Default 10. */
  readonly poolSize?: number | undefined;
  /**
   * Whether an additional connection receives changes of other processes with `LISTEN`. Changes
   * then take effect immediately instead of within 250 ms. It has no effect behind a transaction
   * pooler. Default true.
   */
  readonly listen?: boolean | undefined;
  /**
   * Returns the password for a new connection, for passwords that rotate, such as RDS IAM tokens.
   * It is called for each new connection. Default: the password of the connection string.
   */
  readonly password?: ((server: PostgresServer) => string | Promise<string>) | undefined;
}

/** A server to which a connection is opened. */
export interface PostgresServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** How long a statement waits for a free connection, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;
/**
 * The maximum time to open a connection, in milliseconds. It is less than {@link RETRY_FOR_MS}, so
 * that another host is tried.
 */
const DIAL_TIMEOUT_MS = 3000;
/** The maximum duration of a statement in a transaction, in milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000;
/**
 * The same for a shared transaction, in milliseconds. It reads and writes a few rows. If there is
 * no answer, the connection is lost.
 */
const SHARED_TIMEOUT_MS = 3000;
/** The maximum time for which a transaction waits for other writers, in milliseconds. */
const LOCK_TIMEOUT_MS = 10_000;
/**
 * The maximum time for which it waits on one connection, in milliseconds. Then it releases the
 * connection and waits on another one. Readers can use the pool in between, and a lost connection
 * is detected.
 */
const LOCK_WAIT_MS = 3000;
/**
 * The maximum duration of each statement of a one-trip transaction, in milliseconds. Then it is
 * retried.
 */
const TRIP_STATEMENT_MS = 1500;
/**
 * The additional time for the answer to such a transaction, in milliseconds. It includes the
 * commit.
 */
const TRIP_GRACE_MS = 1000;
/**
 * How long the server waits for the next statement of a transaction, in milliseconds. It is less
 * than the time for which other writers wait, in case a process is frozen in a transaction.
 */
const IDLE_TIMEOUT_MS = 5000;
/**
 * How long a connection is idle before TCP checks it, in milliseconds. Network devices drop idle
 * connections after a longer time. The kernel closes a connection after ten checks without an
 * answer, one per second. Source: libuv, uv_tcp_keepalive.
 */
const KEEP_ALIVE_MS = 5000;

const POSTGRES_OPTIONS = optionsOf<PostgresOptions>()({
  schema: v.optional(
    textOption(/^[a-z_][a-z0-9_]{0,62}$/, "a schema name: 1 to 63 lower-case letters, digits and _"),
  ),
  poolSize: v.optional(wholeNumberOption(2, 10_000, "connections"), 10),
  listen: v.optional(booleanOption, true),
  password: v.optional(
    functionOption<(server: PostgresServer) => string | Promise<string>>("that returns the password"),
  ),
});

/**
 * Rejects a source that is neither a connection string nor a Kysely instance, for example because
 * an environment variable is not set. `pg` would connect to a local server in this case.
 *
 * @throws ConfigurationError if the source is neither
 */
function checkSource(source: unknown): void {
  if (typeof source === "string" ? source.trim() !== "" : isKysely(source)) return;
  throw new ConfigurationError(
    `postgres(): the source must be a connection string that names a server, or a Kysely instance, but received ${formatValue(source)}. ` +
      "Set the variable that holds it, such as DATABASE_URL, to postgres://user:password@host/database.",
  );
}

/**
 * Returns a storage in PostgreSQL 14 or later, for one process or many.
 *
 * @param source a connection string, which `pg` opens at the first query. With several hosts,
 *   connections are opened to a host that accepts writes. Or the Kysely instance of the app, which
 *   `close()` does not close. Its pool and each of its clients need a listener for `error`, for
 *   example `pool.on("connect", (client) => client.on("error", …))`. Otherwise, `pg` ends the
 *   process when a connection is lost
 * @throws ConfigurationError for an invalid source or option
 */
export function postgres<Own>(
  source: string | Kysely<Own> | undefined,
  options: PostgresOptions = {},
): Storage {
  checkSource(source);
  const { schema, poolSize, listen, password } = parseOptions("postgres()", POSTGRES_OPTIONS, options);
  if (typeof source !== "string") {
    if ([options.poolSize, options.listen, password].some((option) => option !== undefined)) {
      throw new ConfigurationError(
        "postgres(): poolSize, listen and password apply to connections that are opened from a connection string. Remove them, or set them on your Kysely instance.",
      );
    }
    return new PostgresDatabase(
      (source as Kysely<Own>).withPlugin(new BigintToNumberPlugin()) as unknown as Kysely<Tables>,
      {
        owned: false,
        schema,
      },
    );
  }
  const hosts = new PostgresHosts(source);
  if (password && hosts.hasPassword) {
    throw new ConfigurationError(
      "postgres(): the connection string contains a password, which would be used instead of the option password. Remove one of them.",
    );
  }
  const servers = { hosts, password };
  const pool = new LazyPool(() => openPool(servers, poolSize));
  const dialect = new PostgresDialect({ pool: () => pool.open() });
  const connect = listen ? () => openClient(servers) : undefined;
  return new PostgresDatabase(new Kysely<Tables>({ dialect }), {
    owned: true,
    schema,
    pool,
    connect,
    hosts,
  });
}

interface TransactionKind {
  /**
   * Undefined for no lock. The transaction then reads a snapshot, and waits only for rows of
   * others.
   */
  readonly lock: "pg_advisory_xact_lock" | "pg_advisory_xact_lock_shared" | undefined;
  /**
   * A second lock, acquired in the same round trip. Transactions with the same text exclude each
   * other.
   */
  readonly secondLock?: string | undefined;
  /**
   * Prefix of the name of the lock. Default: the lock for changes of permissions and connections.
   */
  readonly of?: string;
  /** In milliseconds. Default {@link STATEMENT_TIMEOUT_MS}. 0 for no limit. */
  readonly statementTimeoutMs?: number;
  /** Default "commit". */
  readonly end?: "commit" | "rollback";
}

/**
 * Migrations exclude each other, without a time limit, because creating an index can take long.
 * Writers continue as far as PostgreSQL allows.
 */
const MIGRATING: TransactionKind = {
  lock: "pg_advisory_xact_lock",
  of: "migrations ",
  statementTimeoutMs: 0,
};

class PostgresDatabase implements Database {
  readonly db: Kysely<Tables>;
  readonly sql = sql;
  // The value is constant within a statement, so that indexes can be used.
  readonly now = sql<number>`floor(extract(epoch from statement_timestamp()) * 1000)::bigint`;
  readonly supportsWritableCte = true;
  readonly asyncCommit = sql`set_config('synchronous_commit', 'off', true)`;
  readonly #owned: boolean;
  readonly #schema: string | undefined;
  /** Returns an SQL expression for the number of a lock. `part` is SQL that follows `of`. */
  readonly #lockOf: (of: string, part?: string) => string;
  readonly notification: RawBuilder<unknown>;
  /** The pool that Kysely uses. Undefined for a Kysely instance of the app. */
  readonly #pool: LazyPool | undefined;
  /** Returns a connection for notifications. */
  readonly #connect: (() => Promise<NotificationClient>) | undefined;
  /** Identifies the notifications of this process. */
  readonly #ownName = randomUUID();
  readonly #channel: string;
  readonly #hosts: PostgresHosts | undefined;
  /** Undefined for a Kysely instance of the app, because its pool is not known. */
  readonly readRow?: (query: CompiledQuery) => Promise<RowRead>;
  #changes: number | undefined;

  constructor(
    db: Kysely<Tables>,
    {
      owned,
      schema,
      pool,
      connect,
      hosts,
    }: {
      readonly owned: boolean;
      readonly schema: string | undefined;
      readonly pool?: LazyPool | undefined;
      readonly connect?: (() => Promise<NotificationClient>) | undefined;
      readonly hosts?: PostgresHosts | undefined;
    },
  ) {
    this.db = schema === undefined ? db : db.withSchema(schema);
    this.#owned = owned;
    this.#schema = schema;
    this.#pool = pool;
    if (pool) this.readRow = (query) => readRow(pool, query);
    this.#connect = connect;
    this.#hosts = hosts;
    const name = schema === undefined ? "current_schema()" : `'${schema}'`;
    this.#lockOf = (of, part) =>
      `hashtextextended('sallyport ${of}'${part === undefined ? "" : ` || ${part}`} || ${name}, 0)`;
    // The name of a channel has at most 63 bytes, so the schema is hashed.
    this.#channel = `'sallyport_' || md5(${name})`;
    this.notification = sql`pg_notify(${sql.raw(this.#channel)}, ${sql.lit(this.#ownName)})`;
  }

  get store(): Store {
    return storeOf(this);
  }

  listOf(subquery: Expression<unknown>, ...columns: readonly string[]) {
    const refs = columns.map((column) => sql`listed.${sql.ref(column)}`);
    const item = refs.length === 1 ? refs[0] : sql`json_build_array(${sql.join(refs)})`;
    // As text, because equal lists have equal texts, which are parsed once per page.
    return sql<unknown>`(select coalesce(json_agg(${item})::text, '[]') from ${subquery} as listed)`;
  }

  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: "pg_advisory_xact_lock" }, work);
  }

  sharedTransaction<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    { lock: secondLock }: SharedTransactionOptions = {},
  ): Promise<Result> {
    return this.#transaction(
      { lock: "pg_advisory_xact_lock_shared", secondLock, statementTimeoutMs: SHARED_TIMEOUT_MS },
      work,
    );
  }

  rollbackTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: undefined, end: "rollback" }, work);
  }

  /**
   * Runs a transaction at the level read committed, with a transaction-level lock.
   *
   * Each statement sees what was committed before it, and no permission changes between two
   * statements. The lock also works behind a transaction pooler. The transaction is retried until
   * the commit has been sent. Until then, it is certain that nothing was written.
   */
  async #transaction<Result>(
    { lock, secondLock, of = "", statementTimeoutMs = STATEMENT_TIMEOUT_MS, end = "commit" }: TransactionKind,
    work: (db: Kysely<Tables>) => Promise<Result>,
  ): Promise<Result> {
    // Hashed, because a client may have chosen the text, and several statements cannot have
    // parameters.
    const second =
      secondLock === undefined
        ? ""
        : `; select pg_advisory_xact_lock(${this.#lockOf(`lock ${hashOf(secondLock)} `)})`;
    // The wait applies to each lock. Halving it for two locks limits the total.
    const waitMs = Math.min(LOCK_WAIT_MS, statementTimeoutMs) / (secondLock === undefined ? 1 : 2);
    const limit = (ms: number) => `set local statement_timeout = ${ms}`;
    const begin = CompiledQuery.raw(
      `begin isolation level ${lock ? "read committed" : "repeatable read"}; ${limit(waitMs)}; set local idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}${lock ? `; select ${lock}(${this.#lockOf(of)})` : ""}${second}; ${limit(statementTimeoutMs)}`,
    );
    return this.#retry(async (ending, beginning) => {
      return this.db.connection().execute(async (connection) => {
        try {
          beginning(true);
          await connection.executeQuery(begin);
          beginning(false);
          const result = await work(connection);
          ending();
          await connection.executeQuery(CompiledQuery.raw(end));
          return result;
        } catch (error) {
          await connection.executeQuery(CompiledQuery.raw("rollback")).catch(() => undefined);
          throw error;
        }
      });
    });
  }

  async executeBatch(
    statements: readonly CompiledQuery[],
    { lock }: SharedTransactionOptions = {},
  ): Promise<number> {
    const lazyPool = this.#pool;
    if (!lazyPool) return this.sharedTransaction((db) => runInOrder(db, statements), { lock });
    const locks = this.#lockStatements(lock);
    return this.#retry(async (_ending, waiting) => {
      const pool = await lazyPool.open();
      const client = await pool.connect();
      try {
        waiting(true);
        const trip = new OneTripTransaction(
          [...locks, ...statements.map(({ sql, parameters }) => ({ text: sql, values: parameters }))],
          // One or two locks, and one statement that writes.
          locks.length * TRIP_STATEMENT_MS + TRIP_GRACE_MS,
        );
        const rows = (await client.query(trip as never)) as unknown as readonly number[];
        return rows[locks.length] ?? 0;
      } catch (error) {
        if (!isConnectionLost(error)) await client.query("rollback", []).catch(() => undefined);
        throw error;
      } finally {
        client.release();
      }
    });
  }

  /**
   * Returns the first statements of a trip. They acquire the shared lock, and then the given lock.
   */
  #lockStatements(lock: string | undefined): readonly TripStatement[] {
    const limit = `select set_config('statement_timeout', '${TRIP_STATEMENT_MS}', true)`;
    const shared = `select pg_advisory_xact_lock_shared(${this.#lockOf("")})`;
    const statements = [limit, shared].map((text) => ({ text, values: [] }));
    if (lock === undefined) return statements;
    const second = `select pg_advisory_xact_lock(${this.#lockOf("lock ", "$1::text || ' '")})`;
    return [...statements, { text: second, values: [hashOf(lock)] }];
  }

  execute<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#retry((ending) =>
      this.db.connection().execute((connection) => {
        ending();
        return work(connection);
      }),
    );
  }

  /**
   * Retries an attempt while it is certain that nothing was written.
   *
   * @param attempt calls `ending` before it sends a statement that can take effect without an
   *   answer. It calls `waiting` while it waits for other writers
   */
  async #retry<Result>(
    attempt: (ending: () => void, waiting: (isWaiting: boolean) => void) => Promise<Result>,
  ): Promise<Result> {
    const startedAt = performance.now();
    for (let tries = 1; ; tries++) {
      let isEnding = false;
      let isWaiting = false;
      try {
        return await attempt(
          () => {
            isEnding = true;
          },
          (value) => {
            isWaiting = value;
          },
        );
      } catch (error) {
        const isCertain = !isEnding || isUndone(error);
        const limitMs = isWaiting && isLate(error) ? LOCK_TIMEOUT_MS : RETRY_FOR_MS;
        const isTooLate = performance.now() - startedAt >= limitMs;
        if (!isCertain && isConnectionLost(error)) throw unknownOutcome(error);
        if (!isCertain || !isTransient(error) || isTooLate) throw this.failure(error);
      }
      await sleep(Math.random() * Math.min(RETRY_PAUSE_MS, 10 * 2 ** tries));
    }
  }

  async pollExternalChanges(): Promise<boolean> {
    const row = await this.db
      .selectFrom("sallyport_counters")
      .select("count")
      .where("key", "=", CHANGES)
      .executeTakeFirst();
    const changes = row?.count ?? 0;
    const changed = changes !== this.#changes;
    this.#changes = changes;
    return changed;
  }

  get unreachable(): string | undefined {
    return this.#hosts?.failure?.message;
  }

  async checkWritable(): Promise<void> {
    const table = this.#schema === undefined ? "sallyport_counters" : `"${this.#schema}".sallyport_counters`;
    // The key is unique, so that processes do not wait for each other. The rollback leaves no row.
    const row = `insert into ${table} (key, window_started_at, count) values ('${WRITE_CHECK} ${randomUUID()}', 0, 0)`;
    const check = CompiledQuery.raw(`begin; set local statement_timeout = ${LOCK_WAIT_MS}; ${row}; rollback`);
    await this.#retry((_ending) =>
      this.db.connection().execute(async (connection) => {
        try {
          await connection.executeQuery(check);
        } catch (error) {
          await connection.executeQuery(CompiledQuery.raw("rollback")).catch(() => undefined);
          throw error;
        }
      }),
    );
  }

  listen(onChange: () => void): () => Promise<void> {
    if (!this.#connect) return async () => undefined;
    const listener = new ChangeListener({
      connect: this.#connect,
      channel: this.#channel,
      ownName: this.#ownName,
      woken: onChange,
    });
    listener.start();
    return () => listener.stop();
  }

  async migrate(): Promise<readonly string[]> {
    return this.#transaction(MIGRATING, (db) => this.#migrateIn(db));
  }

  async #migrateIn(transaction: Kysely<Tables>): Promise<readonly string[]> {
    if (this.#schema !== undefined) await createSchema(transaction, this.#schema);
    const schema = this.#schema ?? (await currentSchema(transaction));
    // Without a schema, a table with the same name in another schema of the search path could be
    // used.
    const db = transaction.withSchema(schema) as unknown as Kysely<never>;
    return runMigrations(db, MIGRATIONS, await hasMigrationTable(transaction, schema));
  }

  async pendingMigrations(): Promise<readonly string[]> {
    const schema = this.#schema ?? (await currentSchema(this.db));
    const isEmpty = !(await hasMigrationTable(this.db, schema));
    const db = this.db.withSchema(schema) as unknown as Kysely<never>;
    const pending = isEmpty ? MIGRATIONS : await findPending(db, MIGRATIONS);
    return pending.map(({ name }) => name);
  }

  async close(): Promise<void> {
    if (this.#owned) await this.db.destroy();
    // Kysely closes only a pool that it has used.
    await this.#pool?.close();
  }

  failure(error: unknown): unknown {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
    if (error instanceof StorageError) return error;
    // undefined_table and undefined_column. The message of an insert names the table of a column.
    if ((code === "42P01" || code === "42703") && /[".]sallyport_/.test(message ?? "")) {
      return new StorageError(`${message}. Run: npx sallyport migrate`, {
        cause: error,
        code: "SALLYPORT_NOT_MIGRATED",
      });
    }
    // Errors of the app's statements, such as a violated constraint, are passed to the app
    // unchanged.
    if (!isTransient(error) && !/^(28|3D|58|XX)/.test(String(code))) return error;
    return new StorageError(
      `${describeFailure(error)}. Check the server and the connection string, then retry.`,
      { cause: error },
    );
  }
}

async function readRow(lazyPool: LazyPool, { sql, parameters }: CompiledQuery): Promise<RowRead> {
  const pool = await lazyPool.open();
  const [row] = await pool.readFirst(sql, parameters);
  return { row };
}

const MIGRATIONS = migrations((table) => table);

async function hasMigrationTable(db: Kysely<Tables>, schema: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 from pg_tables where schemaname = ${schema} and tablename = 'sallyport_migrations'`.execute(db);
  return rows.length > 0;
}

/**
 * Creates a schema if it does not exist. CREATE SCHEMA IF NOT EXISTS needs the CREATE privilege in
 * both cases.
 */
async function createSchema(db: Kysely<Tables>, schema: string): Promise<void> {
  const { rows } = await sql`select 1 from pg_namespace where nspname = ${schema}`.execute(db);
  if (rows.length === 0) await db.schema.createSchema(schema).ifNotExists().execute();
}

async function currentSchema(db: Kysely<Tables>): Promise<string> {
  const { rows } = await sql<{ name: string | null }>`select current_schema() as name`.execute(db);
  const name = rows[0]?.name;
  if (name) return name;
  throw new ConfigurationError(
    "The search path names no schema that exists, so there is no schema for the tables. " +
      "Create the schema, or name one: postgres(…, { schema }).",
  );
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Returns a sentence without its period, such as `PostgreSQL failed (ECONNREFUSED): …`. */
function describeFailure(error: unknown): string {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
  return `PostgreSQL failed (${String(code ?? "connection")}): ${String(message).replace(/\.$/, "")}`;
}

/** Returns the error for a connection that was lost after a commit or a write was sent. */
function unknownOutcome(cause: unknown): StorageError {
  return new StorageError(
    `${describeFailure(cause)}. The connection was lost during a write, so it is not known whether the change was stored. ` +
      "Read the data before you repeat the change.",
    { cause },
  );
}

/** The servers to connect to, and the password. */
interface Servers {
  readonly hosts: PostgresHosts;
  readonly password: ((server: PostgresServer) => string | Promise<string>) | undefined;
}

async function loadPg() {
  try {
    return (await import("pg")).default;
  } catch (cause) {
    throw new StorageError(loadingFailure({ name: "pg", neededBy: "The PostgreSQL storage" }, cause), {
      cause,
    });
  }
}

/** Returns the options of a connection to the current server. */
function clientOptions({ hosts, password }: Servers): ClientConfig {
  return {
    connectionString: hosts.current,
    connectionTimeoutMillis: DIAL_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    ...(password ? { password: "set for each connection" } : {}),
  };
}

/**
 * Sets the password after the construction, because `pg` prefers an empty one of the connection
 * string.
 */
function setPassword(client: Client, { password }: Servers): void {
  if (!password) return;
  const { host, port, user = "", database = "" } = client;
  const request = async () => {
    try {
      return await password({ host, port, user, database });
    } catch (cause) {
      // Otherwise the server would wait for the password for a minute.
      setImmediate(() => (client as unknown as NotificationClient).connection.stream.destroy());
      throw new StorageError(
        "The option password() of postgres() failed, so no connection can be opened: " +
          `${String((cause as Error)?.message ?? cause).replace(/\.$/, "")}. Fix the function, or the service that it calls.`,
        { cause },
      );
    }
  };
  (client as { password: unknown }).password = request;
}

async function openClient(servers: Servers): Promise<NotificationClient> {
  const { Client } = await loadPg();
  const client = new Client(clientOptions(servers));
  setPassword(client, servers);
  return client as unknown as NotificationClient;
}

/** A pool that is opened at its first use. */
class LazyPool {
  readonly #open: () => Promise<CheckedPool>;
  #opened: Promise<CheckedPool> | undefined;
  #isClosed = false;

  constructor(open: () => Promise<CheckedPool>) {
    this.#open = open;
  }

  async open(): Promise<CheckedPool> {
    if (this.#isClosed) {
      throw new StorageError("The PostgreSQL storage is closed. Do not use it after close().");
    }
    this.#opened ??= this.#open();
    return this.#opened;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const pool = await this.#opened?.catch(() => undefined);
    await pool?.end();
  }
}

async function openPool(servers: Servers, poolSize: number): Promise<CheckedPool> {
  const pg = await loadPg();
  const INT8 = 20;
  /** A client that connects to the server that is current when it is created. */
  class ServerClient extends pg.Client {
    readonly source: string;

    constructor(options: ClientConfig) {
      const { current } = servers.hosts;
      super({ ...options, ...clientOptions(servers) });
      this.source = current;
      setPassword(this, servers);
    }
  }
  const pool = new pg.Pool({
    Client: ServerClient as never,
    max: poolSize,
    // Idle connections do not keep the process alive.
    allowExitOnIdle: true,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    // Limits how long a pooler stores the prepared statements of a connection.
    maxLifetimeSeconds: 1800,
    // All BIGINT columns are points in time and counts, which are below 2^53.
    types: {
      getTypeParser: ((oid: number, format?: "text" | "binary") =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format as "text")) as never,
    },
  });
  // Without listeners, `error` events of idle clients (pool) and used clients (client) end the
  // process.
  pool.on("error", () => undefined);
  const checked = new CheckedPool(pool, servers.hosts, CONNECT_TIMEOUT_MS);
  const names = new NamedStatements();
  pool.on("connect", (client) => {
    client.on("error", () => undefined);
    names.watch(client as never);
  });
  return checked;
}
