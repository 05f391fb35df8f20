import { type Figure, figure } from "../figures.js";
import { startOutageTest, waitUntilHealthy } from "../outage.js";

/** Maximum time to wait for responses and for close(), in milliseconds. */
const LIMIT_MS = 20_000;

/**
 * Measures how long events fail after the network silently dropped all connections to PostgreSQL,
 * in milliseconds. New connections work.
 */
export async function lostConnections(): Promise<readonly Figure[]> {
  const outage = await startOutageTest();
  const load = outage.sendMessages();
  await waitUntilHealthy(load.responses, performance.now(), LIMIT_MS);
  const since = performance.now();
  outage.proxy.forget();
  const healthyMs = await waitUntilHealthy(load.responses, since, LIMIT_MS);
  // Drop the connections again, and close the app immediately.
  outage.proxy.forget();
  const closing = performance.now();
  const limit = new Promise<void>((resolve) => setTimeout(resolve, LIMIT_MS).unref());
  await Promise.race([outage.app.close(), limit]);
  const closedMs = performance.now() - closing;
  void load.stop();
  await outage.proxy.close();
  await outage.server.stop();
  return [
    figure("until messages succeed again", "ms", [healthyMs], 5000),
    figure("close() while no connection responds", "ms", [closedMs], 7000),
  ];
}
