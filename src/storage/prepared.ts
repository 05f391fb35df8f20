import type { CompiledQuery, Expression, Kysely, RawBuilder } from "kysely";
import type { Database, Sql } from "./database.ts";

/** Stands in a compiled statement where a value will come. */
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
 * A statement compiled once and run many times: building and compiling costs more than running it.
 *
 * @param build gets a function that names a value; the same name may stand in several places
 */
export function prepared<Values extends object, Row>(
  { sql }: Pick<Database, "sql">,
  build: Build<Values, Row>,
): (db: Kysely<never>, values: Values) => Promise<Row[]> {
  const bind = bound(sql, build);
  return async (db, values) => (await db.executeQuery<Row>(bind(values))).rows;
}

/**
 * The same for the statement that an event begins with, which reads at most one row. It goes past Kysely where the database can, since
 * Kysely costs as much as everything else about a message; and SQLite returns the row at once, without a promise.
 */
export function preparedRow<Values extends object, Row>(
  database: Pick<Database, "db" | "readRow" | "sql">,
  build: Build<Values, Row>,
): (values: Values) => Row | undefined | Promise<Row | undefined> {
  const bind = bound(database.sql, build);
  return (values) => {
    const query = bind(values);
    const read = database.readRow?.(query);
    if (read instanceof Promise) return read.then(({ row }) => row as Row | undefined);
    if (read) return read.row as Row | undefined;
    return database.db.executeQuery<Row>(query).then(({ rows }) => rows[0]);
  };
}

/** Compiles a statement at its first use, and returns it with its values, to be run by the caller. */
export function bound<Values extends object, Row>(
  sql: Sql,
  build: Build<Values, Row>,
): (values: Values) => CompiledQuery<Row> {
  let compiled: CompiledQuery<Row> | undefined;
  return (values) => {
    compiled ??= (
      build((name) => sql`${new Placeholder(name)}`) as { compile(): CompiledQuery<Row> }
    ).compile();
    const { sql: text, query, queryId, parameters } = compiled;
    const given = parameters.map((parameter) =>
      parameter instanceof Placeholder ? values[parameter.name as keyof Values] : parameter,
    );
    return { sql: text, query, queryId, parameters: given };
  };
}

/** Returns the statement of a shape, which is made at its first use. */
export function remembered<Shape extends object, Statement>(
  statements: Map<string, Statement>,
  shape: Shape,
  make: (shape: Shape) => Statement,
): Statement {
  const key = JSON.stringify(shape);
  const statement = statements.get(key) ?? make(shape);
  statements.set(key, statement);
  return statement;
}
