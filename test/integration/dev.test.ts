import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { emptyDatabase, type TestDatabase } from "../postgres/database.ts";
import { commandLineWith, root } from "./command-line.ts";
import { DevProcess, freePort } from "./dev-process.ts";

const ORIGIN = "http://localhost:3000";
const READY = /accepts connections/;
/** A server that answers nothing. */
const LISTEN = 'require("node:http").createServer().listen(process.env.PORT, "127.0.0.1")';

let database: TestDatabase;
let folder: string;
const running: Dev[] = [];
beforeEach(async () => {
  database = await emptyDatabase();
  folder = await mkdtemp(join(tmpdir(), "sallyport-dev-"));
  for (const file of ["dev-app.js", "dev-server.js"]) {
    await copyFile(join(root, "test/processes", file), join(folder, file));
  }
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ type: "module", sallyport: { app: "dev-app.js" } }),
  );
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules/sallyport"));
});
afterEach(async () => {
  for (const dev of running.splice(0)) await dev.end();
  await rm(folder, { recursive: true, force: true });
  await database.drop();
});

class Dev extends DevProcess {
  constructor(args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
    super(folder, args, { TEST_DATABASE: database.source, ...variables });
    running.push(this);
  }
}

/** Starts `sallyport dev` with the server of the test. */
async function startDev(...command: readonly string[]) {
  const port = await freePort();
  const words = command.length > 0 ? command : [process.execPath, "dev-server.js"];
  const dev = new Dev(["--port", String(port), "--gateway-port", "0", "--", ...words]);
  await dev.printed(READY);
  return { dev, port, page: `http://localhost:${port}` };
}

async function connect(page: string, user: string): Promise<WebSocket> {
  const { url } = (await (await fetch(page)).json()) as { url: string };
  const headers = { cookie: `user=${user}`, origin: ORIGIN };
  const response = await fetch(`${page}/api/ws-token`, { method: "POST", headers });
  const { token } = (await response.json()) as { token: string };
  const socket = new WebSocket(`${url}?ws_token=${token}`, { headers });
  await once(socket, "open");
  return socket;
}

const cli = (...args: readonly string[]) =>
  commandLineWith(
    args,
    { TEST_DATABASE: database.source, SALLYPORT_APP: join(folder, "dev-app.js") },
    folder,
  );

describe("sallyport dev", () => {
  test("migrates, starts the server behind a gateway, and prints events, denials and revocations", async () => {
    const { dev, page } = await startDev();
    expect(dev.out).toMatch(/WebSocket +ws:\/\/localhost:\d+\/dev +\/ws\/chat/);
    await expect(connect(page, "eve")).rejects.toThrow("403");
    await dev.printed(/^403 eve@example\.com \/ws\/chat needs chat\.use \(why: [0-9a-f]{12}\)$/m);

    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    const ann = await connect(page, "ann");
    await dev.printed(/^200 ann@example\.com \/ws\/chat connected \d+ ms$/m);
    ann.send(JSON.stringify({ id: 1, handler: "whoami" }));
    const [answer] = (await once(ann, "message")) as [Buffer];
    expect(JSON.parse(answer.toString())).toMatchObject({ ok: true, result: { user: "ann" } });
    await dev.printed(/^200 ann@example\.com \/ws\/chat whoami \d+ ms$/m);

    const closed = once(ann, "close");
    expect((await cli("users", "revoke", "ann", "chat.use")).code).toBe(0);
    await closed;
    await dev.printed(/^403 ann@example\.com \/ws\/chat lost chat\.use \(why: [0-9a-f]{12}\)$/m);
    await dev.printed(/^200 ann@example\.com \/ws\/chat disconnected \d+ ms$/m);
    expect(dev.err).not.toContain("does not pass");
    // The server itself prints no denials.
    expect(dev.err).not.toContain("403");
    expect(await dev.end()).toBe(0);
  });

  test("explains a connect with the URL of another view", async () => {
    const file = join(folder, "dev-app.js");
    const app = await readFile(file, "utf8");
    await writeFile(file, app.replace('"/ws/chat": ChatView', '$&, "/ws/other": ChatView'));
    const { dev, page } = await startDev();
    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    const { urls } = (await (await fetch(page)).json()) as { urls: string };
    const headers = { cookie: "user=ann", origin: ORIGIN, "content-type": "application/json" };
    const body = JSON.stringify({ view: "/ws/chat" });
    const response = await fetch(`${page}/api/ws-token`, { method: "POST", headers, body });
    const { token } = (await response.json()) as { token: string };
    const url = (JSON.parse(urls) as Record<string, string>)["/ws/other"];
    const socket = new WebSocket(`${url}?ws_token=${token}`, { headers });
    await expect(once(socket, "open")).rejects.toThrow("403");
    await dev.printed(
      /^403 ann@example\.com \/ws\/other: .* Use the WebSocket URL of view \/ws\/chat, or request/m,
    );
  });

  test("ends the server on Ctrl-C, and closes the connections of the last run at the next start", async () => {
    const first = await startDev();
    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    await connect(first.page, "ann");
    expect(await first.dev.end()).toBe(0);
    await expect(fetch(first.page)).rejects.toThrow();
    await startDev();
    expect(JSON.parse((await cli("connections", "list", "--json")).out)).toEqual([]);
  });

  test("ends the processes that the server started, also if they ignore SIGTERM", async () => {
    const stubborn = `process.on("SIGTERM", () => {}); ${LISTEN}`;
    const script = `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(stubborn)}], { stdio: "inherit" })`;
    const { dev, page } = await startDev(process.execPath, "-e", script);
    expect(await dev.end()).toBe(0);
    await expect(fetch(page)).rejects.toThrow();
  });

  test("ends a server that does not end by itself, on a second Ctrl-C or when the terminal closes", async () => {
    const stubborn = `process.on("SIGTERM", () => {}); ${LISTEN}`;
    for (const signals of [["SIGINT", "SIGINT"], ["SIGHUP"]] as const) {
      const { dev, page } = await startDev(process.execPath, "-e", stubborn);
      dev.signal(signals[0]);
      if (signals[1]) {
        await expect.poll(() => dev.err).toContain("The server is being stopped.");
        dev.signal(signals[1]);
      }
      expect(await dev.exited).toBe(130);
      await expect.poll(() => fetch(page).catch(() => "ended")).toBe("ended");
    }
  });

  test("prints messages that fail or are denied, each once", async () => {
    const { dev, page } = await startDev();
    expect((await cli("users", "grant", "ann", "chat.use")).code).toBe(0);
    const ann = await connect(page, "ann");
    ann.send(JSON.stringify({ id: 1, handler: "fail" }));
    await dev.printed(/^500 ann@example\.com \/ws\/chat fail \d+ ms \(why: [0-9a-f]{12}\)$/m);
    await dev.printed(/this handler fails/);
    ann.send(JSON.stringify({ id: 2, handler: "forbidden" }));
    await dev.printed(/^403 ann@example\.com \/ws\/chat forbidden needs chat\.moderate /m);
    expect(dev.out).not.toMatch(/^200 .*forbidden/m);
    ann.send("no JSON");
    await dev.printed(/^400 ann@example\.com \/ws\/chat: /m);
    expect(dev.out.match(/^400 /gm)).toHaveLength(1);
  });

  test("restarts a server of Node.js when one of its files changes", async () => {
    const { page, dev } = await startDev("node", "dev-server.js");
    const pid = async () => {
      const response = await fetch(page).catch(() => undefined);
      return response && ((await response.json()) as { pid: number }).pid;
    };
    const before = await pid();
    await copyFile(join(root, "test/processes/dev-app.js"), join(folder, "dev-app.js"));
    await writeFile(join(folder, "dev-app.js"), "\n// changed\n", { flag: "a" });
    await expect.poll(async () => (await pid()) ?? before).not.toBe(before);
    await dev.printed(/^A file changed\. The server restarts\.$/m);
    await writeFile(join(folder, "dev-app.js"), "syntax error\n");
    await dev.printed(
      /^The server ended \(exit code 1\)\. It starts again when one of its files changes\.$/m,
    );
    const failed = await pid();
    expect(failed).toBeUndefined();
    await copyFile(join(root, "test/processes/dev-app.js"), join(folder, "dev-app.js"));
    await expect.poll(pid).toBeDefined();
  });

  test("reports a server that does not pass token requests to Sallyport", async () => {
    const server = 'require("node:http").createServer((_, response) => response.writeHead(404).end())';
    const { dev } = await startDev(process.execPath, "-e", `${server}.listen(process.env.PORT, "127.0.0.1")`);
    await dev.printed(
      /^The server does not pass \/api\/ws-token to Sallyport: GET \S+ returned 404\. Mount /m,
    );
  });

  test("ends with 1 if the server ends by itself", async () => {
    const dev = new Dev(["--gateway-port", "0", "--", process.execPath, "-e", "process.exit(7)"]);
    expect(await dev.exited).toBe(1);
    expect(dev.err).toContain("The server ended (exit code 7).");
  });

  test.each([
    [
      "a command that does not exist",
      ["--", "no-such-program"],
      /cannot be run: .*Check the command after --/,
    ],
    ["no command", [], /dev needs either the command of a server or a function\./],
    ["a command and a function", ["--lambda", "a.js", "--", "node"], /dev needs either/],
    ["an invalid port", ["--port", "0", "--", "node"], /Use a whole number from 1 to 65535/],
    [
      "an overlap",
      ["--port", "4321", "--gateway-port", "4321", "--", "node"],
      /Port 4321 is the port of your server and/,
    ],
  ])("reports %s in one line", async (_name, args, words) => {
    const dev = new Dev(["--gateway-port", "0", ...args]);
    expect(await dev.exited).toBe(1);
    expect(dev.err).toMatch(words);
    expect(dev.err.trim()).not.toContain("\n");
  });

  test("reports an invalid PORT, and a port of the server that is in use", async () => {
    const invalid = new Dev(["--gateway-port", "0", "--", "node"], { PORT: "http" });
    expect(await invalid.exited).toBe(1);
    expect(invalid.err).toBe('sallyport: PORT is "http". Use a whole number from 1 to 65535.\n');
    const { port } = await startDev();
    const second = new Dev(["--port", String(port), "--gateway-port", "0", "--", "node"]);
    expect(await second.exited).toBe(1);
    expect(second.err).toMatch(/^sallyport: Port \d+ is in use, but your server needs it\./);
  });

  test("prints only JSON documents with --json, and no token", async () => {
    const port = String(await freePort());
    const dev = new Dev([
      "--json",
      "--port",
      port,
      "--gateway-port",
      "0",
      "--",
      process.execPath,
      "dev-server.js",
    ]);
    await dev.printed(/"type":"ready"/);
    await expect(connect(`http://localhost:${port}`, "eve")).rejects.toThrow("403");
    await dev.printed(/"type":"denial"/);
    const documents = dev.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string });
    expect(documents.map(({ type }) => type)).toEqual(["started", "ready", "denial"]);
    expect(documents[0]).toHaveProperty("inspectors", {
      "/ws/chat": expect.stringMatching(/^http:\/\/localhost:\d+\/$/),
    });
    expect(dev.out).not.toContain("ws_token");
    expect(dev.err).toContain("The server listens.");
  });

  test("reports a gateway port that is in use, and starts no server", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const marker = join(folder, "started");
    const dev = new Dev([
      ...["--gateway-port", String(port), "--", process.execPath, "-e"],
      `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "")`,
    ]);
    expect(await dev.exited).toBe(1);
    expect(dev.err).toMatch(/in use/);
    await expect(copyFile(marker, `${marker}2`)).rejects.toThrow("ENOENT");
    taken.close();
  });
});
