import { sql } from "kysely";
import { expect, onTestFinished, test } from "vitest";
import { createSallyport } from "../../src/sallyport.ts";
import { emptyDatabase, isPostgres, sqlAt, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";

/** Creates an app with an empty database. */
async function app() {
  const database = await emptyDatabase();
  const storage = storageAt(database.source);
  const sallyport = createSallyport({
    storage,
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
  });
  onTestFinished(async () => {
    await sallyport.close();
    await database.drop();
  });
  return { database, storage, sallyport };
}

test("health() is unhealthy before migrate(), healthy afterwards, and writes no counter", async () => {
  const { sallyport, database } = await app();
  expect(await sallyport.health()).toMatchObject({
    isHealthy: false,
    why: expect.stringContaining("Run: npx sallyport migrate"),
  });
  await sallyport.migrate();
  const before = await sqlAt(database.source, "select key, count from sallyport_counters order by key");
  const checks = await Promise.all([1, 2, 3].map(() => sallyport.health()));
  expect(checks.map(({ isHealthy }) => isHealthy)).toEqual([true, true, true]);
  expect(await sqlAt(database.source, "select key, count from sallyport_counters order by key")).toEqual(
    before,
  );
});

test("health() is unhealthy only while a SQLite database does not accept writes", async ({ skip }) => {
  if (isPostgres) skip("test/postgres/lost-connections.test.ts has the same for PostgreSQL");
  const { sallyport, storage } = await app();
  await sallyport.migrate();
  await sql`pragma query_only = on`.execute(storage.db);
  expect(await sallyport.health()).toMatchObject({
    isHealthy: false,
    why: expect.stringContaining("SQLITE_READONLY"),
  });
  await sql`pragma query_only = off`.execute(storage.db);
  expect(await sallyport.health()).toMatchObject({ isHealthy: true });
});
