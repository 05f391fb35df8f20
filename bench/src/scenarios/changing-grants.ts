import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { benchApp, chat, insertConnections, prepareDatabase } from "../bench-app.js";
import { sqliteDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";
import { internalsOf } from "../internals.js";

const RECIPIENTS = 10_000;
/** Time between two grants of the other instance, in milliseconds. */
const GRANT_INTERVAL_MS = 50;
const ROUNDS = 5;

/**
 * Measures a send to 10 000 connections, in milliseconds, while another instance grants a
 * permission to other users 20 times per second.
 */
export async function changingGrants(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const server = createServer((incoming, response) => {
    incoming.resume().on("end", () => response.end());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const storage = sqliteDatabase(join(folder, "bench.db"));
  const otherStorage = sqliteDatabase(join(folder, "bench.db"));
  const app = benchApp(storage);
  const other = benchApp(otherStorage);
  await prepareDatabase(app, storage, `http://127.0.0.1:${port}/dev`);
  await insertConnections(storage, 1, RECIPIENTS);
  internalsOf(app).start();
  internalsOf(other).start();
  const send = async () => {
    const startedAt = performance.now();
    await app.to({ channel: "rooms/all" }).send({ type: "news" });
    return performance.now() - startedAt;
  };
  await send();
  const quiet: number[] = [];
  for (let round = 0; round < ROUNDS; round++) quiet.push(await send());
  let isGranting = true;
  const granting = (async () => {
    for (let n = 0; isGranting; n++) {
      await other.access.grant(`other-${n}`, chat.use);
      await sleep(GRANT_INTERVAL_MS);
    }
  })();
  const busy: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    busy.push(await send());
    await sleep(100);
  }
  isGranting = false;
  await granting;
  await app.close();
  await other.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
  return [
    figure(`send to ${RECIPIENTS} connections, no other change`, "ms", quiet),
    figure(`send to ${RECIPIENTS} connections, another instance grants permissions`, "ms", busy),
  ];
}
