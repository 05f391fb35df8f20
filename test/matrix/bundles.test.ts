import { execFile } from "node:child_process";
import { cp, symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startServer, type TestServer } from "../../bench/src/postgres-server.ts";
import { deploymentFolder, ENTRY } from "../bundles/bundle.ts";
import { expectConversation } from "../bundles/conversation.ts";
import { RunningApp } from "../bundles/running-app.ts";
import { type Installation, install } from "./bundles-install.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

const BUNDLERS = ["webpack", "rollup", "rolldown", "tsup"] as const;
const PLUGINS = [
  "@rollup/plugin-commonjs",
  "@rollup/plugin-json",
  "@rollup/plugin-node-resolve",
  "typescript",
];

let installation: Installation;
let server: TestServer;

beforeAll(async () => {
  installation = await install(...BUNDLERS, ...PLUGINS);
  const { folder } = installation;
  await symlink(root, join(folder, "node_modules/sallyport"));
  await cp(join(import.meta.dirname, "bundles"), folder, { recursive: true });
  // Not every bundler reads TypeScript.
  await build({ entryPoints: [ENTRY], outfile: join(folder, "app.mjs"), format: "esm", logLevel: "silent" });
  server = await startServer();
}, 240_000);
afterAll(async () => {
  await server?.stop();
  await installation?.remove();
});

test.each(BUNDLERS.flatMap((bundler) => ["esm", "cjs"].map((format) => [bundler, format] as const)))(
  "serves events when %s bundles it as %s, with SQLite and PostgreSQL",
  async (bundler, format) => {
    const { folder, remove } = await deploymentFolder("libsql");
    try {
      const script = join(installation.folder, `${bundler}.mjs`);
      await run(process.execPath, [script, format, folder], { cwd: installation.folder });
      // A schema for each bundle, because the limits of a user count all of a schema's requests.
      for (const database of [join(folder, "app.db"), `${server.url}?schema=${bundler}_${format}`]) {
        const file = join(folder, format === "esm" ? "app.mjs" : "app.cjs");
        const app = await RunningApp.start([process.execPath, file], database);
        try {
          await app.control("migrate");
          await expectConversation(app, await app.httpGateway());
          await expectConversation(app, await app.lambdaGateway());
          expect(await app.control("revoke", { user: "ann" })).toBe(true);
        } finally {
          await app.stop();
        }
      }
    } finally {
      await remove();
    }
  },
  180_000,
);
