import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { openDatabase } from "./database.js";
import { startServer } from "./postgres-server.js";

/**
 * Measures cold starts, in milliseconds.
 *
 * `import` is the time to import `sallyport` in a new process. Its baseline is the import of
 * Kysely. `cold-function-postgres` is the time to the first response of a Lambda function on
 * PostgreSQL. Its baseline is `pg` with one statement.
 */
export async function imports(): Promise<readonly Comparison[]> {
  const timeOf = (name: string) => async () =>
    Number(
      execFileSync(
        process.execPath,
        [
          "--input-type=module",
          "-e",
          `const startedAt = performance.now(); await import("${name}"); console.log(performance.now() - startedAt);`,
        ],
        { encoding: "utf8", cwd: import.meta.dirname },
      ),
    );
  return [
    await compare(
      "import",
      "ms",
      { sallyport: timeOf("sallyport"), baseline: timeOf("kysely") },
      { rounds: 9, goal: { max: 60, of: "value" } },
    ),
    await coldFunction(),
  ];
}

async function coldFunction(): Promise<Comparison> {
  const server = await startServer();
  const storage = openDatabase(server.url);
  const app = benchApp(storage);
  await prepareDatabase(app, storage);
  await app.registerGateway({ name: "bench", endpoint: "https://bench.example/dev", apiId: "bench" });
  await insertConnections(storage, 1, 1);
  const timeOf = (variant: string) => async () =>
    Number(
      execFileSync(process.execPath, [join(import.meta.dirname, "cold-function.js"), variant, server.url], {
        encoding: "utf8",
        env: { ...process.env, CONNECTION: connectionIdAt(1) },
      }),
    );
  const variants = { sallyport: timeOf("sallyport"), baseline: timeOf("baseline") };
  try {
    return await compare("cold-function-postgres", "ms", variants, { rounds: 9 });
  } finally {
    await app.close();
    await server.stop();
  }
}
