import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import type { Database } from "../../src/storage/database.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { World } from "../integration/world.ts";
import { sqlAt, storageAt } from "./database.ts";

const PGBOUNCER = process.env.PGBOUNCER_PATH ?? "/usr/sbin/pgbouncer";
const isHere = existsSync(PGBOUNCER);

/** Fewer server connections than clients, so each transaction can get another connection. */
const SERVER_CONNECTIONS = 3;

let folder: string;
let pooler: ChildProcess;
let source: string;
let schema: string;

beforeEach(async ({ skip }) => {
  if (!isHere) skip(`there is no pgbouncer at ${PGBOUNCER} (PGBOUNCER_PATH)`);
  folder = await mkdtemp(join(tmpdir(), "sallyport-pooler-"));
  await chmod(folder, 0o777);
  const [server, port] = [new URL(inject("postgres")), await freePort()];
  const name = server.pathname.slice(1);
  const target = `host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}`;
  await writeFile(
    join(folder, "pgbouncer.ini"),
    `[databases]
${name} = ${target} dbname=${name}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${SERVER_CONNECTIONS}
max_client_conn = 100
`,
  );
  const asRoot = process.getuid?.() === 0 ? ["-u", "postgres"] : [];
  pooler = spawn(PGBOUNCER, [...asRoot, join(folder, "pgbouncer.ini")], { stdio: "ignore" });
  await expect.poll(() => reaches(port)).toBe(true);
  schema = `pooled_${process.pid}_${Date.now()}`;
  source = `postgres://anybody@127.0.0.1:${port}/${name}?schema=${schema}`;
});
afterEach(async () => {
  if (!isHere) return;
  pooler.kill();
  await sqlAt(inject("postgres"), `drop schema if exists ${schema} cascade`);
  await rm(folder, { recursive: true, force: true });
});

function reaches(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

describe("behind a transaction pooler", () => {
  test("writes are serialized, although each transaction can use another connection", async () => {
    const storages = [storageAt(source), storageAt(source)];
    await storages[0]?.migrate();
    const key = "counted";
    const count = (index: number) =>
      storages[index % 2]?.transaction(async (db) => {
        const row = await db
          .selectFrom("sallyport_counters")
          .select("count")
          .where("key", "=", key)
          .executeTakeFirst();
        const values = { key, window_started_at: 0, count: (row?.count ?? 0) + 1 };
        await db
          .insertInto("sallyport_counters")
          .values(values)
          .onConflict((conflict) => conflict.column("key").doUpdateSet({ count: values.count }))
          .execute();
      });
    await Promise.all(Array.from({ length: 40 }, (_, index) => count(index)));
    const { rows } = await sql`select count from ${sql.table(`${schema}.sallyport_counters`)}`.execute(
      storages[0]?.db as never,
    );
    expect(rows).toEqual([{ count: 40 }]);
    for (const storage of storages) await storage.close();
  });

  test("a read that takes too long is canceled at the server", async () => {
    const storage = storageAt(source);
    const read = sql`select pg_sleep(61)`.execute(storage.db);
    await expect(read).rejects.toMatchObject({ code: "57014" });
    const running = "select 1 from pg_stat_activity where query = 'select pg_sleep(61)' and state = 'active'";
    expect(await sqlAt(inject("postgres"), running)).toEqual([]);
    await storage.close();
  });

  test("repeated statements work on any server connection, also in transactions", async () => {
    const storages = [storageAt(source), storageAt(source)];
    await storages[0]?.migrate();
    const read = (db: Database["db"]) =>
      db.selectFrom("sallyport_counters").where("key", "=", "a").select("count").execute();
    for (let round = 0; round < 10; round++) {
      const rows = await Promise.all(
        storages.flatMap((storage) => [
          read(storage.db),
          storage.transaction(read),
          storage.sharedTransaction(read),
          storage.execute(read),
        ]),
      );
      expect(rows).toEqual(Array(8).fill([]));
    }
    for (const storage of storages) await storage.close();
  });

  test("migrations of several processes run once, and leave no lock on an idle connection", async () => {
    for (let round = 0; round < 5; round++) {
      const storages = Array.from({ length: 6 }, () =>
        storageAt(source.replace(schema, `${schema}_${round}`)),
      );
      const ran = await Promise.all(storages.map((storage) => storage.migrate()));
      expect(ran.filter((names) => names.length > 0)).toHaveLength(1);
      for (const storage of storages) await storage.close();
      await sqlAt(inject("postgres"), `drop schema ${schema}_${round} cascade`);
    }
    // Other tests hold locks in transactions at the same time.
    // Only a lock of an idle connection is one that was left.
    const left =
      "select pid from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and state = 'idle'";
    await expect.poll(() => sqlAt(inject("postgres"), left)).toEqual([]);
  });

  test("users connect, send messages, and are disconnected after a revocation", async () => {
    const world = await World.open(
      { permissions: [chat], channels, views: { "/ws/chat": ChatView } },
      { source, drop: async () => undefined },
    );
    const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);
    await world.sallyport.access.grant({ group: "Crew" }, chat.can_use_chat);
    for (const user of users) await world.sallyport.access.users.addToGroup(user, "Crew");
    const sockets = await Promise.all(users.map((user) => world.connect(user, { channel: "rooms/general" })));
    await sockets[0]?.result("send_message", { message: "hello" });
    await Promise.all(sockets.map((socket) => socket.message("chat_message")));
    const phone = await world.connect("user-0:phone");
    await world.sallyport.access.users.removeFromGroup("user-1", "Crew");
    await sockets[1]?.closed;
    expect(phone.isClosed).toBe(false);
    await world.sallyport.access.revoke({ group: "Crew" }, chat.can_use_chat);
    await Promise.all([...sockets, phone].map((socket) => socket.closed));
    expect(await world.sallyport.listConnections()).toEqual([]);
    expect(world.errors).toEqual([]);
    await world.close();
  });
});
