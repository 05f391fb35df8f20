import type { CompiledQuery, Expression, Kysely, RawBuilder } from "kysely";
import type { Database, Sql } from "./database.ts";

/** Marks the position of a value in a compiled statement. */
class Placeholder {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

type Parameter<Values> = <Name extends keyof Values & string>(name: Name) => RawBuilder<Values[Name]>;

type Build<Values extends object, Row> = (
  value: Parameter<Values>,
) => { compile(): CompiledQuery<Row> } | Expression<Row>;

/**
 * Returns a function that runs a statement. The statement is compiled once, because building and
 * compiling take more time than running it.
 *
 * @param build receives a function that returns a parameter by name. A name can be used several
 *   times
 */
export function prepared<Values extends object, Row>(
  { sql }: Pick<Database, "sql">,
  build: Build<Values, Row>,
): (db: Kysely<never>, values: Values) => Promise<Row[]> {
  const bind = bindStatement(sql, build);
  return async (db, values) => (await db.executeQuery<Row>(bind(values))).rows;
}

/**
 * Does the same for the first statement of an event, which reads at most one row.
 *
 * If the database supports it, the statement bypasses Kysely. Kysely takes as much time as
 * everything else that a message needs. SQLite returns the row synchronously, without a promise.
 */
export function preparedRow<Values extends object, Row>(
  database: Pick<Database, "db" | "readRow" | "sql">,
  build: Build<Values, Row>,
): (values: Values) => Row | undefined | Promise<Row | undefined> {
  const bind = bindStatement(database.sql, build);
  return (values) => {
    const query = bind(values);
    const read = database.readRow?.(query);
    if (read instanceof Promise) return read.then(({ row }) => row as Row | undefined);
    if (read) return read.row as Row | undefined;
    return database.db.executeQuery<Row>(query).then(({ rows }) => rows[0]);
  };
}

/** Returns a function that returns a compiled statement with its values. The caller runs it. */
export function bindStatement<Values extends object, Row>(
  sql: Sql,
  build: Build<Values, Row>,
): (values: Values) => CompiledQuery<Row> {
  let compiled: CompiledQuery<Row> | undefined;
  return (values) => {
    compiled ??= (
      build((name) => sql`${new Placeholder(name)}`) as { compile(): CompiledQuery<Row> }
    ).compile();
    const { sql: text, query, queryId, parameters } = compiled;
    const boundParameters = parameters.map((parameter) =>
      parameter instanceof Placeholder ? values[parameter.name as keyof Values] : parameter,
    );
    return { sql: text, query, queryId, parameters: boundParameters };
  };
}

/** Returns the statement for a shape. It is created at its first use. */
export function cachedStatement<Shape extends object, Statement>(
  statements: Map<string, Statement>,
  shape: Shape,
  make: (shape: Shape) => Statement,
): Statement {
  const key = JSON.stringify(shape);
  const statement = statements.get(key) ?? make(shape);
  statements.set(key, statement);
  return statement;
}
