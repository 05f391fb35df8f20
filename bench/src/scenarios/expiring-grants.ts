import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { benchApp, chat, prepareDatabase } from "../bench-app.js";
import { postgresDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";
import { startServer } from "../postgres-server.js";

const GRANTS = 5000;

/**
 * Measures how long other changes wait on PostgreSQL while 5 000 expired grants are removed, in
 * milliseconds.
 */
export async function expiringGrants(): Promise<readonly Figure[]> {
  const server = await startServer();
  const storage = postgresDatabase(server.url);
  const app = benchApp(storage);
  const other = benchApp(postgresDatabase(server.url));
  await prepareDatabase(app, storage);
  await sql`insert into sallyport_users (id, is_active, is_superuser, created_at)
    select 'expiring-' || n, 1, 0, 0 from generate_series(1, ${sql.lit(GRANTS)}) as n`.execute(storage.db);
  await sql`insert into sallyport_user_permissions (user_id, permission, until_at, granted_at)
    select 'expiring-' || n, ${sql.lit(chat.use)}, ${storage.now} - 1, 0 from generate_series(1, ${sql.lit(GRANTS)}) as n`.execute(
    storage.db,
  );
  await other.access.grant("first", chat.use);
  let isDone = false;
  const startedAt = performance.now();
  const enforcing = app.enforce().finally(() => {
    isDone = true;
  });
  const waits: number[] = [];
  for (let n = 0; !isDone; n++) {
    const at = performance.now();
    // A failed change counts with the time until it failed.
    await other.access.grant(`other-${n}`, chat.use).catch(() => undefined);
    waits.push(performance.now() - at);
    await sleep(10);
  }
  await enforcing;
  const removalMs = performance.now() - startedAt;
  await app.close();
  await other.close();
  await server.stop();
  return [
    figure("longest wait of another change", "ms", [Math.max(0, ...waits)], 500),
    figure(`removal of ${GRANTS} grants that expired together`, "ms", [removalMs]),
  ];
}
