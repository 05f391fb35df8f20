import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

let folder: string;
beforeAll(async () => {
  await run(process.execPath, [tsc, "--build"], { cwd: root });
  folder = await mkdtemp(join(tmpdir(), "sallyport-consumer-"));
  await link("node_modules/@types/node", "undici-types");
  const { dependencies } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  // What npm installs with it, and the one peer that is not optional: nothing of AWS's, no ws types, no database driver.
  for (const name of [...Object.keys(dependencies), "kysely"]) await link(`node_modules/${name}`);
  const own = join(folder, "node_modules/sallyport");
  await mkdir(own, { recursive: true });
  await cp(join(root, "dist"), join(own, "dist"), { recursive: true });
  await cp(join(root, "package.json"), join(own, "package.json"));
}, 120_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function link(...paths: string[]): Promise<void> {
  for (const path of paths.map((each) =>
    each.startsWith("node_modules/") ? each : `node_modules/${each}`,
  )) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await symlink(join(root, path), join(folder, path));
  }
}

async function compiled(source: string): Promise<string> {
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  await writeFile(join(folder, "app.ts"), source);
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", "--types", "node"];
  // Symbolic links stay in the folder: nothing of ours is found by way of them.
  const args = [tsc, ...options, "--skipLibCheck", "false", "--preserveSymlinks", "app.ts"];
  return run(process.execPath, args, { cwd: folder }).then(
    () => "",
    ({ stdout }: { stdout: string }) => stdout,
  );
}

test("an app compiles with what is installed beside the package, and none of the optional ones", async () => {
  const source = `
    import { createSallyport, defineGateway, definePermissions, handler, WebSocketView } from "sallyport";
    import { nodeListener } from "sallyport/adapters/node";
    import { lambdaHandler } from "sallyport/adapters/lambda";
    import { honoMiddleware } from "sallyport/adapters/hono";
    import { connect } from "sallyport/client";
    import { startLocalGateway } from "sallyport/local";
    import { sqlite } from "sallyport/storage/sqlite";
    import { postgres } from "sallyport/storage/postgres";
    export const all = [
      createSallyport, defineGateway, definePermissions, handler, WebSocketView, nodeListener, lambdaHandler,
      honoMiddleware, connect, startLocalGateway, sqlite, postgres,
    ];
  `;
  expect(await compiled(source)).toBe("");
}, 60_000);
