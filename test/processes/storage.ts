import type { Database } from "sallyport";
import { postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";

/** The storage that the story names: a SQLite file's path, or a connection string. */
export function storyStorage(): Database {
  const source = process.env.STORY_DATABASE as string;
  return source.startsWith("postgres:") ? postgres(source) : sqlite(source);
}
