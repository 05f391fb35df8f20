import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CompiledQuery,
  type Expression,
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type RawBuilder,
  sql,
} from "kysely";
import * as v from "valibot";
import { ConfigurationError, StorageError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { loadingFailure } from "../optional-packages.ts";
import { booleanOption, optionsOf, parseOptions, textOption, wholeNumberOption } from "../options.ts";
import { CheckedPool } from "./checked-pool.ts";
import { type BesideOptions, CHANGES, type Database, isKysely, type Tables } from "./database.ts";
import { runMigrations } from "./migration-runner.ts";
import { migrations, namesMissingColumn } from "./migrations.ts";
import { isNamesFault, NamedStatements } from "./named-statements.ts";
import { type ListeningClient, WakeUps } from "./wake-ups.ts";
import { WholeNumbers } from "./whole-numbers.ts";

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
}

/** How long a transaction that could not be made is tried again, in milliseconds, while the server restarts or is full. */
const RETRY_FOR_MS = 5000;
/** Longest pause between two tries, in milliseconds. */
const RETRY_PAUSE_MS = 400;
/** How long a connection may take, and how long one is waited for, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;
/** How long a statement of a transaction may take, its wait for other writers included, in milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000;
/**
 * How long the server waits for a transaction's next statement, in milliseconds: a process that is frozen half-way holds others up for
 * less than they wait.
 */
const IDLE_TIMEOUT_MS = 5000;
/** How long a connection says nothing before it is asked whether it is there, in milliseconds: less than what lies between keeps it for. */
const KEEP_ALIVE_MS = 30_000;

const POSTGRES_OPTIONS = optionsOf<PostgresOptions>()({
  schema: v.optional(
    textOption(/^[a-z_][a-z0-9_]{0,62}$/, "a schema name: 1 to 63 lower-case letters, digits and _"),
  ),
  poolSize: v.optional(wholeNumberOption(2, 10_000, "connections"), 10),
  listen: v.optional(booleanOption, true),
});

/**
 * Rejects a source that names no server. `pg` would connect to a local one, for example because the variable of the connection string
 * is not set. The source is not repeated: it may contain a password.
 *
 * @throws ConfigurationError
 */
function checkSource(source: unknown): void {
  if (typeof source === "string" ? namesServer(source) : isKysely(source)) return;
  const received =
    typeof source === "string" && source.trim() !== ""
      ? "the given string does not name one"
      : `received ${formatValue(source)}`;
  throw new ConfigurationError(
    `postgres(): the source must be a connection string that names a server, or a Kysely instance, but ${received}. ` +
      "Set the variable that holds it, such as DATABASE_URL, to postgres://user:password@host/database.",
  );
}

/** A URL with a host, or with the folder of a socket in `?host=`. */
function namesServer(source: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(source) || !URL.canParse(source)) return false;
  const { hostname, searchParams } = new URL(source);
  return hostname !== "" || Boolean(searchParams.get("host"));
}

/**
 * Storage in PostgreSQL 14 or later, for one process or many.
 *
 * @param source a connection string, opened at the first query through `pg`; or a Kysely that the app already has for
 *   the database, which it shares and keeps. Its pool must hear `error` of itself and of each client (`pool.on("connect",
 *   (client) => client.on("error", …))`), or `pg` ends the process when a connection is lost
 * @throws ConfigurationError for options that cannot be
 */
export function postgres<Own>(
  source: string | Kysely<Own> | undefined,
  options: PostgresOptions = {},
): Database {
  checkSource(source);
  const { schema, poolSize, listen } = parseOptions("postgres()", POSTGRES_OPTIONS, options);
  if (typeof source !== "string") {
    if (options.poolSize !== undefined || options.listen !== undefined) {
      throw new ConfigurationError(
        "postgres(): poolSize and listen apply to connections that are opened from a connection string. Remove them, or set them on your Kysely instance.",
      );
    }
    return new PostgresDatabase(
      (source as Kysely<Own>).withPlugin(new WholeNumbers()) as unknown as Kysely<Tables>,
      {
        owned: false,
        schema,
      },
    );
  }
  const dialect = new PostgresDialect({ pool: () => openPool(source, poolSize) });
  const connect = listen ? () => openClient(source) : undefined;
  return new PostgresDatabase(new Kysely<Tables>({ dialect }), { owned: true, schema, connect });
}

interface TransactionKind {
  readonly lock: "pg_advisory_xact_lock" | "pg_advisory_xact_lock_shared";
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
  readonly writesInWith = true;
  readonly #owned: boolean;
  readonly #schema: string | undefined;
  readonly #lockOf: (of: string) => string;
  readonly notification: RawBuilder<unknown>;
  /** Gives a connection to listen on. */
  readonly #connect: (() => Promise<ListeningClient>) | undefined;
  /** By what this process tells of its changes. */
  readonly #ownName = randomUUID();
  readonly #channel: string;
  #changes: number | undefined;

  constructor(
    db: Kysely<Tables>,
    {
      owned,
      schema,
      connect,
    }: {
      readonly owned: boolean;
      readonly schema: string | undefined;
      readonly connect?: (() => Promise<ListeningClient>) | undefined;
    },
  ) {
    this.db = schema === undefined ? db : db.withSchema(schema);
    this.#owned = owned;
    this.#schema = schema;
    this.#connect = connect;
    const name = schema === undefined ? "current_schema()" : `'${schema}'`;
    this.#lockOf = (of) => `hashtextextended('sallyport ${of}' || ${name}, 0)`;
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

  write<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: "pg_advisory_xact_lock" }, work);
  }

  writeBeside<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    { lock: secondLock }: BesideOptions = {},
  ): Promise<Result> {
    return this.#transaction({ lock: "pg_advisory_xact_lock_shared", secondLock }, work);
  }

  rehearse<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction({ lock: "pg_advisory_xact_lock", end: "rollback" }, work);
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
        : `; select pg_advisory_xact_lock(${this.#lockOf(`lock ${createHash("sha256").update(secondLock).digest("hex")} `)})`;
    // One round trip.
    const begin = CompiledQuery.raw(
      `begin isolation level read committed; set local statement_timeout = ${statementTimeoutMs}; set local idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}; select ${lock}(${this.#lockOf(of)})${second}`,
    );
    return this.#again(async (ending) => {
      return this.db.connection().execute(async (connection) => {
        try {
          await connection.executeQuery(begin);
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

  writeOne<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#again((ending) =>
      this.db.connection().execute((connection) => {
        ending();
        return work(connection);
      }),
    );
  }

  /** @param attempt calls `ending` before it sends what may be done although no answer comes */
  async #again<Result>(attempt: (ending: () => void) => Promise<Result>): Promise<Result> {
    const deadline = Date.now() + RETRY_FOR_MS;
    for (let tries = 1; ; tries++) {
      let isEnding = false;
      try {
        return await attempt(() => {
          isEnding = true;
        });
      } catch (error) {
        const isCertain = !isEnding || isUndone(error);
        if (!isCertain || !isPassing(error) || Date.now() > deadline) throw this.failure(error);
      }
      await sleep(Math.random() * Math.min(RETRY_PAUSE_MS, 10 * 2 ** tries));
    }
  }

  async changedElsewhere(): Promise<boolean> {
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

  listen(woken: () => void): () => Promise<void> {
    if (!this.#connect) return async () => undefined;
    const wakeUps = new WakeUps({
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
  }

  failure(error: unknown): unknown {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
    if (error instanceof StorageError) return error;
    const isTableMissing = code === "42P01" && /[".]sallyport_/.test(message ?? "");
    if (isTableMissing || (code === "42703" && namesMissingColumn(message ?? ""))) {
      return new StorageError(`${message}. Run: npx sallyport migrate`, {
        cause: error,
        code: "SALLYPORT_NOT_MIGRATED",
      });
    }
    // What an app's own statement does wrong, such as breaking its own constraint, is the app's to hear.
    if (!isPassing(error) && !/^(28|3D|58|XX)/.test(String(code))) return error;
    return new StorageError(`PostgreSQL failed (${String(code ?? "connection")}): ${message}`, {
      cause: error,
    });
  }
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

/** The server says that nothing was done. Source: PostgreSQL, "Error Codes", class 40. */
function isUndone(error: unknown): boolean {
  return /^40/.test(String((error as { code?: unknown } | null)?.code)) || isNamesFault(error);
}

/**
 * Failures that may be over in a moment: of the connection, of a server that stops, starts or is full, and of a transaction that
 * met another one. Source: PostgreSQL, "Error Codes": classes 08, 40, 53, 55 and 57; Node and `pg` for the connection.
 */
function isPassing(error: unknown): boolean {
  if (isNamesFault(error)) return true;
  const { code, message = "" } = (error ?? {}) as { code?: unknown; message?: string };
  if (typeof code === "string") {
    if (/^(08|40|53|55|57)...$/.test(code)) return true;
    if (/^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH)$/.test(code))
      return true;
  }
  return /Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect/.test(
    message,
  );
}

const CONNECTING = {
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  keepAlive: true,
  keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
};

async function loadPg() {
  try {
    return (await import("pg")).default;
  } catch (cause) {
    throw new StorageError(loadingFailure({ name: "pg", neededBy: "The PostgreSQL storage" }, cause), {
      cause,
    });
  }
}

async function openClient(connectionString: string): Promise<ListeningClient> {
  const { Client } = await loadPg();
  const client = new Client({ connectionString, ...CONNECTING });
  return client as unknown as ListeningClient;
}

async function openPool(connectionString: string, poolSize: number): Promise<PostgresPool> {
  const pg = await loadPg();
  const INT8 = 20;
  const pool = new pg.Pool({
    connectionString,
    max: poolSize,
    // Connections that nobody uses keep no process alive.
    allowExitOnIdle: true,
    ...CONNECTING,
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
  const names = new NamedStatements();
  pool.on("connect", (client) => {
    client.on("error", () => undefined);
    names.watch(client as never);
  });
  return new CheckedPool(pool);
}
