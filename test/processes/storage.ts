import type { Storage } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

/**
 * The storage that the test configures: the path of a SQLite file, or a connection string with a
 * `schema`.
 */
export function testStorage(): Storage {
  const source = process.env.TEST_DATABASE as string;
  if (!source.startsWith("postgres:")) return sqlite(source);
  const url = new URL(source);
  const schema = url.searchParams.get("schema");
  url.searchParams.delete("schema");
  return postgres(url.href, schema === null ? {} : { schema });
}
