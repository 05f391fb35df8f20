import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { bin, commandLineWith, root } from "./command-line.ts";
import { DevProcess, freePort } from "./dev-process.ts";

const ORIGIN = "http://localhost:3000";

let folder: string;
let app: string;
let running: DevProcess | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-changes-"));
  await copyFile(join(root, "test/processes/dev-server.js"), join(folder, "dev-server.js"));
  app = await readFile(join(root, "test/processes/dev-app.js"), "utf8");
  await writeFile(join(folder, "dev-app.js"), app);
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ type: "module", sallyport: { app: "dev-app.js" } }),
  );
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules/sallyport"));
});
afterEach(async () => {
  await running?.end();
  running = undefined;
  await rm(folder, { recursive: true, force: true });
});

const variables = () => ({ TEST_DATABASE: join(folder, "app.db"), SALLYPORT_APP: "" });

/** Starts `sallyport dev` with a server that Node.js restarts when a file changes. */
async function startDev(...options: readonly string[]) {
  const port = await freePort();
  const args = ["--port", String(port), "--gateway-port", "0", ...options, "--", "node", "dev-server.js"];
  const dev = new DevProcess(folder, args, variables());
  running = dev;
  await dev.printed(/accepts connections|"ready"/);
  return { dev, page: `http://localhost:${port}` };
}

const cli = (args: readonly string[], more: Readonly<Record<string, string>> = {}) =>
  commandLineWith(args, { ...variables(), ...more }, folder);

/** Returns a change of a file, which replaces a text that the file must contain. */
async function edit(file: string, change: (text: string) => string): Promise<void> {
  const path = join(folder, file);
  const before = await readFile(path, "utf8");
  const after = change(before);
  expect(after).not.toBe(before);
  // Some editors replace a file instead of writing to it.
  await writeFile(`${path}.new`, after);
  await rename(`${path}.new`, path);
}

/** The app with the permission `chat.manage`, which its view requires. */
const withPermission = (text: string) =>
  text
    .replace('moderate: "Can moderate"', 'moderate: "Can moderate", manage: "Can manage"')
    .replace("static permissionsRequired = [chat.use];", "static permissionsRequired = [chat.manage];");

async function infoOf(page: string) {
  const response = await fetch(page).catch(() => undefined);
  return response && ((await response.json()) as { pid: number; url: string });
}

/** Resolves when another process serves the page. */
async function restarted(page: string, pid: number | undefined): Promise<number> {
  await expect.poll(async () => (await infoOf(page))?.pid ?? pid).not.toBe(pid);
  return (await infoOf(page))?.pid ?? 0;
}

/** Opens a connection. */
async function open(page: string, user: string): Promise<WebSocket> {
  const headers = { cookie: `user=${user}`, origin: ORIGIN };
  const response = await fetch(`${page}/api/ws-token`, { method: "POST", headers });
  const { token } = (await response.json()) as { token: string };
  const socket = new WebSocket(`${(await infoOf(page))?.url}?ws_token=${token}`, { headers });
  await once(socket, "open");
  return socket;
}

describe("sallyport dev, when a file of the app changes", () => {
  test("stores a new permission and a changed rule, without a restart of dev", async () => {
    const { dev, page } = await startDev();
    expect((await cli(["users", "grant", "ann", "chat.use"])).code).toBe(0);
    const closed = once(await open(page, "ann"), "close");
    const { pid } = (await infoOf(page)) ?? {};
    await edit("dev-app.js", withPermission);
    await restarted(page, pid);
    await dev.printed(
      /^The database was updated: permission chat\.manage added, view \/ws\/chat changed\.$/m,
    );
    await closed;
    await dev.printed(/^403 ann@example\.com \/ws\/chat lost chat\.manage /m);
    await expect(open(page, "ann")).rejects.toThrow("403");
    expect((await cli(["users", "grant", "ann", "chat.manage"])).code).toBe(0);
    (await open(page, "ann")).terminate();
    // A change that affects no permission and no rule prints nothing.
    await edit("dev-app.js", (text) => `${text}// changed\n`);
    await edit("dev-app.js", (text) => text.replace("Can moderate", "May moderate"));
    await edit("dev-app.js", (text) => text.replace('"/ws/chat": ChatView', '$&, "/ws/other": ChatView'));
    await dev.printed(/^The view \/ws\/other has no local gateway\. Start dev again to connect to it\.$/m);
    expect(dev.out.match(/The database was updated/g)).toHaveLength(2);
    expect(dev.err).not.toContain("Completed running");
    expect(await dev.end()).toBe(0);
  });

  test("a server that restarts before the migration needs no further restart", async () => {
    const { dev, page } = await startDev();
    const { pid } = (await infoOf(page)) ?? {};
    // The server loads this app at once. Other processes wait for a file.
    const slow = `import { existsSync, watch } from "node:fs";
      if (process.env.SALLYPORT_DEV !== "1") await new Promise((go) => {
        watch(".", () => existsSync("go") && go());
        if (existsSync("go")) go();
      });
    `;
    await edit("dev-app.js", (text) => slow + withPermission(text));
    const server = await restarted(page, pid);
    const grant = () => cli(["users", "grant", "ann", "chat.manage"], { SALLYPORT_DEV: "1" });
    await expect(open(page, "ann")).rejects.toThrow("403");
    expect((await grant()).err).toMatch(/chat\.manage is declared, but not in the database/);
    await writeFile(join(folder, "go"), "");
    await dev.printed(/The database was updated: permission chat\.manage added/);
    expect((await grant()).code).toBe(0);
    (await open(page, "ann")).terminate();
    expect((await infoOf(page))?.pid).toBe(server);
  });

  test("reports an app that cannot be loaded in one line, and continues when it is corrected", async () => {
    const { dev } = await startDev("--json");
    await edit("dev-app.js", (text) => `throw new Error("two\\nlines");\n${text}`);
    await dev.printed(/^The database was not updated: two lines$/m);
    await edit("dev-app.js", (text) => `process.exit(3);\n${text.slice(text.indexOf("\n"))}`);
    await dev.printed(/^The database was not updated: the app ended its process with exit code 3\. /m);
    await edit("dev-app.js", () => withPermission(app));
    await dev.printed(/^\{"type":"migrated",.*"added":\["chat\.manage"\]/m);
  });

  // The program script of util-linux runs a command in a terminal.
  test.runIf(process.platform === "linux")("handles the keys w, r and q in a terminal", async () => {
    await writeFile(join(folder, "labels.json"), '{ "use": "Can use chat", "moderate": "Can moderate" }');
    await edit("dev-app.js", (text) =>
      text
        .replace(
          /definePermissions\("chat", \{.*\}\)/,
          'definePermissions("chat", JSON.parse(readFileSync("labels.json", "utf8")))',
        )
        .replace("import {", 'import { readFileSync } from "node:fs";\nimport {'),
    );
    const port = await freePort();
    const args = ["dev", "--port", String(port), "--gateway-port", "0", "--", "node", "dev-server.js"];
    const command = [process.execPath, bin, ...args].join(" ");
    const terminal = spawn("script", ["--quiet", "--return", "--flush", "--command", command, "/dev/null"], {
      cwd: folder,
      env: { ...process.env, PORT: "", NO_COLOR: "1", ...variables() },
    });
    onTestFinished(() => void terminal.kill("SIGKILL"));
    const exited = once(terminal, "exit");
    let out = "";
    terminal.stdout.setEncoding("utf8").on("data", (text) => {
      out += text;
    });
    const printed = (words: RegExp) => expect.poll(() => out).toMatch(words);
    await printed(/Keys: w explains the last denial, r restarts the server, q quits\./);
    await printed(/The server accepts connections/);
    terminal.stdin.write("w");
    await printed(/Nothing was denied yet\./);
    const page = `http://localhost:${port}`;
    await expect(open(page, "eve")).rejects.toThrow("403");
    await printed(/^403 eve@example\.com \/ws\/chat needs chat\.use/m);
    terminal.stdin.write("w");
    await printed(/denied \(403, permission\)/);

    // No process watches this file, because the app does not import it.
    await writeFile(
      join(folder, "labels.json"),
      '{ "use": "Use", "moderate": "Moderate", "manage": "Manage" }',
    );
    const { pid } = (await infoOf(page)) ?? {};
    terminal.stdin.write("r");
    await restarted(page, pid);
    await printed(/The server restarts\.\s+The database was updated: permission chat\.manage added\./);
    terminal.stdin.write("q");
    expect(await exited).toEqual([0, null]);
    await expect(fetch(page)).rejects.toThrow();
  });

  test("leaves no process when it ends", async () => {
    const { dev, page } = await startDev("--app", join(folder, "dev-app.js"));
    await edit("dev-app.js", withPermission);
    await dev.printed(/The database was updated/);
    expect(await dev.end()).toBe(0);
    await expect(fetch(page)).rejects.toThrow();
    const { stdout } = await promisify(execFile)("ps", ["-eo", "args"]);
    expect(stdout).toContain(process.execPath);
    expect(stdout).not.toContain(folder);
  });
});
