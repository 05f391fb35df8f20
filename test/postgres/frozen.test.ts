import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, inject, test, vi } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import { postgres } from "../../src/storage/postgres.ts";

/** What lies between the app and the server, and may forget connections without telling. */
class Between {
  readonly #server: Server;
  readonly #pairs: (readonly [Socket, Socket])[] = [];
  accepted = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(target: URL): Promise<Between> {
    const server = createServer();
    const between = new Between(server);
    server.on("connection", (client) => {
      between.accepted++;
      const backend = dial(Number(target.port), target.hostname);
      between.#pairs.push([client, backend]);
      client.pipe(backend).pipe(client);
      for (const socket of [client, backend]) socket.on("error", () => undefined);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return between;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Nothing that either side says arrives any more, and nobody is told. */
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

let between: Between;
let storage: Database;
beforeEach(async () => {
  const source = new URL(inject("postgres"));
  between = await Between.open(new URL(source));
  source.port = String(between.port);
  storage = postgres(source.href, { poolSize: 4, listen: false });
});
afterEach(async () => {
  vi.useRealTimers();
  await storage.close();
  await between.close();
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
  test("opens other connections when the network has dropped its own", async () => {
    expect(await Promise.all([answers(), answers()])).toEqual([1, 1]);
    const accepted = between.accepted;
    between.forget();
    minutesPass();
    expect(await answers()).toBe(1);
    expect(between.accepted).toBeGreaterThan(accepted);
  });

  test("and whose connections the server ended meanwhile, which it has not heard of yet, asks on others", async () => {
    const ended = await pid();
    // Nothing of this process runs meanwhile, so that the end of the connection is not heard of.
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

  test("goes on with its connections where they are still there", async () => {
    const before = await pid();
    const accepted = between.accepted;
    minutesPass();
    expect(await pid()).toBe(before);
    expect(between.accepted).toBe(accepted);
  });
});
