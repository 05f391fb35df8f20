import { CompiledQuery, Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { afterEach, beforeEach, expect, inject, onTestFinished, test, vi } from "vitest";
import { startServer } from "../../bench/src/postgres-server.ts";
import { StorageError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { NamedStatements } from "../../src/storage/named-statements.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { World } from "../integration/world.ts";
import { databaseTime, emptyDatabase, ownDatabase, searching, sqlAt, type TestDatabase } from "./database.ts";
import { postgresDatabase } from "./storage-at.ts";

let database: TestDatabase;
const opened: { close(): Promise<unknown> }[] = [];
beforeEach(async () => {
  database = await emptyDatabase();
});
afterEach(async () => {
  vi.useRealTimers();
  for (const one of opened.splice(0)) await one.close();
  await database.drop();
});

function app(storage: Database) {
  const sallyport = createSallyport({
    storage,
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => null,
  });
  opened.push(sallyport);
  return sallyport;
}

const tablesIn = (schema: string) =>
  sqlAt(
    inject("postgres"),
    `select table_name from information_schema.tables where table_schema = '${schema}' order by table_name`,
  ) as Promise<{ table_name: string }[]>;

test("one of several instances migrates an empty database, and all of them work afterwards", async () => {
  const instances = Array.from({ length: 5 }, () => app(postgresDatabase(searching(database.source))));
  const done = await Promise.all(instances.map((instance) => instance.migrate()));
  expect(done.filter(({ migrations }) => migrations.length > 0)).toHaveLength(1);
  for (const instance of instances) await instance.access.grant("ann", chat.can_use_chat);
  expect(await instances[0]?.access.audit.list()).toHaveLength(1);
});

test("the schema option keeps all tables in one schema, separate from other schemas", async () => {
  const schemas = ["one", "two"].map((name) => `${name}_${process.pid}_${Date.now()}`);
  const [one, two] = schemas.map((schema) => app(postgresDatabase(inject("postgres"), { schema })));
  await Promise.all([one?.migrate(), two?.migrate()]);
  await one?.access.grant("ann", chat.can_use_chat);
  await one?.access.groups.delete("nobody's");
  expect(await one?.access.users.hasPermission("ann", chat.can_use_chat)).toBe(true);
  expect(await two?.access.users.hasPermission("ann", chat.can_use_chat)).toBe(false);
  expect(await two?.access.audit.list()).toEqual([]);
  const [first, second] = [await tablesIn(schemas[0] as string), await tablesIn(schemas[1] as string)];
  expect(first).toEqual(second);
  expect(first.map(({ table_name }) => table_name)).toContain("sallyport_migrations");
  expect((await tablesIn("public")).filter(({ table_name }) => table_name.startsWith("sallyport"))).toEqual(
    [],
  );
  expect(await one?.migrate()).toMatchObject({ migrations: [], added: [] });
  for (const schema of schemas) await sqlAt(inject("postgres"), `drop schema ${schema} cascade`);
});

test("migrates a database that is up to date as a role without the CREATE privilege", async () => {
  const schema = new URL(database.source).searchParams.get("schema") as string;
  const role = `${schema}_app`;
  await app(postgresDatabase(searching(database.source))).migrate();
  await sqlAt(
    database.source,
    `create role ${role} login password 'app'; grant usage on schema ${schema} to ${role}; grant select on all tables in schema ${schema} to ${role}`,
  );
  opened.push({ close: () => sqlAt(database.source, `drop owned by ${role}; drop role ${role}`) });
  const url = new URL(searching(database.source));
  Object.assign(url, { username: role, password: "app" });
  const named = new URL(url);
  named.searchParams.delete("options");
  for (const storage of [postgresDatabase(url.href), postgresDatabase(named.href, { schema })]) {
    opened.unshift(storage);
    expect(await storage.migrate()).toEqual([]);
  }
});

test("migrate() ignores tables of another schema, and rejects a search path without a schema", async () => {
  const { migrations } = await app(postgresDatabase(searching(database.source))).migrate();
  expect(migrations.length).toBeGreaterThan(0);
  const other = await emptyDatabase();
  opened.push({ close: other.drop });
  expect(await app(postgresDatabase(searching(other.source))).migrate()).toMatchObject({ migrations });
  const nowhere = new URL(searching(database.source));
  nowhere.searchParams.set("options", "-c search_path=nowhere");
  await expect(app(postgresDatabase(nowhere.href)).migrate()).rejects.toThrow(
    /search path names no schema that exists/,
  );
});

test("a Kysely instance of the app is not closed, and bigints are returned as numbers", async () => {
  const pool = new pg.Pool({ connectionString: searching(database.source) });
  const own = new Kysely<Record<string, never>>({ dialect: new PostgresDialect({ pool }) });
  const sallyport = app(postgresDatabase(own));
  await sallyport.migrate();
  const until = Date.now() + 60_000;
  const before = await databaseTime(database.source);
  await sallyport.access.grant("ann", chat.can_use_chat, { until });
  const [entry] = await sallyport.access.audit.list();
  expect(before <= (entry?.at ?? 0) && (entry?.at ?? 0) <= (await databaseTime(database.source))).toBe(true);
  expect(entry).toMatchObject({ number: expect.any(Number), details: { until } });
  expect((await sallyport.access.users.get("ann"))?.grants).toMatchObject([{ until }]);
  const whole = (await sqlAt(
    database.source,
    "select distinct column_name as name from information_schema.columns where table_schema = current_schema() and data_type = 'bigint'",
  )) as { name: string }[];
  expect(whole.length).toBeGreaterThan(10);
  const { db } = postgresDatabase(own);
  for (const { name } of whole) {
    const { rows } = await sql`select 1::bigint as ${sql.ref(name)}`.execute(db);
    expect(rows).toEqual([{ [name]: 1 }]);
  }
  await sallyport.close();
  // Queries of the app itself still return bigints as text.
  expect((await sql`select 1::bigint as one`.execute(own)).rows).toEqual([{ one: "1" }]);
  await own.destroy();
});

test.each([
  [{ schema: "Robert'); drop" }, /schema must be a schema name: 1 to 63 lower-case letters/],
  [{ schema: "" }, /schema must be a schema name: 1 to 63 lower-case letters/],
  [{ poolSize: 1 }, /poolSize must be a whole number of connections from 2/],
  [{ poolSize: 2.5 }, /poolSize must be a whole number of connections from 2/],
])("an invalid option is rejected immediately: %j", (options, words) => {
  expect(() => postgresDatabase("postgres://nowhere/none", options)).toThrow(words);
});

test("without tables the error contains the command to run", async () => {
  await expect(
    app(postgresDatabase(searching(database.source))).access.grant("ann", chat.can_use_chat),
  ).rejects.toMatchObject({
    code: "SALLYPORT_NOT_MIGRATED",
    message: expect.stringContaining("npx sallyport migrate"),
  });
});

test("an unreachable server, a missing database or a wrong password causes 503 with the reason", async () => {
  const given = new URL(inject("postgres"));
  const elsewhere = (change: (url: URL) => void) => {
    const url = new URL(given);
    change(url);
    return app(postgresDatabase(url.href)).access.users.hasPermission("ann", chat.can_use_chat);
  };
  const lost = { code: "SALLYPORT_STORAGE", status: 503 };
  await expect(
    elsewhere((url) => {
      url.port = "1";
    }),
  ).rejects.toMatchObject({ ...lost, message: expect.stringContaining("ECONNREFUSED") });
  await expect(
    elsewhere((url) => {
      url.pathname = "/nowhere";
    }),
  ).rejects.toMatchObject({ ...lost, message: expect.stringContaining("3D000") });
  await expect(
    elsewhere((url) => {
      url.password = "wrong";
    }),
  ).rejects.toMatchObject({ ...lost, message: expect.stringContaining("28P01") });
});

/** Returns a statement that fails with an error code. */
const raising = (code: string) =>
  `do $$ begin raise exception 'made to fail' using errcode = '${code}'; end $$`;

test("a write is retried after a conflict or a lost connection, and commits once", async () => {
  const storage = postgresDatabase(searching(database.source));
  opened.push(storage);
  await sqlAt(database.source, "create table made (id integer)");
  for (const code of ["40001", "40P01", "57P01", "08006"]) {
    let attempts = 0;
    await storage.transaction(async (db) => {
      attempts++;
      await sql`insert into made values (1)`.execute(db);
      if (attempts < 3) await db.executeQuery(CompiledQuery.raw(raising(code)));
    });
    expect([code, attempts]).toEqual([code, 3]);
  }
  let attempts = 0;
  await storage.transaction(async (db) => {
    await sql`insert into made values (1)`.execute(db);
    if (++attempts === 1) await sql`select pg_terminate_backend(pg_backend_pid())`.execute(db);
  });
  expect(attempts).toBe(2);
  expect(await sqlAt(database.source, "select count(*) from made")).toEqual([{ count: 5 }]);
});

test("an error in a statement of the app is not retried, and is returned unchanged", async () => {
  const storage = postgresDatabase(searching(database.source));
  opened.push(storage);
  await sqlAt(database.source, "create table single (id integer primary key)");
  let attempts = 0;
  const twice = storage.transaction(async (db) => {
    attempts++;
    await sql`insert into single values (1), (1)`.execute(db);
  });
  await expect(twice).rejects.toMatchObject({ code: "23505" });
  await expect(twice).rejects.not.toBeInstanceOf(StorageError);
  expect(attempts).toBe(1);
});

test("a write is not retried if its connection is lost during the commit", async () => {
  const storage = postgresDatabase(searching(database.source));
  opened.push(storage);
  await sqlAt(
    database.source,
    `create table slow (id integer);
    create function wait() returns trigger language plpgsql as 'begin perform pg_sleep(30); return null; end';
    create constraint trigger waits after insert on slow deferrable initially deferred for each row execute function wait()`,
  );
  let [attempts, pid] = [0, 0];
  const writing = storage.transaction(async (db) => {
    attempts++;
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
    pid = rows[0]?.pid ?? 0;
    await sql`insert into slow values (1)`.execute(db);
  });
  const committing = async () =>
    sqlAt(
      inject("postgres"),
      `select pg_terminate_backend(pid) from pg_stat_activity where query = 'commit' and state = 'active' and pid = ${pid}`,
    );
  const ended = expect(writing).rejects.toMatchObject({ code: "SALLYPORT_STORAGE", status: 503 });
  await expect.poll(committing).toHaveLength(1);
  await ended;
  expect(attempts).toBe(1);
});

test("a poll detects a permission change of another process, once", async () => {
  const mine = postgresDatabase(searching(database.source));
  const other = app(postgresDatabase(searching(database.source)));
  opened.push(mine);
  await other.migrate();
  for (let round = 0; round < 2; round++) {
    await mine.pollExternalChanges();
    expect(await mine.pollExternalChanges()).toBe(false);
    await other.access.grant(`user-${round}`, chat.can_use_chat);
    expect(await mine.pollExternalChanges()).toBe(true);
  }
});

test("writes are serialized, and no increment is lost", async () => {
  const storages = [
    postgresDatabase(searching(database.source)),
    postgresDatabase(searching(database.source)),
  ];
  opened.push(...storages);
  await sqlAt(database.source, "create table counted (n integer); insert into counted values (0)");
  const count = (storage: Database) =>
    storage.transaction(async (db) => {
      const { rows } = await sql<{ n: number }>`select n from counted`.execute(db);
      await sql`update counted set n = ${(rows[0]?.n ?? 0) + 1}`.execute(db);
    });
  await Promise.all(Array.from({ length: 40 }, (_, index) => count(storages[index % 2] as Database)));
  expect(await sqlAt(database.source, "select n from counted")).toEqual([{ n: 40 }]);
});

test("writes that change no permissions run concurrently, and a permission change waits for them", async () => {
  const own = await ownDatabase();
  onTestFinished(() => own.drop());
  const storages = [1, 2, 3].map(() => postgresDatabase(own.source));
  opened.push(...storages);
  const [one, two, three] = storages as [Database, Database, Database];
  const order: string[] = [];
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const first = one.sharedTransaction(async (db) => {
    await sql`select 1`.execute(db);
    order.push("first began");
    await held;
    order.push("first ended");
  });
  await expect.poll(() => order).toEqual(["first began"]);
  await two.sharedTransaction(async () => void order.push("beside it"));
  const change = three.transaction(async () => void order.push("change"));
  const waiting = async () =>
    sqlAt(
      own.source,
      `select 1 from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())`,
    );
  await expect.poll(waiting).not.toEqual([]);
  const later = two.sharedTransaction(async () => void order.push("later"));
  release();
  await Promise.all([first, change, later]);
  expect(order).toEqual(["first began", "beside it", "first ended", "change", "later"]);
});

test("of concurrent connects with one connection id one succeeds, and disconnect() runs once", async () => {
  const left: string[] = [];
  class RecordingView extends ChatView {
    override disconnect = ({ connection }: { connection: { id: string } }) => void left.push(connection.id);
  }
  const world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": RecordingView } });
  opened.push(world);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const headers = (connectionId: string) => ({
    connectionId,
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "192.0.2.1",
    cookie: "login=ann:login-of-ann",
    origin: "https://www.example.com",
  });
  for (let round = 0; round < 5; round++) {
    const id = `AAAAAAAAAAAAAA${round}=`;
    const tokens = await Promise.all(Array.from({ length: 4 }, () => world.token("ann")));
    const connects = await Promise.all(
      tokens.map((token) => world.event(`/ws/chat/connect?ws_token=${token}`, headers(id))),
    );
    expect(connects.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400]);
    await Promise.all([1, 2, 3, 4].map(() => world.event("/ws/chat/disconnect", headers(id))));
    expect(left).toHaveLength(round + 1);
  }
  expect(world.errors).toEqual([]);
});

test("a rehearsed transaction is rolled back", async () => {
  const storage = postgresDatabase(searching(database.source));
  opened.push(storage);
  await sqlAt(database.source, "create table played (n integer)");
  const seen = await storage.rollbackTransaction(async (db) => {
    await sql`insert into played values (1)`.execute(db);
    return (await sql`select n from played`.execute(db)).rows;
  });
  expect(seen).toEqual([{ n: 1 }]);
  expect(await sqlAt(database.source, "select n from played")).toEqual([]);
});

test("an exhausted pool causes 503, and works again when a connection is free", async () => {
  const storage = postgresDatabase(searching(database.source), { poolSize: 2 });
  const sallyport = app(storage);
  await sallyport.migrate();
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held = [1, 2].map(() => storage.db.connection().execute(() => released));
  await expect(sallyport.access.users.hasPermission("ann", chat.can_use_chat)).rejects.toMatchObject({
    status: 503,
    message: expect.stringContaining("timeout"),
  });
  release();
  await Promise.all(held);
  expect(await sallyport.access.users.hasPermission("ann", chat.can_use_chat)).toBe(false);
});

test("losing all database connections at once loses no client connection and no answer", async () => {
  const own = await ownDatabase();
  const world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": ChatView } }, own);
  opened.push(world);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  for (let round = 0; round < 3; round++) {
    const ended = (await sqlAt(
      own.source,
      "select pid, pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and state = 'idle' and datname = current_database()",
    )) as { pid: number }[];
    expect(ended).not.toEqual([]);
    const pids = ended.map(({ pid }) => pid).join(", ");
    // The process notices the loss once the server has closed the connections and answered again.
    await expect
      .poll(() => sqlAt(own.source, `select 1 from pg_stat_activity where pid in (${pids})`))
      .toEqual([]);
    expect(await ann.call("whoami")).toMatchObject({ ok: true });
  }
  expect(await world.sallyport.listConnections({ user: "ann" })).toHaveLength(1);
});

test("a server restart under load causes only 200 or 503, and loses no connection", async ({ skip }) => {
  if (process.env.DATABASE_URL) skip("a server that is not the tests' own is not restarted");
  const server = await startServer();
  opened.push({ close: () => server.stop() });
  const world = await World.open(
    { permissions: [chat], channels, views: { "/ws/chat": ChatView } },
    { source: server.url, drop: async () => undefined },
  );
  opened.unshift(world);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const [ann, eve] = [await world.connect("ann"), await world.connect("ann")];
  const statuses = new Set<unknown>();
  let isOver = false;
  const load = (async () => {
    while (!isOver) {
      const { status } = await ann.call("whoami");
      statuses.add(status);
    }
  })();
  await server.restart();
  await expect.poll(async () => (await ann.call("whoami")).status).toBe(200);
  isOver = true;
  await load;
  expect([...statuses].filter((status) => status !== 200 && status !== 503)).toEqual([]);
  expect(await world.sallyport.listConnections({ user: "ann" })).toHaveLength(2);
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect((await eve.closed).code).toBe(1000);
  world.errors.length = 0;
});

/** Returns the named statements of a connection of the storage. */
async function namedOn(
  storage: Database,
): Promise<readonly { name: string; statement: string; plans: number }[]> {
  const { rows } = await sql<{ name: string; statement: string; plans: number }>`
    select name, statement, (generic_plans + custom_plans)::int as plans from pg_prepared_statements`.execute(
    storage.db,
  );
  return rows.filter(({ statement }) => /^select \*.*"sallyport_counters"/.test(statement));
}

const counter = (storage: Database, key: string) =>
  storage.db.selectFrom("sallyport_counters").selectAll().where("key", "=", key).execute();

test("a repeated statement keeps its name and its plan for one minute", async () => {
  const storage = postgresDatabase(searching(database.source), { poolSize: 2 });
  await app(storage).migrate();
  await storage.db.connection().execute(async (db) => {
    const one = Object.assign(Object.create(storage), { db }) as Database;
    for (let times = 0; times < 10; times++) await counter(one, "a");
    const before = await namedOn(one);
    expect(before).toMatchObject([{ plans: 7 }]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    await counter(one, "a");
    await counter(one, "a");
    const after = await namedOn(one);
    expect(after).toMatchObject([{ plans: 2 }]);
    expect(after[0]?.name).not.toBe(before[0]?.name);
  });
});

test("a table is read after its columns changed, also in a transaction", async () => {
  const storage = postgresDatabase(searching(database.source), { poolSize: 2 });
  await app(storage).migrate();
  const read = (db: Database["db"]) => counter(Object.assign(Object.create(storage), { db }), "a");
  const both = () => Promise.all([read(storage.db), read(storage.db)]);
  for (let times = 0; times < 5; times++) await both();
  await sqlAt(searching(database.source), "alter table sallyport_counters add column more text");
  expect(await both()).toEqual([[], []]);
  for (let times = 0; times < 5; times++) await both();
  await sqlAt(searching(database.source), "alter table sallyport_counters drop column more");
  expect(await Promise.all([storage.transaction(read), storage.transaction(read)])).toEqual([[], []]);
});

test("a transaction of a frozen process is rolled back, so that other writers continue", async () => {
  const [frozen, other] = [1, 2].map(() => postgresDatabase(searching(database.source))) as [
    Database,
    Database,
  ];
  await app(frozen).migrate();
  opened.push(other);
  const count = (key: string) => (db: Database["db"]) =>
    db.insertInto("sallyport_counters").values({ key, window_started_at: 0, count: 1 }).execute();
  let resume: () => void = () => undefined;
  const freeze = new Promise<void>((resolve) => {
    resume = resolve;
  });
  let isFrozen = false;
  const writing = frozen.transaction(async (db) => {
    await count("frozen")(db);
    isFrozen = true;
    await freeze;
  });
  await expect.poll(() => isFrozen).toBe(true);
  await other.transaction(count("other"));
  const keys = () => sqlAt(searching(database.source), "select key from sallyport_counters order by key");
  expect(await keys()).toEqual([{ key: "other" }]);
  resume();
  await expect(writing).rejects.toThrow(StorageError);
  expect(await keys()).toEqual([{ key: "other" }]);
});

test("a connection keeps at most 200 named statements, at the server and at the client", async () => {
  const client = new pg.Client({ connectionString: searching(database.source) });
  opened.push({ close: () => client.end() });
  await client.connect();
  new NamedStatements().watch(client as never);
  for (let statement = 0; statement < 300; statement++) {
    for (let times = 0; times < 5; times++)
      await client.query(`select $1::int as "column ${statement}"`, [times]);
  }
  const { rows } = await client.query("select name from pg_prepared_statements");
  expect(rows.length).toBeGreaterThan(100);
  expect(rows.length).toBeLessThanOrEqual(200);
  const { parsedStatements } = (client as unknown as { connection: { parsedStatements: object } }).connection;
  expect(Object.keys(parsedStatements).sort()).toEqual(rows.map(({ name }) => name).sort());
});

test("a schema can be migrated while others of the same database are dropped", async () => {
  const names = (round: number) =>
    Array.from({ length: 4 }, (_, n) => `beside_${process.pid}_${Date.now()}_${round}_${n}`);
  const dropped = async (schemas: readonly string[]) => {
    for (const schema of schemas) await sqlAt(inject("postgres"), `drop schema ${schema} cascade`);
  };
  let before: readonly string[] = [];
  for (let round = 0; round < 4; round++) {
    const schemas = names(round);
    const storages = schemas.map((schema) => postgresDatabase(inject("postgres"), { schema, poolSize: 3 }));
    const done = Promise.all(storages.map((storage) => storage.migrate()));
    await dropped(before);
    const [first = [], ...others] = await done;
    expect(first).toContain("0001_baseline");
    expect(others).toEqual([first, first, first]);
    for (const storage of storages) await storage.close();
    before = schemas;
  }
  await dropped(before);
});
