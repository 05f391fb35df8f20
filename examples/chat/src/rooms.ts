import type { ChannelAuthorizeContext } from "sallyport";
import { db } from "./database.ts";

/**
 * Returns whether a user has access to a room. Every user has access to an open room. Only members
 * have access to another room.
 */
export async function isRoomMember({
  user,
  params,
}: ChannelAuthorizeContext<{ slug: string }>): Promise<boolean> {
  const room = await db
    .selectFrom("chat_rooms")
    .select("is_open")
    .where("slug", "=", params.slug)
    .executeTakeFirst();
  if (!room) return false;
  if (room.is_open === 1) return true;
  const member = await db
    .selectFrom("chat_room_members")
    .select("user_id")
    .where("slug", "=", params.slug)
    .where("user_id", "=", user.id ?? "")
    .executeTakeFirst();
  return member !== undefined;
}

export function listRooms() {
  return db
    .selectFrom("chat_rooms")
    .select(["slug", "title", "note"])
    .orderBy("rowid" as "slug")
    .execute();
}
