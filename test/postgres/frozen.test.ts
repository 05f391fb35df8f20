import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, inject, test, vi } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { postgresDatabase } from "./storage-at.ts";

/** A TCP proxy between the app and the server that can drop connections without closing them. */
class DroppingProxy {
  readonly #server: Server;
  readonly #pairs: (readonly [Socket, Socket])[] = [];
  accepted = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(target: URL): Promise<DroppingProxy> {
    const server = createServer();
    const proxy = new DroppingProxy(server);
    server.on("connection", (client) => {
      proxy.accepted++;
      const backend = dial(Number(target.port), target.hostname);
      proxy.#pairs.push([client, backend]);
      client.pipe(backend).pipe(client);
      for (const socket of [client, backend]) socket.on("error", () => undefined);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Closes the connections to the server and keeps those of the app open, without any data. */
  forget(): void {
    for (const [client, backend] of this.#pairs.splice(0)) {
      client.unpipe();
      backend.unpipe();
      client.resume();
      backend.destroy();
    }
  }

  async close(): Promise<void> {
    for (const [client, backend] of this.#pairs) {
      client.destroy();
      backend.destroy();
    }
    this.#server.close();
  }
}

const ENDS_A_CONNECTION = `
  import pg from "pg";
  const [, source, pid] = process.argv;
  const client = new pg.Client(source);
  await client.connect();
  await client.query("select pg_terminate_backend($1)", [pid]);
  await client.end();
`;

let proxy: DroppingProxy;
let storage: Database;
beforeEach(async () => {
  const source = new URL(inject("postgres"));
  proxy = await DroppingProxy.open(new URL(source));
  source.port = String(proxy.port);
  storage = postgresDatabase(source.href, { poolSize: 4, listen: false });
});
afterEach(async () => {
  vi.useRealTimers();
  await storage.close();
  await proxy.close();
});

const answers = async () => {
  const { rows } = await sql<{ n: number }>`select 1 as n`.execute(storage.db);
  return rows[0]?.n;
};
const pid = async () => {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(storage.db);
  return rows[0]?.pid ?? 0;
};
const minutesPass = () => vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 600_000 });

describe("a process that was frozen for ten minutes", () => {
  test("opens new connections after the network dropped the old ones", async () => {
    expect(await Promise.all([answers(), answers()])).toEqual([1, 1]);
    const accepted = proxy.accepted;
    proxy.forget();
    minutesPass();
    expect(await answers()).toBe(1);
    expect(proxy.accepted).toBeGreaterThan(accepted);
  });

  test("uses a new connection if the server closed the old one unnoticed", async () => {
    const ended = await pid();
    // This process is blocked, so it does not notice that the connection closes.
    const { status, stderr } = spawnSync(
      process.execPath,
      ["--input-type=module", "-e", ENDS_A_CONNECTION, inject("postgres"), String(ended)],
      { encoding: "utf8" },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    minutesPass();
    expect(await answers()).toBe(1);
    expect(await pid()).not.toBe(ended);
  });

  test("keeps its connections if they still work", async () => {
    const before = await pid();
    const accepted = proxy.accepted;
    minutesPass();
    expect(await pid()).toBe(before);
    expect(proxy.accepted).toBe(accepted);
  });
});
