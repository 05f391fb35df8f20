import { type Figure, figure } from "../figures.js";
import { healthyAfter, openRig } from "../outage.js";

/** How long the answers are waited for, and close() is, in milliseconds. */
const LIMIT_MS = 20_000;

/** Measures how long events fail after the network has dropped all connections to PostgreSQL without a word. New connections work. */
export async function lostConnections(): Promise<readonly Figure[]> {
  const rig = await openRig();
  const load = rig.messages();
  await healthyAfter(load.answers, performance.now(), LIMIT_MS);
  const since = performance.now();
  rig.proxy.forget();
  const healthyMs = await healthyAfter(load.answers, since, LIMIT_MS);
  // Once more, and the app is closed at once.
  rig.proxy.forget();
  const closing = performance.now();
  const limit = new Promise<void>((resolve) => setTimeout(resolve, LIMIT_MS).unref());
  await Promise.race([rig.app.close(), limit]);
  const closedMs = performance.now() - closing;
  void load.stop();
  await rig.proxy.close();
  await rig.server.stop();
  return [
    figure("until messages are answered again", "ms", [healthyMs], 5000),
    figure("close() while no connection answers", "ms", [closedMs], 7000),
  ];
}
