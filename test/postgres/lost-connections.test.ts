import { CompiledQuery, sql } from "kysely";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { startServer } from "../../bench/src/postgres-server.ts";
import { TcpProxy } from "../../bench/src/tcp-proxy.ts";
import { StorageError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { ChatView, channels, chat } from "../integration/chat.ts";
import { World } from "../integration/world.ts";
import { ownDatabase, sqlAt, type TestDatabase } from "./database.ts";
import { postgresDatabase } from "./storage-at.ts";

let own: TestDatabase;
let proxy: TcpProxy;
beforeEach(async () => {
  own = await ownDatabase();
  proxy = await TcpProxy.open(new URL(own.source));
});
afterEach(async () => {
  await proxy.close();
  await own.drop();
});

/** Opens a storage through the proxy. */
function storageOf(options: Parameters<typeof postgresDatabase>[1] = {}): Database {
  const storage = postgresDatabase(proxy.through(own.source), { poolSize: 4, listen: false, ...options });
  onTestFinished(() => storage.close());
  return storage;
}

const answers = async (storage: Database) =>
  (await sql<{ n: number }>`select 1 as n`.execute(storage.db)).rows;

/** Holds the writer lock over a connection without the proxy, and returns a function to release it. */
async function heldLock(): Promise<() => Promise<void>> {
  const storage = postgresDatabase(own.source, { poolSize: 2, listen: false });
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const hasLock = new Promise<void>((resolve, reject) => {
    const held = storage.db.connection().execute(async (db) => {
      const lock = "select pg_advisory_lock(hashtextextended('sallyport ' || current_schema(), 0))";
      await db.executeQuery(CompiledQuery.raw(lock));
      resolve();
      await released;
      await db.executeQuery(CompiledQuery.raw("select pg_advisory_unlock_all()"));
    });
    held.catch(reject).finally(() => storage.close());
  });
  await hasLock;
  return async () => release();
}

/** Returns the statements of this database that wait for a lock. */
const waiting = () =>
  sqlAt(
    own.source,
    "select 1 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
  );

describe("connections that the network forgets while statements are in flight", () => {
  test("are replaced, and the storage answers again", async () => {
    const storage = storageOf();
    const release = await heldLock();
    const writes = [1, 2, 3, 4].map(() => storage.transaction(async () => "written"));
    await expect.poll(waiting).toHaveLength(4);
    proxy.forget();
    await release();
    // Every connection of the pool waits for an answer that never arrives.
    expect(await Promise.all(writes)).toEqual(["written", "written", "written", "written"]);
    expect(await answers(storage)).toEqual([{ n: 1 }]);
  });

  test("are closed by close() without waiting for their answers", async () => {
    const storage = postgresDatabase(proxy.through(own.source), { poolSize: 4, listen: false });
    const reads = [1, 2, 3].map(() => sql`select pg_sleep(600)`.execute(storage.db));
    const ended = Promise.allSettled(reads);
    const sleeping = () =>
      sqlAt(own.source, "select pid from pg_stat_activity where query = 'select pg_sleep(600)'");
    await expect.poll(sleeping).toHaveLength(3);
    const pids = (await sleeping()) as { pid: number }[];
    proxy.forget();
    await storage.close();
    expect((await ended).map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    for (const { pid } of pids) await sqlAt(own.source, `select pg_terminate_backend(${pid})`);
  });

  test("do not prevent an app from closing", async () => {
    const world = await World.open(
      {
        permissions: [chat],
        channels,
        views: { "/ws/chat": ChatView },
        instances: 1,
        storage: () => postgresDatabase(proxy.through(own.source), { poolSize: 4 }),
      },
      { source: own.source, drop: async () => undefined },
    );
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    await ann.call("whoami");
    const release = await heldLock();
    const changes = Promise.allSettled(
      [1, 2, 3, 4].map((n) => world.sallyport.access.grant(`u${n}`, chat.can_use_chat)),
    );
    await expect.poll(waiting).toHaveLength(4);
    proxy.forget();
    await release();
    await world.close();
    await changes;
  });
});

describe("a statement that the server did not receive", () => {
  test("is sent when the server accepts connections again", async () => {
    const storage = storageOf();
    await answers(storage);
    await proxy.refuse();
    const reads = [1, 2, 3, 4, 5, 6].map(() => answers(storage));
    const write = storage.transaction(
      async (db) => (await sql<{ n: number }>`select 2 as n`.execute(db)).rows,
    );
    await expect.poll(() => storage.unreachable).toMatch(/ECONNREFUSED/);
    await proxy.listen();
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 6 }, () => [{ n: 1 }]));
    expect(await write).toEqual([{ n: 2 }]);
  });

  test("fails with a StorageError if the server refuses connections for a long time", async () => {
    const storage = storageOf();
    await proxy.refuse();
    const failure = await answers(storage).catch((error: unknown) => storage.failure(error));
    expect(failure).toBeInstanceOf(StorageError);
    expect(String(failure)).toMatch(/ECONNREFUSED/);
  });
});

test("a read is repeated on another connection if its connection breaks", async () => {
  const storage = storageOf();
  const read = sql<{ n: number }>`select 1 as n, pg_sleep(0.3)`.execute(storage.db);
  await expect
    .poll(() =>
      sqlAt(own.source, "select 1 from pg_stat_activity where query like 'select 1 as n, pg_sleep%'"),
    )
    .toHaveLength(1);
  proxy.cut();
  expect((await read).rows).toMatchObject([{ n: 1 }]);
});

test("a write is not repeated if its connection breaks while it runs", async () => {
  const storage = storageOf();
  await sqlAt(own.source, "create table written (n integer)");
  const write = storage.execute((db) => sql`insert into written select 1 from pg_sleep(0.3)`.execute(db));
  const failed = expect(write).rejects.toBeInstanceOf(StorageError);
  await expect
    .poll(() => sqlAt(own.source, "select 1 from pg_stat_activity where query like 'insert into written%'"))
    .toHaveLength(1);
  proxy.cut();
  await failed;
  await expect
    .poll(() =>
      sqlAt(
        own.source,
        "select 1 from pg_stat_activity where query like 'insert into written%' and state = 'active'",
      ),
    )
    .toEqual([]);
  expect((await sqlAt(own.source, "select * from written")).length).toBeLessThanOrEqual(1);
});

test("a connect opens one row and is accepted if the database connection breaks after the commit", async () => {
  const storage = storageOf();
  const app = createSallyport({
    storage,
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    allowMissingOrigin: true,
    authenticate: () => ({ userId: "ann" }),
  });
  onTestFinished(() => app.close());
  await app.migrate();
  const secret = "s".repeat(64);
  await app.registerGateway({ name: "test", endpoint: "http://127.0.0.1:9/dev", secret });
  await app.access.grant("ann", chat.can_use_chat);
  const issued = await app.fetch(new Request("http://test/api/ws-token", { method: "POST" }));
  const { token } = (await (issued as Response).json()) as { token: string };
  const headers = {
    connectionId: "AAAAAAAAAAAAAAA=",
    "x-sallyport-secret": secret,
    "x-sallyport-source-ip": "192.0.2.1",
  };
  const release = await heldLock();
  const connecting = app.fetch(
    new Request(`http://test/ws/chat/connect?ws_token=${token}`, { method: "POST", headers }),
  );
  await expect.poll(waiting).toHaveLength(1);
  proxy.dropAnswers();
  await release();
  const rows = () => sqlAt(own.source, "select user_id from sallyport_connections where closed_at is null");
  await expect.poll(rows).toEqual([{ user_id: "ann" }]);
  proxy.cut();
  expect((await connecting)?.status).toBe(200);
  expect(await rows()).toEqual([{ user_id: "ann" }]);
});

describe("while a server refuses connections", () => {
  test("messages wait and are answered, and onError is not called for each", async () => {
    const calls: unknown[] = [];
    const storage = postgresDatabase(proxy.through(own.source), { poolSize: 4 });
    const world = await World.open(
      {
        permissions: [chat],
        channels,
        views: { "/ws/chat": ChatView },
        instances: 1,
        storage: () => storage,
        onError: (error) => calls.push(error),
      },
      { source: own.source, drop: async () => undefined },
    );
    onTestFinished(() => world.close());
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    await proxy.refuse();
    const answered = Array.from({ length: 60 }, () => ann.call("whoami"));
    await expect.poll(() => storage.unreachable).toMatch(/ECONNREFUSED/);
    await proxy.listen();
    const statuses = (await Promise.all(answered)).map(({ status }) => status);
    expect(statuses).toEqual(Array.from({ length: 60 }, () => 200));
    expect(calls.length).toBeLessThan(5);
  });
});

describe("a server that became read-only", () => {
  /**
   * Starts a server and returns a function that makes its open connections read-only.
   * New connections are writable, as after a failover to another server.
   */
  async function failingOver(): Promise<{ url: string; failOver: () => Promise<void> }> {
    const server = await startServer();
    onTestFinished(() => server.stop());
    const failOver = async () => {
      await sqlAt(server.url, "alter role postgres set default_transaction_read_only = off");
      await sqlAt(server.url, "alter system set default_transaction_read_only = on");
      await sqlAt(server.url, "select pg_reload_conf()");
    };
    return { url: server.url, failOver };
  }

  /** Returns for a number of connections of a storage whether they are read-only. */
  const states = (storage: Database, count: number) =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const { rows } = await sql<{
          state: string;
        }>`select current_setting('transaction_read_only') as state, pg_sleep(0.05)`.execute(storage.db);
        return rows[0]?.state;
      }),
    );

  test("is abandoned at the first write, which uses a new connection", async ({ skip }) => {
    if (process.env.DATABASE_URL) skip("the settings of a server that is not the tests' own are not changed");
    const { url, failOver } = await failingOver();
    await sqlAt(url, "create table written (n integer)");
    const storages = (["transaction", "execute"] as const).map((write) => {
      const storage = postgresDatabase(url, { poolSize: 3, listen: false });
      onTestFinished(() => storage.close());
      return { write, storage };
    });
    for (const { storage } of storages) await states(storage, 3);
    await failOver();
    for (const { storage, write } of storages) {
      await expect.poll(() => states(storage, 3)).toEqual(["on", "on", "on"]);
      await storage[write]((db) => sql`insert into written values (1)`.execute(db));
      // The other connections of the pool are also replaced.
      expect(await states(storage, 3)).toEqual(["off", "off", "off"]);
    }
    expect(await sqlAt(url, "select n from written")).toEqual([{ n: 1 }, { n: 1 }]);
  });

  test("is also abandoned by connections that opened after the one that detects it", async ({ skip }) => {
    if (process.env.DATABASE_URL) skip("the settings of a server that is not the tests' own are not changed");
    const { url, failOver } = await failingOver();
    await sqlAt(url, "create table written (n integer)");
    const storage = postgresDatabase(url, { poolSize: 2, listen: false });
    onTestFinished(() => storage.close());
    await storage.db.connection().execute(async (first) => {
      const write = () => sql`insert into written values (1)`.execute(first);
      await write();
      await states(storage, 1);
      await failOver();
      await expect.poll(() => states(storage, 1)).toEqual(["on"]);
      await expect(write()).rejects.toMatchObject({ code: "25006" });
      expect(await states(storage, 1)).toEqual(["off"]);
    });
  });

  test("advances the host list once, for any number of idle connections", async ({ skip }) => {
    if (process.env.DATABASE_URL) skip("the settings of a server that is not the tests' own are not changed");
    const { url, failOver } = await failingOver();
    const proxies = await Promise.all([1, 2].map(() => TcpProxy.open(new URL(url))));
    onTestFinished(async () => {
      for (const one of proxies) await one.close();
    });
    const { username, password, pathname } = new URL(url);
    const hosts = proxies.map(({ port }) => `127.0.0.1:${port}`).join(",");
    const storage = postgresDatabase(`postgres://${username}:${password}@${hosts}${pathname}`, {
      poolSize: 3,
      listen: false,
    });
    onTestFinished(() => storage.close());
    await states(storage, 3);
    await failOver();
    await expect.poll(() => states(storage, 3)).toEqual(["on", "on", "on"]);
    await storage.transaction((db) => sql`create table written (n integer)`.execute(db));
    expect(proxies.map(({ accepted }) => accepted)).toEqual([3, 1]);
  });
});

test("a read that takes too long is canceled at the server, without effect on other connections", async () => {
  const storage = storageOf({ poolSize: 2 });
  const pid = async (db: Database["db"]) =>
    (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid;
  const idle = await storage.db.connection().execute(async (held) => {
    const slow = expect(sql`select pg_sleep(60) as slept`.execute(held)).rejects.toThrow(
      /did not finish a statement within \d+ ms/,
    );
    const other = await pid(storage.db);
    await slow;
    return other;
  });
  const slept = "select 1 from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'";
  expect(await sqlAt(own.source, slept)).toEqual([]);
  expect(await pid(storage.db)).toBe(idle);
  expect(proxy.accepted).toBe(3);
});

describe("while no server accepts writes", () => {
  test("token requests get 503, health() reports the reason, and both recover", async ({ skip }) => {
    if (process.env.DATABASE_URL) skip("the settings of a server that is not the tests' own are not changed");
    const server = await startServer();
    onTestFinished(() => server.stop());
    const writing = new URL(server.url);
    writing.searchParams.set("options", "-c default_transaction_read_only=off");
    const sallyport = createSallyport({
      storage: postgresDatabase(server.url, { poolSize: 2, listen: false }),
      permissions: [chat],
      channels,
      views: { "/ws/chat": ChatView },
      allowMissingOrigin: true,
      authenticate: () => ({ userId: "ann" }),
      healthPath: "/healthz",
      onError: () => undefined,
    });
    onTestFinished(() => sallyport.close());
    await sallyport.migrate();
    expect(await sallyport.health()).toMatchObject({ isHealthy: true });
    await sqlAt(writing.href, "alter system set default_transaction_read_only = on");
    await sqlAt(writing.href, "select pg_reload_conf()");
    await expect
      .poll(() => sallyport.health())
      .toMatchObject({ isHealthy: false, why: expect.stringContaining("does not accept writes") });
    const token = new Request("http://here/api/ws-token", { method: "POST" });
    expect((await sallyport.fetch(token))?.status).toBe(503);
    await expect(sallyport.access.grant("ann", chat.can_use_chat)).rejects.toThrow(/25006/);
    await sqlAt(writing.href, "alter system reset default_transaction_read_only");
    await sqlAt(writing.href, "select pg_reload_conf()");
    await expect.poll(() => sallyport.health()).toMatchObject({ isHealthy: true });
    const healthz = async () => (await sallyport.fetch(new Request("http://here/healthz")))?.status;
    await expect.poll(healthz).toBe(200);
    expect((await sallyport.fetch(new Request(token)))?.status).toBe(200);
    expect(await sqlAt(writing.href, "select key from sallyport_counters where key like 'check%'")).toEqual(
      [],
    );
  });
});

describe("a connection string with several hosts", () => {
  test("connects to a reachable host", async () => {
    const url = new URL(own.source);
    // Nothing listens on port 1.
    const hosts = `127.0.0.1:1,127.0.0.1:${proxy.port}`;
    const source = `postgres://${url.username}:${url.password}@${hosts}${url.pathname}`;
    const storage = postgresDatabase(source, { listen: false });
    onTestFinished(() => storage.close());
    expect(await answers(storage)).toEqual([{ n: 1 }]);
    expect(proxy.accepted).toBe(1);
  });

  test("connects to another host if the first one refuses connections", async () => {
    const other = await TcpProxy.open(new URL(own.source));
    onTestFinished(() => other.close());
    const url = new URL(own.source);
    const hosts = `127.0.0.1:${proxy.port},127.0.0.1:${other.port}`;
    const storage = postgresDatabase(
      `postgres://${url.username}:${url.password}@${hosts}${url.pathname}?target_session_attrs=read-write`,
      { listen: false },
    );
    onTestFinished(() => storage.close());
    await answers(storage);
    expect([proxy.accepted, other.accepted]).toEqual([1, 0]);
    await proxy.refuse();
    expect(await answers(storage)).toEqual([{ n: 1 }]);
    expect(other.accepted).toBe(1);
  });

  test.each([
    ["postgres://a,b/db?target_session_attrs=standby", /target_session_attrs must be read-write or primary/],
    ["postgres://a,,b/db", /names a server/],
  ])("rejects %s", (source, words) => {
    expect(() => postgresDatabase(source)).toThrow(words);
  });
});

describe("a password that rotates", () => {
  test("is requested for each new connection", async () => {
    const url = new URL(own.source);
    const password = decodeURIComponent(url.password);
    url.password = "";
    const requests: unknown[] = [];
    let current = password;
    const storage = postgresDatabase(url.href, {
      listen: false,
      password: async (server) => {
        requests.push(server);
        return current;
      },
    });
    onTestFinished(() => storage.close());
    expect(await answers(storage)).toEqual([{ n: 1 }]);
    expect(requests).toEqual([
      { host: url.hostname, port: Number(url.port), user: "postgres", database: url.pathname.slice(1) },
    ]);
    current = "expired";
    const busy = sql`select pg_sleep(0.2)`.execute(storage.db);
    const failure = await answers(storage).catch((error: unknown) => storage.failure(error));
    expect(String(failure)).toMatch(/28P01/);
    await busy;
  });

  test("that cannot be read causes a StorageError with the reason", async () => {
    const url = new URL(inject("postgres"));
    url.password = "";
    const storage = postgresDatabase(url.href, {
      listen: false,
      password: async () => {
        throw new Error("no role");
      },
    });
    onTestFinished(() => storage.close());
    const failure = await answers(storage).catch((error: unknown) => storage.failure(error));
    expect(failure).toBeInstanceOf(StorageError);
    expect(String(failure)).toMatch(/password\(\).*no role/);
  });

  test("is rejected together with a password in the connection string", () => {
    expect(() => postgresDatabase("postgres://app:secret@db/app", { password: async () => "x" })).toThrow(
      /the connection string contains a password/,
    );
  });
});
