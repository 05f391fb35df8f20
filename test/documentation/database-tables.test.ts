import { Kysely, sql } from "kysely";
import { expect, test } from "vitest";
import { handler, WebSocketView } from "../../src/index.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { LibsqlDialect, sqlite } from "../../src/storage/sqlite.ts";
import { readPage } from "./pages.ts";

class PingView extends WebSocketView {
  static override allowAnonymous = true;
  ping = handler(async () => ({}));
}

/** Creates an empty database with all tables, and returns its Kysely instance. */
async function migratedDatabase(): Promise<Kysely<never>> {
  const db = new Kysely<never>({ dialect: new LibsqlDialect({ path: ":memory:" }) });
  const sallyport = createSallyport({
    storage: sqlite(db),
    permissions: [],
    views: { "/ws": PingView },
    authenticate: () => null,
    origins: ["https://www.example.com"],
  });
  await sallyport.migrate();
  await sallyport.close();
  return db;
}

/** A line for each column: table, name, type and whether it can be null. */
async function columnsOf(db: Kysely<never>): Promise<readonly string[]> {
  const { rows } = await sql<{ table: string; name: string; type: string; required: number }>`
    select t.name as "table", c.name, c.type, c."notnull" or c.pk > 0 as required
    from sqlite_master t, pragma_table_info(t.name) c
    where t.type = 'table' and t.name like 'sallyport_%'
  `.execute(db);
  return rows.map(({ table, name, type, required }) =>
    [table, name, type.toLowerCase(), required ? "" : "null"].join(" ").trim(),
  );
}

/** The same lines, as the page documents them. */
function documentedColumns(text: string): readonly string[] {
  return text
    .split(/^### `/m)
    .slice(1)
    .flatMap((section) => {
      const [table] = section.split("`");
      return [...section.matchAll(/^\| `(\w+)` \| (\w+) \| (?:(null) )?\|/gm)].map(
        ([, name, type, isNull = ""]) => [table, name, type, isNull].join(" ").trim(),
      );
    });
}

test("docs/reference/database-tables.md lists each column of each table", async () => {
  const db = await migratedDatabase();
  const created = await columnsOf(db);
  await db.destroy();
  expect(created.length).toBeGreaterThan(100);
  const { text } = readPage("docs/reference/database-tables.md");
  expect([...documentedColumns(text)].sort()).toEqual([...created].sort());
});

test("the queries of docs/reference/database-tables.md run on SQLite, except those for PostgreSQL", async () => {
  const db = await migratedDatabase();
  const { samples } = readPage("docs/reference/database-tables.md");
  const queries = samples.filter(
    ({ language, section, code }) => language === "sql" && section === "Queries" && !/extract\(/.test(code),
  );
  expect(queries).toHaveLength(2);
  for (const { code } of queries) expect((await sql.raw(code).execute(db)).rows).toEqual([]);
  await db.destroy();
});
