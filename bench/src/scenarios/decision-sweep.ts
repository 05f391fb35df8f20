import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Kysely, sql } from "kysely";
import { LibsqlDialect } from "sallyport/storage/sqlite";
import { benchApp } from "../bench-app.js";
import { sqliteDatabase } from "../database.js";
import { type Figure, figure } from "../figures.js";

const MAX_ROWS = 100_000;
const SURPLUS_ROWS = 10_000;
const USERS = 500;
const LONGEST = 9;
/** Resolution of the measured delays of the event loop, in milliseconds. */
const RESOLUTION_MS = 1;

/**
 * Measures the statements, in milliseconds, while the surplus of 110 000 stored decisions of
 * 500 users is removed on SQLite. A statement blocks the event loop.
 */
export async function decisionSweep(): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const statements: number[] = [];
  const commits: number[] = [];
  const kysely = new Kysely<never>({
    dialect: new LibsqlDialect({ path: join(folder, "bench.db") }),
    log: ({ query, queryDurationMillis }) => {
      const times = query.sql === "commit" ? commits : statements;
      times.push(queryDurationMillis);
    },
  });
  const storage = sqliteDatabase(kysely);
  const app = benchApp(storage, { decisionLog: { maxRows: MAX_ROWS } });
  await app.migrate();
  await sql`insert into sallyport_decisions (reference, at, event, verdict, user_id, repeats, details)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${sql.lit(MAX_ROWS + SURPLUS_ROWS)})
    select hex(randomblob(8)), ${storage.now} - i, 'message', 'denied', 'u' || (i * 7919 % ${sql.lit(USERS)}), 0,
      '{"steps":"' || hex(randomblob(300)) || '"}' from n`.execute(storage.db);
  statements.length = 0;
  commits.length = 0;
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const startedAt = performance.now();
  const { decisions } = await app.cleanup();
  const tookMs = performance.now() - startedAt;
  delay.disable();
  if (decisions !== SURPLUS_ROWS) throw new Error(`${decisions} of ${SURPLUS_ROWS} rows were removed.`);
  await app.close();
  await kysely.destroy();
  await rm(folder, { recursive: true, force: true });
  const longest = statements.sort((a, b) => b - a).slice(0, LONGEST);
  return [
    // The median, because a busy machine interrupts single statements.
    figure(`the ${LONGEST} longest statements of a sweep, median`, "ms", longest, 10),
    figure("longest statement", "ms", longest.slice(0, 1)),
    // Some commits write the log of SQLite to its file and wait for the disk.
    figure("longest commit", "ms", [Math.max(...commits)]),
    figure("longest delay of the event loop", "ms", [delay.max / 1e6]),
    figure(`removal of ${SURPLUS_ROWS} decisions of ${USERS} users`, "ms", [tookMs]),
  ];
}
