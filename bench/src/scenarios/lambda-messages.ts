import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { lambdaHandler } from "sallyport/adapters/lambda";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase } from "../bench-app.js";
import { postgresDatabase } from "../database.js";
import { type Figure, figure, p99 } from "../figures.js";
import { startServer } from "../postgres-server.js";

const MESSAGES = 500;

/** Counts the statements of a message in a warm Lambda function on PostgreSQL, and those that write. */
export async function lambdaMessages(): Promise<readonly Figure[]> {
  const server = await startServer();
  const statements: string[] = [];
  const kysely = new Kysely<never>({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: server.url, max: 2 }) }),
    log: ({ query }) => void statements.push(query.sql),
  });
  const storage = postgresDatabase(kysely);
  const app = benchApp(storage);
  await prepareDatabase(app, storage);
  await app.registerGateway({ name: "bench", endpoint: "https://bench.example/dev", apiId: "bench" });
  await insertConnections(storage, 1, 1);
  const handle = lambdaHandler(app);
  const message = async () => {
    const { statusCode, body } = await handle({
      requestContext: {
        eventType: "MESSAGE",
        routeKey: "$default",
        connectionId: connectionIdAt(1),
        apiId: "bench",
        stage: "dev",
      },
      body: '{"handler":"ping"}',
    });
    if (statusCode !== 200) throw new Error(`A message failed: ${statusCode} ${body}`);
  };
  await message();
  const counts: number[] = [];
  let writes = 0;
  const times: number[] = [];
  for (let n = 0; n < MESSAGES; n++) {
    statements.length = 0;
    const startedAt = performance.now();
    await message();
    times.push(performance.now() - startedAt);
    counts.push(statements.length);
    writes += statements.filter((text) => /^(insert|update|delete|with)\b/i.test(text)).length;
  }
  await app.close();
  await kysely.destroy();
  await server.stop();
  const all = counts.reduce((sum, count) => sum + count, 0);
  return [
    figure("statements of a message, median", "", counts, 1),
    figure("statements per message, average", "", [all / MESSAGES]),
    figure("messages with a write", "%", [(100 * writes) / MESSAGES]),
    figure("message, p99", "ms", [p99(times)]),
  ];
}
