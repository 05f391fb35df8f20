import { type CompiledQuery, type Expression, type Kysely, type RawBuilder, sql } from "kysely";

/** Stands in a compiled statement where a value will come. */
class Placeholder {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

type Parameter<Values> = <Name extends keyof Values & string>(name: Name) => RawBuilder<Values[Name]>;

/**
 * A statement compiled once and run many times: building and compiling costs more than running it.
 *
 * @param build gets a function that names a value; the same name may stand in several places
 */
export function prepared<Values extends object, Row>(
  build: (value: Parameter<Values>) => { compile(): CompiledQuery<Row> } | Expression<Row>,
): (db: Kysely<never>, values: Values) => Promise<Row[]> {
  let compiled: CompiledQuery<Row> | undefined;
  return async (db, values) => {
    compiled ??= (
      build((name) => sql`${new Placeholder(name)}`) as { compile(): CompiledQuery<Row> }
    ).compile();
    const parameters = compiled.parameters.map((parameter) =>
      parameter instanceof Placeholder ? values[parameter.name as keyof Values] : parameter,
    );
    const result = await db.executeQuery<Row>({ ...compiled, parameters });
    return result.rows;
  };
}
