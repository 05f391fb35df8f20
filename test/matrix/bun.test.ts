import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { expectConversation } from "../bundles/conversation.ts";
import { RunningApp } from "../bundles/running-app.ts";
import { type Installation, install } from "./bundles-install.ts";

const APP = join(import.meta.dirname, "../bundles/app.ts");
const isArm = process.arch === "arm64";

/** Packages from npm that contain a runtime, and the command that runs a program. */
const RUNTIMES = {
  Bun: {
    name: `@oven/bun-${process.platform}-${isArm ? "aarch64" : "x64"}`,
    file: "bin/bun",
    parameters: [],
  },
  Deno: {
    name: `@deno/${process.platform}-${process.arch}${process.platform === "linux" ? "-glibc" : ""}`,
    file: "deno",
    parameters: ["run", "--allow-all", "--no-lock", "--node-modules-dir=manual"],
  },
} as const;

let installation: Installation;
let server: TestServer;
let folder: string;
const running: RunningApp[] = [];

beforeAll(async () => {
  installation = await install(...Object.values(RUNTIMES).map(({ name }) => name));
  folder = await mkdtemp(join(tmpdir(), "sallyport-bun-"));
  server = await startServer();
});
afterEach(async () => {
  for (const app of running.splice(0)) await app.stop();
});
afterAll(async () => {
  await server?.stop();
  await installation?.remove();
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function start(runtime: keyof typeof RUNTIMES, database: string): Promise<RunningApp> {
  const { name, file, parameters } = RUNTIMES[runtime];
  const program = join(installation.folder, "node_modules", name, file);
  const app = await RunningApp.start([program, ...parameters, APP], database);
  running.push(app);
  return app;
}

test("Bun rejects to start the local gateway, which would not call a backend", async () => {
  const { name, file } = RUNTIMES.Bun;
  const program = `
    import { startLocalGateway } from "sallyport/local";
    await startLocalGateway({ target: "http://127.0.0.1:2/", port: 0 }).catch((error) => console.log(error.message));`;
  const bun = join(installation.folder, "node_modules", name, file);
  const { stdout } = await promisify(execFile)(bun, ["-e", program], {
    cwd: join(import.meta.dirname, "../.."),
  });
  expect(stdout).toMatch(
    /^The local gateway calls backends with the package undici, .* Run the gateway on Node\.js/,
  );
});

describe.each(["Bun", "Deno"] as const)("%s", (runtime) => {
  test.each([
    ["SQLite", () => join(folder, `${runtime}.db`)],
    ["PostgreSQL", () => `${server.url}?schema=${runtime.toLowerCase()}`],
  ])("receives messages, sends, and closes a socket after a revoke, with %s", async (_storage, database) => {
    const app = await start(runtime, database());
    await app.control("migrate");
    await expectConversation(app, await app.httpGateway());
    await expectConversation(app, await app.lambdaGateway());
  });

  test("closes a socket after a revoke in another process, with PostgreSQL", async () => {
    const database = `${server.url}?schema=${runtime.toLowerCase()}_twice`;
    const [first, second] = [await start(runtime, database), await start(runtime, database)];
    await first.control("migrate");
    const gateway = await first.httpGateway();
    await first.control("grant", { user: "cat" });
    const socket = await first.connect(gateway, "cat");
    await second.control("revoke", { user: "cat" });
    await socket.closed;
    expect(socket.received.at(-1)).toMatchObject({ type: "sallyport.revoked", scope: "view" });
  });
});
