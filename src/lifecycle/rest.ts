import type { ManagementApi } from "../delivery/management-api.ts";
import type { BackgroundCleanup } from "./background-cleanup.ts";
import type { EnforcementLoop } from "./enforcement-loop.ts";
import type { Enforcer } from "./evict.ts";
import type { Rooms } from "./rooms.ts";
import { within } from "./within.ts";

/** What goes on in a process behind the answers. */
export interface Working {
  readonly rooms: Rooms;
  readonly api: ManagementApi;
  readonly enforcer: Enforcer;
  readonly loop: EnforcementLoop;
  readonly cleanup: BackgroundCleanup;
  /** Whether an event is being answered at this moment. */
  readonly isAnswering: () => boolean;
}

/** How long closing waits for evictions in hand, and for calls that are under way, in milliseconds. */
const CLOSING_MS = 2000;

/** Brings to an end what goes on so far, within a time; what is not done by then goes on. */
export async function settle(
  { rooms, enforcer, loop, cleanup, isAnswering }: Working,
  withinMs: number,
): Promise<void> {
  const { delivery, sends, decisionLog, activity } = rooms;
  // Under another request it has to go on.
  const pause = async () => {
    if (!isAnswering()) await Promise.all([loop.pause(), cleanup.pause()]);
  };
  const work = async () => {
    // First, so that it is not frozen in the middle should the rest take too long; and again, as sends start it.
    await pause();
    await enforcer.enforce().catch((error) => rooms.onError(error, "settling"));
    while (sends.size > 0) await Promise.allSettled(sends);
    await pause();
    await Promise.all([loop.idle(), enforcer.idle()]);
    await delivery.settled();
    await decisionLog.settle();
    await activity.write();
    rooms.errors.flush();
  };
  await within(withinMs, work());
}

/** Ends sends under way, stops the loop, and closes what was opened. */
export async function close({ rooms, api, enforcer, loop, cleanup }: Working): Promise<void> {
  const { delivery, sends, decisionLog, activity, database } = rooms;
  // Sends end; what closes sockets whose rights have ended goes out before everything does.
  delivery.stop();
  rooms.sendCapacity.letAllIn();
  await Promise.all([loop.stop(), cleanup.close()]);
  const idle = () => Promise.all([loop.idle(), enforcer.idle()]);
  await within(
    CLOSING_MS,
    idle().then(() => delivery.settled()),
  );
  delivery.shut();
  await decisionLog.settle();
  await activity.write();
  await api.close();
  await within(CLOSING_MS, Promise.allSettled(sends));
  // Records whose work was cut off are left to others.
  await within(CLOSING_MS, idle());
  rooms.errors.flush();
  await database.close();
}
