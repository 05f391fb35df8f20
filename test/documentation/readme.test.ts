import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../../bench/src/free-port.ts";
import { connect } from "../../src/client/socket.ts";
import { commandEnv, run } from "../matrix/commands.ts";
import { ROOT, readPage } from "./pages.ts";
import { RunnablePage } from "./run-page.ts";
import { fileName } from "./sample-program.ts";

const ORIGIN = "http://localhost:3000";
const BIN = join(ROOT, "bin/sallyport.js");

/** A browser on a page of the app, as the gateway sees it. */
class BrowserSocket extends WebSocket {
  constructor(url: string | URL, protocols: string[]) {
    super(url, protocols, { origin: ORIGIN });
  }
}

const browserFetch = (url: string, init: RequestInit = {}) => {
  const headers = new Headers(init.headers);
  headers.set("origin", ORIGIN);
  return fetch(url, { ...init, headers });
};

let dev: ChildProcess | undefined;
let page: RunnablePage | undefined;
afterEach(async () => {
  if (dev?.exitCode === null) {
    const ended = once(dev, "exit");
    dev.kill("SIGINT");
    await ended;
  }
  await page?.remove();
});

test("B67 the first app of the README runs, and a revoke closes its connection", async () => {
  const readme = readPage("README.md");
  expect(readme.samples.flatMap((sample) => fileName(sample) ?? [])).toEqual([
    ...["src/sallyport.ts", "src/server.ts", "src/page.ts"],
  ]);
  page = await RunnablePage.compile(readme, { sallyport: { app: "src/sallyport.ts" } });
  const [port, gatewayPort] = [await freePort(), await freePort()];
  const cwd = page.folder;
  const env = commandEnv({ cwd, env: { NO_COLOR: "1" } });
  const server = ["--", process.execPath, "dist/src/server.js"];
  dev = spawn(
    process.execPath,
    [BIN, "dev", "--port", `${port}`, "--gateway-port", `${gatewayPort}`, ...server],
    {
      cwd,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  for await (const line of createInterface({ input: dev.stdout as NodeJS.ReadableStream })) {
    if (/accepts connections on port/.test(line)) break;
  }
  dev.stdout?.resume();
  const sallyport = (...words: readonly string[]) => run([process.execPath, BIN, ...words], { cwd });

  await sallyport("users", "grant", "ann", "chat.use");
  const socket = connect({
    url: `ws://localhost:${gatewayPort}/dev`,
    token: `http://localhost:${port}/api/ws-token`,
    view: "/ws/chat",
    fetch: browserFetch as typeof fetch,
    WebSocket: BrowserSocket as never,
  });
  const messages: unknown[] = [];
  socket.on("message", (message) => messages.push(message));
  await (socket.call as { say(body: object): Promise<unknown> }).say({ text: "hello" });
  await expect.poll(() => messages).toEqual([{ type: "message", from: "ann", text: "hello" }]);
  await sallyport("users", "revoke", "ann", "chat.use");
  await expect.poll(() => socket.state).toBe("denied");
  socket.close();
});

test("the first test of docs/guides/testing.md passes", async () => {
  page = await RunnablePage.compile(readPage("docs/guides/testing.md"));
  expect(await page.test("test/chat.test.ts")).toMatch(/^# pass 1$/m);
});
