import { fileURLToPath } from "node:url";
import { type Generated, Kysely, sql } from "kysely";
import { LibsqlDialect } from "sallyport/storage/sqlite";
import { ROOMS } from "./page-contract.ts";

export interface ChatTables {
  chat_rooms: { slug: string; title: string; note: string | null; is_open: 0 | 1 };
  chat_room_members: { slug: string; user_id: string };
  chat_messages: {
    id: Generated<number>;
    slug: string;
    user_id: string;
    username: string;
    message: string;
    created_at: string;
  };
  chat_settings: { key: string; value: string };
  /** The table of better-auth. The chat only reads it. */
  user: { id: string; name: string; email: string };
}

export const databasePath =
  process.env.DATABASE || fileURLToPath(new URL("../data/chat.db", import.meta.url));

/**
 * The connection to the database file, shared by the chat, better-auth and Sallyport. It opens on
 * the first query.
 */
export const db = new Kysely<ChatTables>({ dialect: new LibsqlDialect({ path: databasePath }) });

/** Creates the tables and rooms of the chat, unless they exist. */
export async function prepareTables(): Promise<void> {
  const create = db.schema;
  await create
    .createTable("chat_rooms")
    .ifNotExists()
    .addColumn("slug", "text", (c) => c.primaryKey())
    .addColumn("title", "text", (c) => c.notNull())
    .addColumn("note", "text")
    .addColumn("is_open", "integer", (c) => c.notNull())
    .execute();
  await create
    .createTable("chat_room_members")
    .ifNotExists()
    .addColumn("slug", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addPrimaryKeyConstraint("chat_room_members_pk", ["slug", "user_id"])
    .execute();
  await create
    .createTable("chat_messages")
    .ifNotExists()
    .addColumn("id", "integer", (c) => c.primaryKey().autoIncrement())
    .addColumn("slug", "text", (c) => c.notNull())
    .addColumn("user_id", "text", (c) => c.notNull())
    .addColumn("username", "text", (c) => c.notNull())
    .addColumn("message", "text", (c) => c.notNull())
    .addColumn("created_at", "text", (c) => c.notNull())
    .execute();
  await create
    .createIndex("chat_messages_slug")
    .ifNotExists()
    .on("chat_messages")
    .columns(["slug", "id"])
    .execute();
  await create
    .createTable("chat_settings")
    .ifNotExists()
    .addColumn("key", "text", (c) => c.primaryKey())
    .addColumn("value", "text", (c) => c.notNull())
    .execute();
  await db
    .insertInto("chat_rooms")
    .values([...ROOMS])
    .onConflict((conflict) => conflict.column("slug").doNothing())
    .execute();
}

/**
 * Returns a stored setting, and stores the initial value if there is none. Concurrent calls return
 * the same value.
 */
export async function setting(key: string, initial: () => string): Promise<string> {
  await db
    .insertInto("chat_settings")
    .values({ key, value: initial() })
    .onConflict((conflict) => conflict.column("key").doNothing())
    .execute();
  const row = await db
    .selectFrom("chat_settings")
    .select("value")
    .where("key", "=", key)
    .executeTakeFirstOrThrow();
  return row.value;
}

export async function hasSetting(key: string): Promise<boolean> {
  const row = await db.selectFrom("chat_settings").select("key").where("key", "=", key).executeTakeFirst();
  return row !== undefined;
}

/** Returns whether the tables have been created. */
export async function isPrepared(): Promise<boolean> {
  const { rows } = await sql`select 1 from sqlite_master where type = 'table' and name = 'user'`.execute(db);
  return rows.length > 0;
}
