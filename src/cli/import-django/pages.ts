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
    if (last === after) throw new Error(`The keys of ${query.from} are not unique.`);
    yield page;
    after = last;
  }
}
