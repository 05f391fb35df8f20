import {
  type CompiledQuery,
  type DatabaseConnection,
  type DialectAdapter,
  DialectAdapterBase,
  type Driver,
  Kysely,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from "kysely";

/**
 * A Kysely over the one connection of a PostgreSQL transaction that is under way, for Kysely's migrator, which would take its lock
 * outside of any transaction: behind a pooler of transactions the lock would stay with a connection that nobody has any more.
 * Whoever began the transaction holds the lock and ends it.
 */
export function onConnection(transaction: Kysely<never>): Kysely<never> {
  return new Kysely<never>({
    dialect: {
      createAdapter: () => new LockedAlready(),
      createDriver: () => new OneConnection(transaction),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  });
}

class LockedAlready extends DialectAdapterBase implements DialectAdapter {
  override get supportsTransactionalDdl() {
    return true;
  }
  override get supportsReturning() {
    return true;
  }
  override async acquireMigrationLock() {}
  override async releaseMigrationLock() {}
}

class OneConnection implements Driver {
  readonly #connection: DatabaseConnection;

  constructor(transaction: Kysely<never>) {
    this.#connection = {
      executeQuery: <Row>(query: CompiledQuery) => transaction.executeQuery<Row>(query as CompiledQuery<Row>),
      streamQuery: () => {
        throw new Error("A migration streams nothing.");
      },
    };
  }

  async init() {}
  async acquireConnection() {
    return this.#connection;
  }
  async beginTransaction() {}
  async commitTransaction() {}
  async rollbackTransaction() {}
  async releaseConnection() {}
  async destroy() {}
}
