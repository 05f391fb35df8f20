import { db, setting } from "./database.ts";

/** Maximum number of messages that `fetch_history` returns. */
const HISTORY = 50;

export interface ChatMessage {
  readonly id: number;
  readonly room: string;
  readonly message: string;
  readonly username: string;
  readonly user_id: string;
  /** ISO 8601. */
  readonly created_at: string;
}

export async function storeMessage(slug: string, userId: string, message: string): Promise<ChatMessage> {
  const user = await db.selectFrom("user").select("name").where("id", "=", userId).executeTakeFirst();
  const username = user?.name ?? "Somebody";
  const created_at = new Date().toISOString();
  const { id } = await db
    .insertInto("chat_messages")
    .values({ slug, user_id: userId, username, message, created_at })
    .returning("id")
    .executeTakeFirstOrThrow();
  return { id, room: slug, message, username, user_id: userId, created_at };
}

/** Returns the newest messages of a room, oldest first. */
export async function recentMessages(slug: string): Promise<ChatMessage[]> {
  const rows = await db
    .selectFrom("chat_messages")
    .select(["id", "slug as room", "message", "username", "user_id", "created_at"])
    .where("slug", "=", slug)
    .orderBy("id", "desc")
    .limit(HISTORY)
    .execute();
  return rows.reverse();
}

/** Returns the room of a message, or undefined if the message does not exist. */
export async function roomOfMessage(id: number): Promise<string | undefined> {
  const row = await db.selectFrom("chat_messages").select("slug").where("id", "=", id).executeTakeFirst();
  return row?.slug;
}

export async function deleteMessage(id: number): Promise<void> {
  await db.deleteFrom("chat_messages").where("id", "=", id).execute();
}

/** Deletes all messages and writes those of the start, with the times of the first start. */
export async function clearMessages(): Promise<void> {
  await db.deleteFrom("chat_messages").execute();
  await writeFirstMessages();
}

/** Writes the messages of the start, if there are no messages. */
export async function writeFirstMessages(): Promise<void> {
  const known = await db.selectFrom("chat_messages").select("id").limit(1).executeTakeFirst();
  if (known) return;
  const users = await db.selectFrom("user").select(["id", "name"]).execute();
  const ids = new Map(users.map(({ id, name }) => [name, id]));
  const startedAt = await setting("first_messages_at", () => new Date().toISOString());
  const first = Date.parse(startedAt) - FIRST_MESSAGES.length * 60_000;
  const rows = FIRST_MESSAGES.map(([slug, username, message], index) => ({
    slug,
    username,
    message,
    user_id: ids.get(username) ?? username,
    created_at: new Date(first + index * 60_000).toISOString(),
  }));
  await db.insertInto("chat_messages").values(rows).execute();
}

const FIRST_MESSAGES = [
  ["general", "Mo", "Morning! The release goes out at noon."],
  ["general", "Alice", "Great. I'll write the announcement."],
  ["general", "Mo", "Please keep customer names out of it."],
  ["general", "Alice", "Of course. I'll show you a draft first."],
  ["random", "Alice", "Who brings cake on Friday?"],
  ["random", "Mo", "Rita said she would."],
  ["moderators", "Mo", "Two reports this week. Both are settled."],
  ["book-club", "Alice", "I have finished chapter 3. No spoilers, please."],
] as const;
