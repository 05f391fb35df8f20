import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { startOutageTest, waitUntilHealthy } from "../outage.js";

/** Duration of the outage, in milliseconds. */
const OUTAGE_MS = 2000;

/**
 * Measures how many messages fail while PostgreSQL, or a pooler in front of it, refuses TCP
 * connections for two seconds.
 */
export async function refusedConnections(): Promise<readonly Figure[]> {
  const outage = await startOutageTest();
  const load = outage.sendMessages();
  await waitUntilHealthy(load.responses, performance.now(), 10_000);
  outage.errors.count = 0;
  const since = performance.now();
  await outage.proxy.refuse();
  await sleep(OUTAGE_MS);
  await outage.proxy.listen();
  const restoredAt = performance.now();
  const healthyMs = await waitUntilHealthy(load.responses, restoredAt, 10_000);
  const responses = (await load.stop()).filter(({ sentAt }) => sentAt >= since && sentAt < restoredAt);
  const failed = responses.filter(({ isOk }) => !isOk);
  const errors = outage.errors.count;
  await outage.close();
  return [
    figure("messages that failed", "%", [(100 * failed.length) / responses.length], 0),
    figure("failures without the id of the call", "", [failed.filter(({ hasId }) => !hasId).length], 0),
    figure("until messages succeed again", "ms", [healthyMs]),
    figure("calls of onError", "", [errors]),
  ];
}
