import { setTimeout as sleep } from "node:timers/promises";
import type { Sallyport } from "sallyport";
import { benchApp, chat, insertConnections, prepareDatabase } from "../bench-app.js";
import { postgresDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";
import { p95 } from "../gateway-process.js";
import { startServer } from "../postgres-server.js";

const CONNECTIONS = 20_000;
const PREVIEWS = 3;
const QUIET_CHANGES = 100;
/** Time between two changes, in milliseconds. */
const CHANGE_INTERVAL_MS = 10;

/**
 * Measures how long changes wait on PostgreSQL while another instance previews a change of a group
 * with 1 000 users and 20 000 connections, in milliseconds.
 */
export async function previews(): Promise<readonly Figure[]> {
  const server = await startServer();
  const storage = postgresDatabase(server.url);
  const app = benchApp(storage);
  const other = benchApp(postgresDatabase(server.url));
  await prepareDatabase(app, storage);
  await insertConnections(storage, 1, CONNECTIONS);
  await app.access.grant("first", chat.moderate);
  await other.access.grant("first", chat.use);
  const preview = () =>
    other.access.preview({ kind: "revoke", holder: { group: "Members" }, permission: chat.use });
  await preview();
  const quiet: number[] = [];
  for (let n = 0; n < QUIET_CHANGES; n++) quiet.push(await changeTime(app, `quiet-${n}`));

  let isDone = false;
  const times: number[] = [];
  const previewing = (async () => {
    for (let round = 0; round < PREVIEWS; round++) {
      const startedAt = performance.now();
      await preview();
      times.push(performance.now() - startedAt);
    }
    isDone = true;
  })();
  const waits: number[] = [];
  for (let n = 0; !isDone; n++) waits.push(await changeTime(app, `other-${n}`));
  await previewing;
  await app.close();
  await other.close();
  await server.stop();
  return [
    figure("change of another user, p95, no preview", "ms", [p95(quiet)]),
    figure("change of another user, p95, during a preview", "ms", [p95(waits)], 500),
    figure(`preview with ${CONNECTIONS} connections`, "ms", times),
  ];
}

/** Returns the time of one change, in milliseconds, and waits for the next one. */
async function changeTime(app: Sallyport, user: string): Promise<number> {
  const startedAt = performance.now();
  await app.access.grant(user, chat.moderate);
  const tookMs = performance.now() - startedAt;
  await sleep(CHANGE_INTERVAL_MS);
  return tookMs;
}
