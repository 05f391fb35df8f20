import type { ChannelAuthorizeContext } from "sallyport";
import { db } from "./database.ts";

/** Open rooms are for all who may use chat; the others have members. A room that does not exist has none. */
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
