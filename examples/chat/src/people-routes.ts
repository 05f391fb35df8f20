import { Hono } from "hono";
import { sessionOf } from "./auth.ts";
import { listRooms } from "./rooms.ts";
import { sallyport } from "./sallyport.ts";

/** A room, and whether the person can enter it now. */
export interface RoomState {
  readonly slug: string;
  readonly title: string;
  readonly note: string | null;
  readonly isLocked: boolean;
}

/** The signed-in person of a pane. */
export interface Me {
  readonly id: string;
  readonly name: string;
  readonly email: string;
  readonly rooms: readonly RoomState[];
  readonly canDelete: boolean;
}

const VIEW = "/ws/chat";

/** `GET /api/me?pane=left` returns the person, or null if nobody is signed in. */
export const peopleRoutes = new Hono().get("/", async (context) => {
  const session = await sessionOf(context.req.raw);
  if (!session) return context.json(null);
  const { id, name, email } = session.user;
  const rooms = (await listRooms()).map(async (room) => {
    const { verdict } = await sallyport.access.explain({
      user: id,
      view: VIEW,
      channel: `rooms/${room.slug}`,
    });
    return { ...room, isLocked: verdict === "denied" };
  });
  const { verdict } = await sallyport.access.explain({ user: id, view: VIEW, handler: "delete_message" });
  const me: Me = { id, name, email, rooms: await Promise.all(rooms), canDelete: verdict === "allowed" };
  return context.json(me);
});
