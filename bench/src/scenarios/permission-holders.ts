import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely } from "kysely";
import { defineChannel } from "sallyport";
import { LibsqlDialect } from "sallyport/storage/sqlite";
import { benchApp, chat, prepareDatabase, USERS } from "../bench-app.js";
import { sqliteDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";

const ROUNDS = 5;
/** One statement for each page of 250 users, and one for the end. */
const MAX_STATEMENTS = USERS / 250 + 1;

/**
 * Counts the statements that list the 1 000 users who can read a channel with a hook, and measures
 * the time, in milliseconds.
 */
export async function permissionHolders(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  let statements = 0;
  const kysely = new Kysely<never>({
    dialect: new LibsqlDialect({ path: join(folder, "bench.db") }),
    log: () => void statements++,
  });
  const storage = sqliteDatabase(kysely);
  const app = benchApp(storage, {
    channels: [
      defineChannel("rooms/:slug", {
        permissionsRequired: [chat.use],
        authorizeMany: ({ userIds }) => userIds,
      }),
    ],
  });
  await prepareDatabase(app, storage);
  const counts: number[] = [];
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    statements = 0;
    const startedAt = performance.now();
    const users = await app.access.users.withPermission(chat.use, { object: { channel: "rooms/all" } });
    times.push(performance.now() - startedAt);
    counts.push(statements);
    if (users.length !== USERS) throw new Error(`${users.length} of ${USERS} users were listed.`);
  }
  await app.close();
  await kysely.destroy();
  await rm(folder, { recursive: true, force: true });
  return [
    figure(`statements to list ${USERS} users with access to a channel`, "", counts, MAX_STATEMENTS),
    figure(`list ${USERS} users with access to a channel`, "ms", times),
  ];
}
