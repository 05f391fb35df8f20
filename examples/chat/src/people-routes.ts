import { Hono } from "hono";
import type { Decision } from "sallyport";
import { sessionOf } from "./auth.ts";
import { VIEW } from "./page-contract.ts";
import { PERMISSIONS } from "./permissions.ts";
import { listRooms } from "./rooms.ts";
import { sallyport } from "./sallyport.ts";

/** A room, and whether the person can enter it now. */
export interface RoomState {
  readonly slug: string;
  readonly title: string;
  readonly note: string | null;
  readonly isLocked: boolean;
  /** The labels of the permissions that the person needs and does not have. */
  readonly missing: readonly string[];
  /** Whether the person also has to be a member of the room. */
  readonly needsMembership: boolean;
  /** The rules and checks of the room, in order. */
  readonly steps: Decision["steps"];
}

/** The signed-in person of a pane. */
export interface Me {
  readonly id: string;
  readonly name: string;
  readonly email: string;
  readonly isSuperuser: boolean;
  readonly rooms: readonly RoomState[];
  readonly canDelete: boolean;
}

/** `GET /api/me?pane=left` returns the person, or null if no user is signed in. */
export const peopleRoutes = new Hono().get("/", async (context) => {
  const session = await sessionOf(context.req.raw);
  if (!session) return context.json(null);
  const { id, name, email } = session.user;
  const rooms = (await listRooms()).map(async (room) => {
    const { verdict, steps } = await sallyport.access.explain({
      user: id,
      view: VIEW,
      channel: `rooms/${room.slug}`,
    });
    return { ...room, isLocked: verdict === "denied", steps, ...needsOf(steps) };
  });
  const { verdict } = await sallyport.access.explain({ user: id, view: VIEW, handler: "delete_message" });
  const user = await sallyport.access.users.get(id);
  const me: Me = {
    id,
    name,
    email,
    isSuperuser: user?.isSuperuser ?? false,
    rooms: await Promise.all(rooms),
    canDelete: verdict === "allowed",
  };
  return context.json(me);
});

/**
 * Returns what a person lacks for a room. The rule of the view accepts each of the permissions, so
 * only the rules of the channel say which of them the room needs.
 */
function needsOf(steps: Decision["steps"]): Pick<RoomState, "missing" | "needsMembership"> {
  const names = new Set<string>();
  let needsMembership = false;
  for (const step of steps.filter(({ what, allowed }) => !allowed && what.includes("channel"))) {
    if (step.kind === "authorize") needsMembership = true;
    else for (const name of step.missing) names.add(name);
  }
  const missing = PERMISSIONS.filter(({ name }) => names.has(name)).map(({ label }) => label);
  return { missing, needsMembership };
}
