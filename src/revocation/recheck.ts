import { newTrail, type Trail } from "../access/decisions.ts";
import { askChannel, demand, demandChannel } from "../access/guard.ts";
import { userOf } from "../access/user.ts";
import { RefusedError } from "../errors.ts";
import type { SessionRow, SessionWithChannels } from "../sessions/sessions.ts";
import type { Rooms } from "./rooms.ts";

/** What a session may still have. `foreign`: its view or channel is another app's to judge. */
export type Standing =
  | { readonly kind: "stands" }
  | { readonly kind: "foreign" }
  | { readonly kind: "lost"; readonly refusal: RefusedError; readonly trail: Trail };

const STANDS: Standing = { kind: "stands" };
const FOREIGN: Standing = { kind: "foreign" };

/** Whether a session may keep its view, with the rights that were read together with it. */
export function standingOfView(rooms: Rooms, session: SessionWithChannels): Standing {
  const view = rooms.views.get(session.view);
  if (!view) return FOREIGN;
  const trail = trailOf(session);
  try {
    demand(trail, view.name, view.rule, session);
    return STANDS;
  } catch (error) {
    return lost(error, trail);
  }
}

/** Whether a session may stay in a channel as far as its rules say: by rights alone. */
export function standingByRules(rooms: Rooms, session: SessionWithChannels, name: string): Standing {
  const channel = rooms.channels.match(name);
  if (!channel) return FOREIGN;
  const trail = trailOf(session);
  trail.channel = name;
  try {
    demandChannel(trail, channel, session);
    return STANDS;
  } catch (error) {
    return lost(error, trail);
  }
}

/** How long the author's hooks may take about one session in one channel before their silence is a no, in milliseconds. */
export const HOOK_DEADLINE_MS = 5000;

/**
 * Whether a session may stay in a channel: its rules, and every `authorize`. A hook that fails has not said yes, nor has one
 * that is silent for too long.
 */
export async function standingInChannel(
  rooms: Rooms,
  session: SessionWithChannels,
  name: string,
  deadlineMs: number,
): Promise<Standing> {
  const channel = rooms.channels.match(name);
  if (!channel) return FOREIGN;
  const trail = trailOf(session);
  trail.channel = name;
  try {
    demandChannel(trail, channel, session);
    const asking = askChannel(trail, channel, userOf(session, rooms.permissions, trail));
    await within(deadlineMs, asking, `authorize of channel "${name}" has not answered for ${deadlineMs} ms.`);
    return STANDS;
  } catch (error) {
    if (error instanceof RefusedError) return lost(error, trail);
    rooms.onError(error, `authorize of channel "${name}"`);
    const failed = new RefusedError(`authorize of channel "${name}" failed: ${error}`, {
      reason: "authorize",
    });
    return lost(failed, trail);
  }
}

/** @throws Error with these words when nothing has come of it in time */
export async function within<Result>(timeMs: number, work: Promise<Result>, words: string): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(words)), timeMs);
  });
  try {
    return await Promise.race([work, silence]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}

function lost(error: unknown, trail: Trail): Standing {
  if (error instanceof RefusedError) return { kind: "lost", refusal: error, trail };
  throw error;
}

/** What a decision about an open socket, and not about an event from it, tells of whose it was. */
export function trailOf(session: SessionRow, event: "eviction" | "delivery" = "eviction"): Trail {
  const trail = newTrail(event, session.view);
  trail.view = session.view;
  trail.sessionId = session.id;
  trail.connectionId = session.connectionId;
  if (session.userId !== null) trail.userId = session.userId;
  if (session.loginId !== null) trail.loginId = session.loginId;
  return trail;
}
