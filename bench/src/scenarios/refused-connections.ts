import { setTimeout as sleep } from "node:timers/promises";
import { type Figure, figure } from "../figures.js";
import { healthyAfter, openRig } from "../outage.js";

/** How long PostgreSQL refuses connections, in milliseconds. */
const OUTAGE_MS = 2000;

/** Measures what becomes of messages while PostgreSQL, or a pooler in front of it, refuses connections for two seconds. */
export async function refusedConnections(): Promise<readonly Figure[]> {
  const rig = await openRig();
  const load = rig.messages();
  await healthyAfter(load.answers, performance.now(), 10_000);
  rig.errors.count = 0;
  const since = performance.now();
  await rig.proxy.refuse();
  await sleep(OUTAGE_MS);
  await rig.proxy.listen();
  const backAt = performance.now();
  const healthyMs = await healthyAfter(load.answers, backAt, 10_000);
  const answers = (await load.stop()).filter(({ sentAt }) => sentAt >= since && sentAt < backAt);
  const failed = answers.filter(({ isOk }) => !isOk);
  const errors = rig.errors.count;
  await rig.close();
  return [
    figure("messages that failed", "%", [(100 * failed.length) / answers.length], 0),
    figure("failures without the id of the call", "", [failed.filter(({ hasId }) => !hasId).length], 0),
    figure("until messages are answered again", "ms", [healthyMs]),
    figure("calls of onError", "", [errors]),
  ];
}
