import type { ManagementApi } from "../delivery/management-api.ts";
import type { PendingDisconnects } from "../events/pending-disconnects.ts";
import type { RevocationPoller } from "../revocation/poller.ts";
import type { RevocationWorker } from "../revocation/worker.ts";
import type { EventServices } from "../services.ts";
import type { Storage } from "../storage/store.ts";
import { waitAtMost } from "../timing.ts";
import type { BackgroundCleanup } from "./background-cleanup.ts";

/** The background tasks of a process, which `flush()` and `close()` finish. */
export interface RunningTasks {
  readonly services: EventServices;
  readonly storage: Storage;
  readonly api: ManagementApi;
  readonly worker: RevocationWorker;
  readonly poller: RevocationPoller;
  readonly pendingDisconnects: PendingDisconnects;
  readonly cleanup: BackgroundCleanup;
  /** Returns whether an event is in progress. */
  readonly isAnswering: () => boolean;
}

/** Maximum time that `close()` waits for each group of tasks, in milliseconds. */
const STEP_TIMEOUT_MS = 2000;
/** Maximum time until `close()` closes the database, in milliseconds. */
const CLOSE_TIMEOUT_MS = 6000;

/** Minimum time between two checks for expired grants and recorded changes, in milliseconds. */
const CHECK_INTERVAL_MS = 3000;

/**
 * Finishes the background tasks within a time. Unfinished tasks continue afterwards.
 *
 * @param withinMs maximum duration, in milliseconds
 * @param onlyDue skips tasks that ran recently: the check for expired grants and recorded changes,
 *   and writing activity
 */
export async function flush(
  { services, worker, poller, cleanup, pendingDisconnects, isAnswering }: RunningTasks,
  withinMs: number,
  onlyDue: boolean,
): Promise<void> {
  const { connections, reports, sending } = services;
  // During another event, the background tasks must continue.
  const pause = async () => {
    if (!isAnswering()) await Promise.all([poller.pause(), cleanup.pause()]);
  };
  const work = async () => {
    // Pause first, so that no task is frozen halfway. Sends start the poller again, so pause twice.
    await pause();
    if (!onlyDue || worker.isDue(CHECK_INTERVAL_MS)) {
      await worker.enforce().catch((error) => services.reports.onError(error, "flush()"));
    }
    await sending.sends.idle();
    await pause();
    await Promise.all([poller.idle(), worker.idle()]);
    await sending.delivery.settled();
    await pendingDisconnects.flush();
    const { decisionLog } = reports;
    await (onlyDue ? decisionLog.flushWithCountsWhenDue() : decisionLog.flushWithCounts());
    await (onlyDue ? connections.activity.writeWhenDue() : connections.activity.write());
    services.reports.errors.flush();
  };
  await waitAtMost(withinMs, work());
}

/**
 * Ends sends in flight, stops the background tasks, and closes the connections to AWS and the
 * database.
 *
 * Each step and the whole have a time limit. Tasks that wait for an unresponsive database or
 * gateway are abandoned.
 */
export async function close({
  services,
  storage,
  api,
  worker,
  poller,
  cleanup,
  pendingDisconnects,
}: RunningTasks): Promise<void> {
  const { connections, reports, sending } = services;
  const { delivery, sends } = sending;
  const deadline = performance.now() + CLOSE_TIMEOUT_MS;
  const bounded = (work: Promise<unknown>) =>
    waitAtMost(Math.max(0, Math.min(STEP_TIMEOUT_MS, deadline - performance.now())), work);
  // Sends end here. Notices and closes of revocations are still sent, before everything stops.
  delivery.stopNormal();
  sends.capacity.removeLimits();
  await bounded(Promise.all([poller.stop(), cleanup.close()]));
  const idle = () => Promise.all([poller.idle(), worker.idle()]);
  await bounded(idle().then(() => delivery.settled()));
  delivery.stopAll();
  await bounded(pendingDisconnects.stop());
  await bounded(reports.decisionLog.flushWithCounts().then(() => connections.activity.write()));
  await bounded(api.close());
  await bounded(sends.settled());
  // Other processes take over the records that were not finished.
  await bounded(idle());
  services.reports.errors.flush();
  // close() of the database has a time limit itself.
  await storage.close();
}
