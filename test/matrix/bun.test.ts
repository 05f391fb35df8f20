import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { expectConversation } from "../bundles/conversation.ts";
import { RunningApp } from "../bundles/running-app.ts";
import { type Installation, install } from "./bundles-install.ts";

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "x64", arm64: "aarch64" };
const APP = join(import.meta.dirname, "../bundles/app.ts");

let installation: Installation;
let server: TestServer;
let folder: string;
let bun: string;
const running: RunningApp[] = [];

beforeAll(async () => {
  const name = `@oven/bun-${process.platform}-${ARCHITECTURES[process.arch]}`;
  installation = await install(name);
  bun = join(installation.folder, "node_modules", name, "bin/bun");
  folder = await mkdtemp(join(tmpdir(), "sallyport-bun-"));
  server = await startServer();
}, 240_000);
afterEach(async () => {
  for (const app of running.splice(0)) await app.stop();
});
afterAll(async () => {
  await server?.stop();
  await installation?.remove();
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function start(database: string): Promise<RunningApp> {
  const app = await RunningApp.start([bun, APP], database);
  running.push(app);
  return app;
}

test.each([
  ["SQLite", () => join(folder, "bun.db")],
  ["PostgreSQL", () => server.url],
])(
  "Bun receives messages, sends, and closes a socket after a revoke, with %s",
  async (_storage, database) => {
    const app = await start(database());
    await app.control("migrate");
    await expectConversation(app, await app.httpGateway());
    await expectConversation(app, await app.lambdaGateway());
  },
  60_000,
);

test("two processes on Bun enforce each other's changes with PostgreSQL", async () => {
  const [first, second] = [await start(server.url), await start(server.url)];
  await first.control("migrate");
  const gateway = await first.httpGateway();
  await first.control("grant", { user: "cat" });
  const socket = await first.connect(gateway, "cat");
  await second.control("revoke", { user: "cat" });
  await socket.closed;
  expect(socket.received.at(-1)).toMatchObject({ type: "sallyport.revoked", scope: "view" });
}, 60_000);
