import type {
  KyselyPlugin,
  PluginTransformQueryArgs,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from "kysely";

/** Columns that are BIGINT in PostgreSQL, which `pg` gives as text where nobody told it otherwise; a test compares them with the tables. */
const WHOLE = /^(?:.*_at|at|number|age_ms|change_number|claimed_until|count)$/;

/** For a Kysely of the app's own: instants and numbers of changes come as numbers, as everywhere else. */
export class BigintToNumberPlugin implements KyselyPlugin {
  transformQuery({ node }: PluginTransformQueryArgs): RootOperationNode {
    return node;
  }

  async transformResult({ result }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    for (const row of result.rows ?? []) {
      for (const name of Object.keys(row)) {
        if (typeof row[name] === "string" && WHOLE.test(name) && /^-?\d{1,15}$/.test(row[name])) {
          row[name] = Number(row[name]);
        }
      }
    }
    return result;
  }
}
