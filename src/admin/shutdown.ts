import type { ManagementApi } from "../delivery/management-api.ts";
import type { PendingDisconnects } from "../events/pending-disconnects.ts";
import type { RevocationPoller } from "../revocation/poller.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { Services } from "../services.ts";
import { within } from "../with-timeout.ts";
import type { BackgroundCleanup } from "./background-cleanup.ts";

/** What goes on in a process behind the answers. */
export interface RunningTasks {
  readonly services: Services;
  readonly api: ManagementApi;
  readonly worker: RevocationWorker;
  readonly loop: RevocationPoller;
  readonly pendingDisconnects: PendingDisconnects;
  readonly cleanup: BackgroundCleanup;
  /** Whether an event is being answered at this moment. */
  readonly isAnswering: () => boolean;
}

/** How long closing waits for evictions in hand, and for calls that are under way, in milliseconds. */
const CLOSING_MS = 2000;
/** How long closing waits in all, in milliseconds, before it closes the database. */
const CLOSING_IN_ALL_MS = 6000;

/**
 * How often a function looks, after one of its events, for grants that have ended and changes that other processes recorded, in
 * milliseconds.
 */
const LOOK_EVERY_MS = 3000;

/**
 * Brings to an end what goes on so far, within a time; what is not done by then goes on.
 *
 * @param onlyDue leaves for later what was done a few seconds ago: the look for ended grants and recorded changes, and the notes of
 *   activity
 */
export async function flush(
  { services, worker, loop, cleanup, pendingDisconnects, isAnswering }: RunningTasks,
  withinMs: number,
  onlyDue: boolean,
): Promise<void> {
  const { delivery, sends, decisionLog, activity } = services;
  // Under another request it has to go on.
  const pause = async () => {
    if (!isAnswering()) await Promise.all([loop.pause(), cleanup.pause()]);
  };
  const work = async () => {
    // First, so that it is not frozen in the middle should the rest take too long; and again, as sends start it.
    await pause();
    if (!onlyDue || worker.isDue(LOOK_EVERY_MS)) {
      await worker.enforce().catch((error) => services.onError(error, "settling"));
    }
    while (sends.size > 0) await Promise.allSettled(sends);
    await pause();
    await Promise.all([loop.idle(), worker.idle()]);
    await delivery.settled();
    await pendingDisconnects.flush();
    await (onlyDue ? decisionLog.settleWhenDue() : decisionLog.settle());
    await (onlyDue ? activity.writeWhenDue() : activity.write());
    services.errors.flush();
  };
  await within(withinMs, work());
}

/**
 * Ends sends under way, stops the loop, and closes what was opened. Each part has a limit, and so has the whole: what waits for a
 * database or a gateway that does not answer is cut off.
 */
export async function close({
  services,
  api,
  worker,
  loop,
  cleanup,
  pendingDisconnects,
}: RunningTasks): Promise<void> {
  const { delivery, sends, decisionLog, activity, database } = services;
  const deadline = performance.now() + CLOSING_IN_ALL_MS;
  const bounded = (work: Promise<unknown>) =>
    within(Math.max(0, Math.min(CLOSING_MS, deadline - performance.now())), work);
  // Sends end; what closes sockets whose rights have ended goes out before everything does.
  delivery.stop();
  services.sendCapacity.letAllIn();
  await bounded(Promise.all([loop.stop(), cleanup.close()]));
  const idle = () => Promise.all([loop.idle(), worker.idle()]);
  await bounded(idle().then(() => delivery.settled()));
  delivery.shut();
  await bounded(pendingDisconnects.stop());
  await bounded(decisionLog.settle().then(() => activity.write()));
  await bounded(api.close());
  await bounded(Promise.allSettled(sends));
  // Records whose work was cut off are left to others.
  await bounded(idle());
  services.errors.flush();
  // Has a limit of its own.
  await database.close();
}
