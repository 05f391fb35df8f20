import { sql } from "kysely";
import { expect, onTestFinished, test } from "vitest";
import { StorageError } from "../../src/errors.ts";
import type { Database } from "../../src/storage/database.ts";
import { isPostgres, storageAt } from "../postgres/database.ts";
import { openChat } from "./chat.ts";

test("a disconnect on a read-only SQLite database is recorded when the database accepts writes", async ({
  skip,
}) => {
  if (isPostgres) skip("test/postgres/database-away.test.ts has the same for PostgreSQL");
  let storage: Database | undefined;
  const world = await openChat(["ann"], {
    storage: (source) => {
      storage = storageAt(source);
      return storage;
    },
  });
  onTestFinished(() => world.close());
  const { db } = storage as unknown as Database;
  const ann = await world.connect("ann", { channel: "rooms/a" });
  const disconnectedAt = async () =>
    (
      (await world.sql("select disconnected_at from sallyport_connections")) as {
        disconnected_at: number | null;
      }[]
    ).map((row) => row.disconnected_at);

  await sql`pragma query_only = on`.execute(db);
  ann.close();
  await expect.poll(() => world.errors.length).toBeGreaterThan(0);
  expect(world.errors.every((error) => error instanceof StorageError)).toBe(true);
  expect(await disconnectedAt()).toEqual([null]);

  await sql`pragma query_only = off`.execute(db);
  await expect.poll(disconnectedAt).toEqual([expect.any(Number)]);
});
