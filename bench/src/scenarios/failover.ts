import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { chat } from "../bench-app.js";
import { type Figure, figure } from "../figures.js";
import { startOutageTest } from "../outage.js";

const LIMIT_MS = 20_000;

/**
 * Measures how long changes fail after the database connections of the app have become read-only,
 * in milliseconds. New connections can write. This is what a failover to another writer under the
 * same host name causes.
 */
export async function failover(): Promise<readonly Figure[]> {
  const outage = await startOutageTest();
  await Promise.all([1, 2, 3, 4].map((n) => outage.app.access.grant(`before-${n}`, chat.use)));
  const client = new pg.Client(outage.server.url);
  await client.connect();
  await client.query("alter role postgres set default_transaction_read_only = off");
  await client.query("alter system set default_transaction_read_only = on");
  await client.query("select pg_reload_conf()");
  await client.end();
  const since = performance.now();
  let failures = 0;
  let writesMs = LIMIT_MS;
  for (let n = 0; performance.now() - since < LIMIT_MS; n++) {
    const change = await outage.app.access.grant(`after-${n}`, chat.use).catch(() => undefined);
    if (change === undefined) failures++;
    else {
      const ms = performance.now() - since;
      if (failures === 0 || writesMs === LIMIT_MS) writesMs = failures === 0 ? 0 : ms;
      // The server applies the new setting within one second.
      if (ms > 1000) break;
    }
    await sleep(50);
  }
  const { isHealthy } = await outage.app.health();
  await outage.close();
  return [
    figure("until changes succeed again", "ms", [writesMs], 5000),
    figure("changes that failed", "", [failures], 0),
    figure("health() afterwards (1: healthy)", "", [isHealthy ? 1 : 0]),
  ];
}
