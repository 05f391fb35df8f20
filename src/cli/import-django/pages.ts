import { ConfigurationError } from "../../errors.ts";
import type { DjangoDatabase, PageQuery, PageRow } from "./database.ts";

/** The number of rows that are read and written together. At most IMPORT_PAGE. */
export const PAGE = 1000;

/** Reads all pages of a query. Only one page is in memory. */
export async function* pagesOf(
  database: DjangoDatabase,
  query: Omit<PageQuery, "after" | "limit">,
): AsyncGenerator<readonly PageRow[]> {
  for (let after: string | undefined; ; ) {
    const page = await database.page({ ...query, after, limit: PAGE });
    const last = page.at(-1)?.key;
    if (last === undefined) return;
    if (last === after) throw notUnique(query.from);
    yield page;
    after = last;
  }
}

function notUnique(from: string): ConfigurationError {
  return new ConfigurationError(
    `The keys of ${from} are not unique, so its rows cannot be read in pages. Restore the primary key that Django created.`,
  );
}
