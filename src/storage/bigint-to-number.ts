import type {
  KyselyPlugin,
  PluginTransformQueryArgs,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from "kysely";

/**
 * The BIGINT columns. By default, `pg` returns them as text. A test compares the pattern with the
 * tables.
 */
const BIGINT_COLUMN = /^(?:.*_at|at|number|age_ms|change_number|claimed_until|count)$/;

/** Converts BIGINT columns to numbers, for a Kysely instance of the app. */
export class BigintToNumberPlugin implements KyselyPlugin {
  transformQuery({ node }: PluginTransformQueryArgs): RootOperationNode {
    return node;
  }

  async transformResult({ result }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    for (const row of result.rows ?? []) {
      for (const name of Object.keys(row)) {
        if (typeof row[name] === "string" && BIGINT_COLUMN.test(name) && /^-?\d{1,15}$/.test(row[name])) {
          row[name] = Number(row[name]);
        }
      }
    }
    return result;
  }
}
