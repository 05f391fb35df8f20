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
import { ChangeListener, type ListeningClient } from "./change-listener.ts";
import { CheckedPool, RETRY_FOR_MS, RETRY_PAUSE_MS } from "./checked-pool.ts";
import {
  type BesideOptions,
  CHANGES,
  type Database,
  isKysely,
  type RowRead,
  runInOrder,
  type Tables,
  WRITE_CHECK,
} from "./database.ts";
import { runMigrations } from "./migration-runner.ts";
import { migrations } from "./migrations.ts";
import { NamedStatements } from "./named-statements.ts";
import { OneTrip, type TripStatement } from "./one-trip.ts";
import { isConnectionLost, isLate, isTransient, isUndone } from "./postgres-failures.ts";
import { PostgresHosts } from "./postgres-hosts.ts";

export interface PostgresOptions {
  /** The schema that holds Sallyport's tables; `migrate` makes it. Default: the first of the connection's search path. */
  readonly schema?: string | undefined;
  /** Most connections of this process, beside the one that listens. Default 10. Not for a Kysely of the app's own. */
  readonly poolSize?: number | undefined;
  /**
   * Whether one more connection listens (`LISTEN`) for changes of rights in other processes, so that they are looked at at once and not
   * within a quarter of a second. Nothing else rests on it. Default true; not for a Kysely of the app's own, and in vain behind
   * a pooler of transactions.
   */
  readonly listen?: boolean | undefined;
  /**
   * Returns the password for a new connection, for passwords that rotate, such as tokens of RDS IAM authentication. Called for each new
   * connection. Default: the password of the connection string. Not for a Kysely of the app's own.
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

/** How long one is waited for while all are in use, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;
/** How long the opening of a connection may take, in milliseconds: less than {@link RETRY_FOR_MS}, so that another host is tried. */
const DIAL_TIMEOUT_MS = 3000;
/** How long a statement of a transaction may take, in milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000;
/**
 * The same for a transaction that runs beside others, in milliseconds. It reads and writes a few rows, so that one without an answer is on a
 * connection that is lost.
 */
const BESIDE_TIMEOUT_MS = 3000;
/** How long a transaction waits for other writers in all, in milliseconds. */
const LOCK_TIMEOUT_MS = 10_000;
/**
 * How long it waits on one connection, in milliseconds. Then it gives the connection back and waits on another one, so that writers that
 * wait do not keep the pool from readers, and one whose network is gone is found soon.
 */
const LOCK_WAIT_MS = 3000;
/** How long each statement of a transaction of one trip may take, in milliseconds. Then it is sent again. */
const TRIP_STATEMENT_MS = 1500;
/** How much longer than its statements the answer to such a transaction may take, in milliseconds: it commits, too. */
const TRIP_GRACE_MS = 1000;
/**
 * How long the server waits for a transaction's next statement, in milliseconds: a process that is frozen half-way holds others up for
 * less than they wait.
 */
const IDLE_TIMEOUT_MS = 5000;
/**
 * How long a connection is silent before TCP checks whether it is there, in milliseconds: less than what lies between keeps it for. The
 * kernel closes it after ten checks without an answer, one per second. Source: libuv, uv_tcp_keepalive.
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
 * Rejects a source that is neither a connection string nor a Kysely instance, for example because the variable of the connection string
 * is not set: `pg` would connect to a local server.
 *
 * @throws ConfigurationError
 */
function checkSource(source: unknown): void {
  if (typeof source === "string" ? source.trim() !== "" : isKysely(source)) return;
  throw new ConfigurationError(
    `postgres(): the source must be a connection string that names a server, or a Kysely instance, but received ${formatValue(source)}. ` +
      "Set the variable that holds it, such as DATABASE_URL, to postgres://user:password@host/database.",
  );
}

/**
 * Storage in PostgreSQL 14 or later, for one process or many.
 *
 * @param source a connection string, opened at the first query through `pg`; with several hosts, connections go to the one that accepts
 *   writes. Or a Kysely that the app already has for the database, which it shares and keeps. Its pool must hear `error` of itself and of each client (`pool.on("connect",
 *   (client) => client.on("error", …))`), or `pg` ends the process when a connection is lost
 * @throws ConfigurationError for options that cannot be
 */
export function postgres<Own>(
  source: string | Kysely<Own> | undefined,
  options: PostgresOptions = {},
): Database {
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
      "postgres(): the connection string has a password of its own, which would be used in place of the option password. Remove one of them.",
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
  /** undefined for none: the transaction reads a snapshot, and waits for others only where it changes the rows that they change. */
  readonly lock: "pg_advisory_xact_lock" | "pg_advisory_xact_lock_shared" | undefined;
  /** Another lock, taken after the first and by the same round trip. Transactions with the same text exclude each other. */
  readonly secondLock?: string | undefined;
  /** What the lock is of, beside the tables. Default: changes of rights and sessions. */
  readonly of?: string;
  /** Default {@link STATEMENT_TIMEOUT_MS}; 0 for as long as it takes. */
  readonly statementTimeoutMs?: number;
  /** Default "commit". */
  readonly end?: "commit" | "rollback";
}

/** One at a time, and whoever waits may wait for an index on a large table; writers go on meanwhile as far as PostgreSQL lets them. */
const MIGRATING: TransactionKind = {
  lock: "pg_advisory_xact_lock",
  of: "migrations ",
  statementTimeoutMs: 0,
};

class PostgresDatabase implements Database {
  readonly db: Kysely<Tables>;
  readonly sql = sql;
  // The same instant in all of a statement, so that indexes can be searched by it.
  readonly now = sql<number>`floor(extract(epoch from statement_timestamp()) * 1000)::bigint`;
  readonly supportsWritableCte = true;
  readonly commitsLater = sql`set_config('synchronous_commit', 'off', true)`;
  readonly #owned: boolean;
  readonly #schema: string | undefined;
  /** An SQL expression of a lock's number. `part` is an SQL text that follows `of`. */
  readonly #lockOf: (of: string, part?: string) => string;
  readonly notification: RawBuilder<unknown>;
  /** The pool that Kysely uses, too. undefined for a Kysely of the app's own. */
  readonly #pool: LazyPool | undefined;
  /** Gives a connection to listen on. */
  readonly #connect: (() => Promise<ListeningClient>) | undefined;
  /** By what this process tells of its changes. */
  readonly #ownName = randomUUID();
  readonly #channel: string;
  readonly #hosts: PostgresHosts | undefined;
  /** Absent if the app brings its own Kysely, because its pool is not known. */
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
      readonly connect?: (() => Promise<ListeningClient>) | undefined;
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
    // A channel's name has 63 bytes at most.
    this.#channel = `'sallyport_' || md5(${name})`;
    this.notification = sql`pg_notify(${sql.raw(this.#channel)}, ${sql.lit(this.#ownName)})`;
  }

  listOf(subquery: Expression<unknown>, ...columns: readonly string[]) {
    const refs = columns.map((column) => sql`listed.${sql.ref(column)}`);
    const item = refs.length === 1 ? refs[0] : sql`json_build_array(${sql.join(refs)})`;
    // As text: whoever has the same list has the same text, which is parsed once a page.
    return sql<unknown>`(select coalesce(json_agg(${item})::text, '[]') from ${subquery} as listed)`;
  }

  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: "pg_advisory_xact_lock" }, work);
  }

  sharedTransaction<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    { lock: secondLock, isSlow = false }: BesideOptions = {},
  ): Promise<Result> {
    const statementTimeoutMs = isSlow ? STATEMENT_TIMEOUT_MS : BESIDE_TIMEOUT_MS;
    return this.#transaction({ lock: "pg_advisory_xact_lock_shared", secondLock, statementTimeoutMs }, work);
  }

  rollbackTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: undefined, end: "rollback" }, work);
  }

  /**
   * Read committed behind a lock of the transaction's own, which also holds behind a pooler of transactions: each statement
   * sees whatever was committed before it, and no right changes between two of them.
   *
   * Tried again for as long as it is certain that nothing was written: until the commit has been sent.
   */
  async #transaction<Result>(
    { lock, secondLock, of = "", statementTimeoutMs = STATEMENT_TIMEOUT_MS, end = "commit" }: TransactionKind,
    work: (db: Kysely<Tables>) => Promise<Result>,
  ): Promise<Result> {
    // As a hash: the text may come from a client, and a statement in several parts has no parameters.
    const second =
      secondLock === undefined
        ? ""
        : `; select pg_advisory_xact_lock(${this.#lockOf(`lock ${hashOf(secondLock)} `)})`;
    // One round trip.
    // For both locks together, so that a connection that is lost is found as soon.
    const waitMs = Math.min(LOCK_WAIT_MS, statementTimeoutMs) / (secondLock === undefined ? 1 : 2);
    const limit = (ms: number) => `set local statement_timeout = ${ms}`;
    const begin = CompiledQuery.raw(
      `begin isolation level ${lock ? "read committed" : "repeatable read"}; ${limit(waitMs)}; set local idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}${lock ? `; select ${lock}(${this.#lockOf(of)})` : ""}${second}; ${limit(statementTimeoutMs)}`,
    );
    return this.#again(async (ending, beginning) => {
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

  async executeBatch(statements: readonly CompiledQuery[], { lock }: BesideOptions = {}): Promise<number> {
    const lazyPool = this.#pool;
    if (!lazyPool) return this.sharedTransaction((db) => runInOrder(db, statements), { lock });
    const locking = this.#locking(lock);
    return this.#again(async (_ending, waiting) => {
      const pool = await lazyPool.open();
      const client = await pool.connect();
      try {
        waiting(true);
        const trip = new OneTrip(
          [...locking, ...statements.map(({ sql, parameters }) => ({ text: sql, values: parameters }))],
          // A lock or two, and one statement that writes.
          locking.length * TRIP_STATEMENT_MS + TRIP_GRACE_MS,
        );
        const rows = (await client.query(trip as never)) as unknown as readonly number[];
        return rows[locking.length] ?? 0;
      } catch (error) {
        if (!isConnectionLost(error)) await client.query("rollback", []).catch(() => undefined);
        throw error;
      } finally {
        client.release();
      }
    });
  }

  /** The statements that begin a trip: they take the shared lock, and then another one. */
  #locking(lock: string | undefined): readonly TripStatement[] {
    const limit = `select set_config('statement_timeout', '${TRIP_STATEMENT_MS}', true)`;
    const shared = `select pg_advisory_xact_lock_shared(${this.#lockOf("")})`;
    const statements = [limit, shared].map((text) => ({ text, values: [] }));
    if (lock === undefined) return statements;
    const second = `select pg_advisory_xact_lock(${this.#lockOf("lock ", "$1::text || ' '")})`;
    return [...statements, { text: second, values: [hashOf(lock)] }];
  }

  execute<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#again((ending) =>
      this.db.connection().execute((connection) => {
        ending();
        return work(connection);
      }),
    );
  }

  /**
   * @param attempt calls `ending` before it sends what may be done although no answer arrives, and `waiting` while it waits for other
   *   writers
   */
  async #again<Result>(
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
          (now) => {
            isWaiting = now;
          },
        );
      } catch (error) {
        const isCertain = !isEnding || isUndone(error);
        const limitMs = isWaiting && isLate(error) ? LOCK_TIMEOUT_MS : RETRY_FOR_MS;
        const isOver = performance.now() - startedAt >= limitMs;
        if (!isCertain && isConnectionLost(error)) throw unknownOutcome(error);
        if (!isCertain || !isTransient(error) || isOver) throw this.failure(error);
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
    // A key of its own, so that two processes do not wait for each other. Undone, so that no row can stay.
    const row = `insert into ${table} (key, window_started_at, count) values ('${WRITE_CHECK} ${randomUUID()}', 0, 0)`;
    const check = CompiledQuery.raw(`begin; set local statement_timeout = ${LOCK_WAIT_MS}; ${row}; rollback`);
    await this.#again((_ending) =>
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

  listen(woken: () => void): () => Promise<void> {
    if (!this.#connect) return async () => undefined;
    const wakeUps = new ChangeListener({
      connect: this.#connect,
      channel: this.#channel,
      ownName: this.#ownName,
      woken,
    });
    wakeUps.start();
    return () => wakeUps.stop();
  }

  async migrate(): Promise<readonly string[]> {
    return this.#transaction(MIGRATING, (db) => this.#migrateIn(db));
  }

  async #migrateIn(transaction: Kysely<Tables>): Promise<readonly string[]> {
    if (this.#schema !== undefined) await createSchema(transaction, this.#schema);
    const schema = this.#schema ?? (await currentSchema(transaction));
    // Without a schema, a table of the same name could be found elsewhere on the search path.
    const db = transaction.withSchema(schema) as unknown as Kysely<never>;
    return runMigrations(
      db,
      migrations((table) => table),
      await hasMigrationTable(transaction, schema),
    );
  }

  async close(): Promise<void> {
    if (this.#owned) await this.db.destroy();
    // Kysely closes only a pool that it has used.
    await this.#pool?.close();
  }

  failure(error: unknown): unknown {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
    if (error instanceof StorageError) return error;
    const isTableMissing = code === "42P01" && /[".]sallyport_/.test(message ?? "");
    if (isTableMissing) {
      return new StorageError(`${message}. Run: npx sallyport migrate`, {
        cause: error,
        code: "SALLYPORT_NOT_MIGRATED",
      });
    }
    // What an app's own statement does wrong, such as breaking its own constraint, is the app's to hear.
    if (!isTransient(error) && !/^(28|3D|58|XX)/.test(String(code))) return error;
    return new StorageError(`PostgreSQL failed (${String(code ?? "connection")}): ${message}`, {
      cause: error,
    });
  }
}

async function readRow(lazyPool: LazyPool, { sql, parameters }: CompiledQuery): Promise<RowRead> {
  const pool = await lazyPool.open();
  const [row] = await pool.readFirst(sql, parameters);
  return { row };
}

async function hasMigrationTable(db: Kysely<Tables>, schema: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 from pg_tables where schemaname = ${schema} and tablename = 'sallyport_migrations'`.execute(db);
  return rows.length > 0;
}

/** Creates a schema if it does not exist. CREATE SCHEMA IF NOT EXISTS needs the CREATE privilege in both cases. */
async function createSchema(db: Kysely<Tables>, schema: string): Promise<void> {
  const { rows } = await sql`select 1 from pg_namespace where nspname = ${schema}`.execute(db);
  if (rows.length === 0) await db.schema.createSchema(schema).ifNotExists().execute();
}

async function currentSchema(db: Kysely<Tables>): Promise<string> {
  const { rows } = await sql<{ name: string | null }>`select current_schema() as name`.execute(db);
  const name = rows[0]?.name;
  if (name) return name;
  throw new ConfigurationError(
    "The connection's search path names no schema that exists. Create it, or name one: postgres(…, { schema }).",
  );
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The connection was lost after what cannot be taken back was sent. */
function unknownOutcome(cause: unknown): StorageError {
  const { code, message } = (cause ?? {}) as { code?: unknown; message?: string };
  return new StorageError(
    `PostgreSQL failed (${String(code ?? "connection")}): ${message}. The connection was lost while a change was written, so it is not known whether it ` +
      "was. Read the data before you repeat it.",
    { cause },
  );
}

/** What connections are opened to, and how. */
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

/** Options of every connection. */
function clientOptions({ hosts, password }: Servers): ClientConfig {
  return {
    connectionString: hosts.current,
    connectionTimeoutMillis: DIAL_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    ...(password ? { password: "set for each connection" } : {}),
  };
}

/** `pg` prefers the password of the connection string, an empty one included, to an option. */
function setPassword(client: Client, { password }: Servers): void {
  if (!password) return;
  const { host, port, user = "", database = "" } = client;
  const request = async () => {
    try {
      return await password({ host, port, user, database });
    } catch (cause) {
      // Otherwise the server would wait for the password for a minute.
      setImmediate(() => (client as unknown as ListeningClient).connection.stream.destroy());
      throw new StorageError(
        `The option password() of postgres() failed: ${(cause as Error)?.message ?? cause}`,
        { cause },
      );
    }
  };
  (client as { password: unknown }).password = request;
}

async function openClient(servers: Servers): Promise<ListeningClient> {
  const { Client } = await loadPg();
  const client = new Client(clientOptions(servers));
  setPassword(client, servers);
  return client as unknown as ListeningClient;
}

/** A pool that is opened when it is needed. */
class LazyPool {
  readonly #open: () => Promise<CheckedPool>;
  #opened: Promise<CheckedPool> | undefined;
  #isClosed = false;

  constructor(open: () => Promise<CheckedPool>) {
    this.#open = open;
  }

  async open(): Promise<CheckedPool> {
    if (this.#isClosed) throw new StorageError("The PostgreSQL storage was closed.");
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
  /** Connects to the server that is the current one at that time. */
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
    // Connections that nobody uses keep no process alive.
    allowExitOnIdle: true,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    // So that what a pooler remembers of a connection's statements ends with it.
    maxLifetimeSeconds: 1800,
    // Ours are instants and numbers of changes, all of them whole and well below 2^53.
    types: {
      getTypeParser: ((oid: number, format?: "text" | "binary") =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format as "text")) as never,
    },
  });
  // A connection that is lost is replaced when one is needed, and its statement fails by itself; unheard, the event would end
  // the process: the pool's tells of idle connections, each client's own of those in use.
  pool.on("error", () => undefined);
  const checked = new CheckedPool(pool, servers.hosts, CONNECT_TIMEOUT_MS);
  const names = new NamedStatements();
  pool.on("connect", (client) => {
    client.on("error", () => undefined);
    names.watch(client as never);
  });
  return checked;
}
