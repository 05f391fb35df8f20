import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../../bench/src/free-port.ts";
import { commandEnv, nodeFolder, run } from "./commands.ts";

const root = resolve(import.meta.dirname, "../..");

describe.each([20, 22, 24])("a clone in a folder of mode 0700, on Node %i", (major) => {
  let folder: string;
  let bins: readonly string[];
  const inClone = (...command: readonly string[]) => run(command, { cwd: join(folder, "sallyport"), bins });

  beforeAll(async () => {
    bins = [await nodeFolder(major)];
    // mkdtemp creates the folder with mode 0700.
    folder = await mkdtemp(join(tmpdir(), "sallyport-clone-"));
    await run(["git", "clone", "--quiet", root, "sallyport"], { cwd: folder });
    await inClone("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund");
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("npm start serves the chat, whose socket answers a call", async () => {
    const [port, gatewayPort] = [await freePort(), await freePort()];
    const chat = await startChat(port, gatewayPort);
    try {
      const url = `http://localhost:${port}`;
      const page = await fetch(url);
      expect([page.status, page.headers.get("content-type")]).toEqual([
        200,
        expect.stringContaining("text/html"),
      ]);
      const cookie = await signIn(url, "alice@example.com");
      const asked = await fetch(`${url}/api/ws-token`, { method: "POST", headers: { cookie, origin: url } });
      expect(asked.status).toBe(200);
      const { token } = (await asked.json()) as { token: string };
      const socket = new WebSocket(`ws://localhost:${gatewayPort}/dev?ws_token=${token}`, {
        headers: { cookie, origin: url },
      });
      await new Promise((done, fail) => socket.on("open", done).on("error", fail));
      const answer = new Promise<string>((done) => socket.on("message", (data) => done(String(data))));
      socket.send(JSON.stringify({ id: 1, handler: "not_a_handler" }));
      expect(JSON.parse(await answer)).toMatchObject({ id: 1, ok: false });
      socket.close();
    } finally {
      await stop(chat);
    }
  });

  test("npm run check passes", async () => {
    await inClone("npm", "run", "check");
  });

  test("the unit tests pass", async () => {
    await inClone("npx", "--no", "--", "vitest", "run", "--project", "unit");
  });

  test("tests on PostgreSQL pass", async () => {
    await inClone(
      ...["npx", "--no", "--", "vitest", "run", "--project", "integration-postgres"],
      "test/storage/port-tables.test.ts",
    );
  });

  /** Runs `npm start` until it prints that the chat is ready. */
  async function startChat(port: number, gatewayPort: number): Promise<ChildProcess> {
    const cwd = join(folder, "sallyport");
    const env = commandEnv({ cwd, bins, env: { PORT: `${port}`, GATEWAY_PORT: `${gatewayPort}` } });
    // A process group of its own, because npm does not pass signals on.
    const chat = spawn("npm", ["start"], { cwd, env, detached: true });
    let output = "";
    const isReady = new Promise<void>((done, fail) => {
      const read = (data: Buffer) => {
        output += data;
        if (output.includes("Ctrl-C ends")) done();
      };
      chat.stdout?.on("data", read);
      chat.stderr?.on("data", read);
      chat.once("exit", () => fail(new Error(`npm start ended:\n${output}`)));
    });
    await isReady.catch(async (error) => {
      await stop(chat);
      throw error;
    });
    return chat;
  }
});

async function stop(chat: ChildProcess): Promise<void> {
  if (chat.exitCode !== null || chat.pid === undefined) return;
  const exited = new Promise((done) => chat.once("exit", done));
  process.kill(-chat.pid, "SIGTERM");
  await exited;
}

/** @returns the session cookie of a demo account */
async function signIn(url: string, email: string): Promise<string> {
  const response = await fetch(`${url}/api/auth/sign-in/email`, {
    method: "POST",
    headers: { "content-type": "application/json", origin: url },
    body: JSON.stringify({ email, password: "sallyport-demo" }),
  });
  expect(response.status).toBe(200);
  return response.headers
    .getSetCookie()
    .map((cookie) => cookie.split(";")[0])
    .join("; ");
}
