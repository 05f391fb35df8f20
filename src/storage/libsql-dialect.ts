import { setTimeout as sleep } from "node:timers/promises";
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type TransactionSettings,
} from "kysely";
import { StorageError } from "../errors.ts";
import { loadingFailure } from "../optional-packages.ts";
import type { RowRead } from "./database.ts";
import { createPrivateFile, isMissingFile } from "./sqlite-file.ts";

/** The part of the `libsql` package that is used here. */
interface LibsqlDatabase {
  prepare(sql: string): LibsqlStatement;
  close(): void;
}

interface LibsqlStatement {
  readonly reader: boolean;
  /** Makes the statement return rows as arrays of values. */
  raw(on: boolean): this;
  columns(): readonly { readonly name: string }[];
  /** Returns objects, or arrays after `raw`. */
  all(parameters: readonly unknown[]): unknown[];
  get(parameters: readonly unknown[]): unknown;
  run(parameters: readonly unknown[]): { changes: number; lastInsertRowid: number | bigint };
}

/** The options of {@link LibsqlDialect}. */
export interface LibsqlDialectOptions {
  /**
   * Path of the database file. A missing file and its folder are created with the modes 0600 and
   * 0700. `":memory:"` keeps the database in memory until the process ends.
   */
  readonly path: string;
  /** How long a write waits for a write of another process, in milliseconds. Default 5 000. */
  readonly busyTimeoutMs?: number;
}

/**
 * The maximum pause between two attempts on a locked database, in milliseconds. Writes take less
 * than 1 ms.
 */
const BUSY_RETRY_MS = 8;

/** The maximum wait for the connection, in milliseconds. Statements take less than 1 ms. */
const MAX_WAIT_MS = 20_000;

/** The maximum number of prepared statements per connection. */
const MAX_STATEMENTS = 256;

/**
 * A Kysely dialect for `libsql`, with one connection to one SQLite file in WAL mode. Everything in
 * this process shares the connection.
 *
 * Transactions start with BEGIN IMMEDIATE. If the database is locked, the dialect retries with
 * timers. The busy handler of SQLite would block the event loop.
 */
export class LibsqlDialect implements Dialect {
  readonly #options: LibsqlDialectOptions;
  #driver: LibsqlDriver | undefined;

  constructor(options: LibsqlDialectOptions) {
    this.#options = options;
  }

  createDriver(): Driver {
    this.#driver = new LibsqlDriver(this.#options);
    return this.#driver;
  }

  /**
   * Reads at most one row synchronously. Returns undefined if the connection is in use or not open,
   * or the database is locked.
   */
  readRow(query: CompiledQuery): RowRead | undefined {
    return this.#driver?.readRow(query);
  }

  /** Whether the file does not exist. Opening a connection creates it. */
  get isMissing(): boolean {
    return isMissingFile(this.#options.path);
  }

  createQueryCompiler() {
    return new SqliteQueryCompiler();
  }

  createAdapter() {
    // Otherwise, Kysely 0.29 would wait for the connection itself, without the time limit of
    // LibsqlDriver.
    return Object.defineProperty(new SqliteAdapter(), "supportsMultipleConnections", { value: true });
  }

  createIntrospector(db: ConstructorParameters<typeof SqliteIntrospector>[0]) {
    return new SqliteIntrospector(db);
  }
}

/**
 * The cache holds 64 MiB of pages. With a million connections, a smaller cache would cause file
 * reads.
 */
const PRAGMAS = ["journal_mode = wal", "synchronous = normal", "foreign_keys = on", "cache_size = -65536"];

class LibsqlDriver implements Driver {
  readonly #options: LibsqlDialectOptions;
  readonly #waiting: (() => void)[] = [];
  #taken = false;
  #connection: LibsqlConnection | undefined;

  constructor(options: LibsqlDialectOptions) {
    this.#options = options;
  }

  async init(): Promise<void> {
    const { path, busyTimeoutMs = 5000 } = this.#options;
    createPrivateFile(path);
    const database = await openDatabase(path);
    this.#connection = new LibsqlConnection(database, busyTimeoutMs);
    for (const pragma of PRAGMAS) {
      await this.#connection.executeQuery(CompiledQuery.raw(`pragma ${pragma}`));
    }
  }

  readRow(query: CompiledQuery): RowRead | undefined {
    return this.#taken ? undefined : this.#connection?.readRow(query);
  }

  async acquireConnection(): Promise<LibsqlConnection> {
    if (this.#taken) await this.#waitForTurn();
    this.#taken = true;
    if (!this.#connection) {
      throw new StorageError("The SQLite database is closed. Do not use the storage after close().");
    }
    return this.#connection;
  }

  /**
   * Limits the wait, because a call inside a transaction on the same connection would never get its
   * turn.
   */
  #waitForTurn(): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1);
        reject(
          new StorageError(
            `The SQLite connection was not free for ${MAX_WAIT_MS / 1000} s, so the statement was not run. ` +
              "A transaction may await something that needs the same connection, such as a call of Sallyport. " +
              "Await it after the transaction.",
          ),
        );
      }, MAX_WAIT_MS);
      this.#waiting.push(turn);
    });
  }

  async releaseConnection(): Promise<void> {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken = false;
  }

  async beginTransaction(connection: LibsqlConnection, settings: TransactionSettings): Promise<void> {
    await connection.executeQuery(
      CompiledQuery.raw(settings.accessMode === "read only" ? "begin" : "begin immediate"),
    );
  }

  async commitTransaction(connection: LibsqlConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("commit"));
  }

  async rollbackTransaction(connection: LibsqlConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("rollback"));
  }

  async destroy(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
  }
}

class LibsqlConnection implements DatabaseConnection {
  readonly #database: LibsqlDatabase;
  readonly #busyTimeoutMs: number;
  readonly #statements = new Map<string, PreparedStatement>();
  /**
   * The statements that only `get()` reads. In libsql 0.5, `get()` after `all()` on the same
   * statement returns a row of the previous execution.
   */
  readonly #rowStatements = new Map<string, PreparedStatement>();

  constructor(database: LibsqlDatabase, busyTimeoutMs: number) {
    this.#database = database;
    this.#busyTimeoutMs = busyTimeoutMs;
  }

  executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    return retryWhileBusy(this.#busyTimeoutMs, () => this.#run<Row>(query));
  }

  /**
   * Uses `get()`, which takes a third less time than `all()`. `all()` allocates for a hundred rows.
   */
  readRow({ sql, parameters }: CompiledQuery): RowRead | undefined {
    try {
      const { statement, isReader, columns } = this.#statement(sql, this.#rowStatements);
      if (!isReader || !columns) return undefined;
      const values = statement.get(parameters.map(bindable)) as readonly unknown[] | undefined;
      return { row: values && rowOf(columns, values) };
    } catch (error) {
      if (isBusy(error)) return undefined;
      throw error;
    }
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }

  close(): void {
    this.#forgetStatements();
    this.#database.close();
  }

  #run<Row>(query: CompiledQuery): QueryResult<Row> {
    const { statement, isReader, columns } = this.#statement(query.sql);
    const parameters = query.parameters.map(bindable);
    if (isReader) {
      const rows = statement.all(parameters);
      return { rows: (columns ? rowsOf(columns, rows as unknown[][]) : rows.map(withBuffers)) as Row[] };
    }
    const { changes, lastInsertRowid } = statement.run(parameters);
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
  }

  #statement(sql: string, statements = this.#statements): PreparedStatement {
    const known = statements.get(sql);
    if (known) {
      if (statements.size < MAX_STATEMENTS / 2) return known;
      // Moves the statement to the end, because the least recently used one is removed first.
      statements.delete(sql);
      statements.set(sql, known);
      return known;
    }
    const statement = prepare(this.#database, sql);
    // After a schema change, statements that were prepared before have the wrong columns.
    if (/^\s*(create|alter|drop)/i.test(sql)) this.#forgetStatements();
    else statements.set(sql, statement);
    if (statements.size > MAX_STATEMENTS) statements.delete(statements.keys().next().value ?? "");
    return statement;
  }

  #forgetStatements(): void {
    this.#statements.clear();
    this.#rowStatements.clear();
  }
}

/** A prepared statement, and the names of its columns if its text lists them. */
interface PreparedStatement {
  readonly statement: LibsqlStatement;
  /** Whether it returns rows. Cached, because libsql parses the statement for each call. */
  readonly isReader: boolean;
  readonly columns: readonly string[] | undefined;
}

/**
 * Prepares a statement. Its rows are read as arrays, because objects of libsql take a third more
 * time.
 *
 * A statement with a star is read as objects. SQLite prepares it again when another process has
 * changed the table, and the columns can then differ.
 */
function prepare(database: LibsqlDatabase, sql: string): PreparedStatement {
  const statement = database.prepare(sql);
  const isReader = statement.reader;
  if (!isReader || STAR.test(sql.replace(NO_COLUMNS, ""))) return { statement, isReader, columns: undefined };
  const columns = statement.columns().map(({ name }) => name);
  return { statement: statement.raw(true), isReader, columns };
}

const STAR = /\*/;
/** A star that counts rows, or multiplies a value in parentheses. */
const NO_COLUMNS = /\(\*\)|\)\s*\*/g;

function rowsOf(columns: readonly string[], rows: readonly unknown[][]): Record<string, unknown>[] {
  return rows.map((values) => rowOf(columns, values));
}

function rowOf(columns: readonly string[], values: readonly unknown[]): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (let index = 0; index < columns.length; index++) row[columns[index] as string] = values[index];
  return row;
}

/**
 * Converts each ArrayBuffer to a Buffer. libsql returns a Buffer in arrays and an ArrayBuffer in
 * objects.
 */
function withBuffers(row: unknown): unknown {
  const values = row as Record<string, unknown>;
  for (const name of Object.keys(values)) {
    const value = values[name];
    if (value instanceof ArrayBuffer) values[name] = Buffer.from(value);
  }
  return values;
}

/**
 * Converts a value to one that libsql can bind. For any other value, libsql would end the process.
 */
function bindable(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "string" && value.includes("\0")) {
    throw new StorageError("SQLite cannot store text with a NUL character. Reject such text in the app.");
  }
  if (typeof value === "string" || typeof value === "number" || typeof value === "bigint") return value;
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw new StorageError(
    `SQLite cannot store a value of type ${typeof value}. Pass text, a number or bytes.`,
  );
}

/** Retries while another process writes. Inside an IMMEDIATE transaction, it never has to wait. */
async function retryWhileBusy<Result>(
  timeoutMs: number,
  attempt: () => Result | Promise<Result>,
): Promise<Result> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isBusy(error) || performance.now() > deadline) throw error;
    }
    await sleep(1 + Math.random() * BUSY_RETRY_MS);
  }
}

function isBusy(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "SQLITE_BUSY" || code === "SQLITE_BUSY_RECOVERY" || code === "SQLITE_LOCKED";
}

async function openDatabase(path: string): Promise<LibsqlDatabase> {
  type Constructor = new (path: string, options: { timeout: number }) => LibsqlDatabase;
  let module: { default: Constructor };
  try {
    module = (await import("libsql")) as unknown as { default: Constructor };
  } catch (cause) {
    throw new StorageError(loadingFailure({ name: "libsql", neededBy: "The SQLite storage" }, cause), {
      cause,
    });
  }
  try {
    return new module.default(path, { timeout: 0 });
  } catch (cause) {
    throw new StorageError(
      `Cannot open the SQLite database ${path}: ${(cause as Error).message}. Check the path and its permissions.`,
      { cause },
    );
  }
}
