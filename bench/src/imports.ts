import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { benchApp, connectionOf, openSessions, prepare } from "./bench-app.js";
import { storageOf } from "./event-app.js";
import { pair, type Row } from "./pairs.js";
import { startServer } from "./postgres-server.js";

/**
 * How long a fresh process takes to import the core, against Kysely alone, which the core stands on; and to answer its first event as a
 * function on PostgreSQL, against `pg` alone with one statement.
 */
export async function imports(): Promise<readonly Row[]> {
  const timeOf = (name: string) => async () =>
    Number(
      execFileSync(
        process.execPath,
        [
          "--input-type=module",
          "-e",
          `const begun = performance.now(); await import("${name}"); console.log(performance.now() - begun);`,
        ],
        { encoding: "utf8", cwd: import.meta.dirname },
      ),
    );
  return [
    await pair(
      "import",
      "ms",
      { ours: timeOf("sallyport"), floor: timeOf("kysely") },
      { rounds: 9, promise: { most: 60, of: "value" } },
    ),
    await coldFunction(),
  ];
}

async function coldFunction(): Promise<Row> {
  const server = await startServer();
  const storage = storageOf(server.url);
  const app = benchApp(storage);
  await prepare(app, storage);
  await app.registerGateway({ name: "bench", endpoint: "https://bench.example/dev", apiId: "bench" });
  await openSessions(storage, 1, 1);
  const timeOf = (what: string) => async () =>
    Number(
      execFileSync(process.execPath, [join(import.meta.dirname, "cold-function.js"), what, server.url], {
        encoding: "utf8",
        env: { ...process.env, CONNECTION: connectionOf(1) },
      }),
    );
  const ways = { ours: timeOf("ours"), floor: timeOf("bare") };
  try {
    return await pair("cold-function-postgres", "ms", ways, { rounds: 9 });
  } finally {
    await app.close();
    await server.stop();
  }
}
