import type { ChannelAuthorizeContext } from "sallyport";
import { db } from "./database.ts";

/** The room that only its members can enter. */
export const BOOK_CLUB = "book-club";

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
  return room.is_open === 1 || isMember(params.slug, user.id ?? "");
}

export async function isMember(slug: string, userId: string): Promise<boolean> {
  const member = await db
    .selectFrom("chat_room_members")
    .select("user_id")
    .where("slug", "=", slug)
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return member !== undefined;
}

/** Adds a member. Call `access.recheck({ user })` afterwards. */
export async function joinRoom(slug: string, userId: string): Promise<void> {
  await db
    .insertInto("chat_room_members")
    .values({ slug, user_id: userId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Removes a member. Call `access.recheck({ user })` afterwards. */
export async function leaveRoom(slug: string, userId: string): Promise<void> {
  await db.deleteFrom("chat_room_members").where("slug", "=", slug).where("user_id", "=", userId).execute();
}

export function listRooms() {
  return db
    .selectFrom("chat_rooms")
    .select(["slug", "title", "note"])
    .orderBy("rowid" as "slug")
    .execute();
}
