import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { Consumer, EXPECTED, packTarball } from "./consumer.ts";
import { NPM, PACKAGE_MANAGERS, type PackageManager } from "./package-managers.ts";
import { lowestPeers, newestPeers, type PeerChoice, type PeerVersions } from "./peers.ts";
import { ResultTable } from "./result-table.ts";

const NODES = [20, 22, 24, 26];
const CHOICES: readonly PeerChoice[] = ["lowest", "newest"];

const peers = new Map<string, PeerVersions>();
const results = new ResultTable("package manager");
let folder: string;
let tarball: string;
let server: TestServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-tarball-"));
  tarball = await packTarball(folder);
  server = await startServer();
  const lowest = lowestPeers();
  for (const node of NODES) {
    peers.set(`${node} lowest`, lowest);
    peers.set(`${node} newest`, await newestPeers(node));
  }
});
afterAll(async () => {
  results.print();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Lists what an app would install. Package managers that install required peers choose Kysely themselves. */
function dependencies(manager: PackageManager, node: number, choice: PeerChoice, driver: string): string[] {
  const versions = peers.get(`${node} ${choice}`) ?? {};
  const picksKysely = choice === "newest" && manager.installsPeers;
  const names = picksKysely ? [driver] : ["kysely", driver];
  return [tarball, "ws", ...names.map((name) => `${name}@${versions[name]}`)];
}

async function checkApp(consumer: Consumer, env: Readonly<Record<string, string>> = {}): Promise<void> {
  expect(await consumer.exec(["sallyport", "migrate"], env)).toContain("migrated: 0001_baseline");
  expect(await consumer.exec(["sallyport", "permissions", "list", "--app", "app.ts"], env)).toContain(
    "chat.can_use_chat",
  );
  expect(JSON.parse(await consumer.node("main.js", env))).toEqual(EXPECTED);
}

describe.each(NODES)("on Node %i", (node) => {
  describe.each(CHOICES)("with the %s versions of the peers", (choice) => {
    test.each(PACKAGE_MANAGERS)("an app works on SQLite, installed by $name", async (manager) => {
      await results.record(manager.name, `${node} ${choice}`, async () => {
        const consumer = await Consumer.install(manager, node, dependencies(manager, node, choice, "libsql"));
        try {
          await checkApp(consumer);
          return consumer.versionOf("kysely");
        } finally {
          await consumer.remove();
        }
      });
    });

    test("an app works on PostgreSQL, installed by npm", async () => {
      await results.record("npm, PostgreSQL", `${node} ${choice}`, async () => {
        const database = await emptyDatabase();
        const consumer = await Consumer.install(NPM, node, dependencies(NPM, node, choice, "pg"));
        try {
          await checkApp(consumer, { DATABASE_URL: database });
          return consumer.versionOf("kysely");
        } finally {
          await consumer.remove();
        }
      });
    });
  });
});

let databases = 0;

/** @returns the connection string of a new database */
async function emptyDatabase(): Promise<string> {
  const { Client } = (await import("pg")).default;
  const client = new Client({ connectionString: server.url });
  const name = `consumer_${process.pid}_${databases++}`;
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return url.href;
}
