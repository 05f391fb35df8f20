import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { sqliteDatabase } from "../postgres/storage-at.ts";

const root = resolve(import.meta.dirname, "../..");
const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
const missing = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;

let folder: string;
let app: ChildProcess;
let output = "";
let url: string;
let env: NodeJS.ProcessEnv;
let browser: Browser;

/** Starts the chat as `npm start` does after the build. */
async function startChat(): Promise<void> {
  app = spawn(process.execPath, [join(root, "examples/chat/dist/main.js")], { env, cwd: folder });
  output = "";
  await new Promise<void>((started, failed) => {
    for (const stream of [app.stdout, app.stderr]) {
      stream?.on("data", (data) => {
        output += data;
        if (output.includes("Ctrl-C ends")) started();
      });
    }
    app.once("exit", () => failed(new Error(`The chat did not start: ${output}`)));
  });
}

const stopped = () => new Promise<number | null>((done) => app.once("exit", done));

const cli = (...args: string[]) =>
  promisify(execFile)(process.execPath, [join(root, "bin/sallyport.js"), ...args], { env, cwd: root });

async function signIn(name: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => {
    output += `page error: ${error}`;
  });
  page.on("console", (message) => {
    if (message.type() === "error") output += `page console: ${message.text()}\n`;
  });
  await page.goto(url);
  await page.getByTestId("email").fill(`${name}@example.com`);
  await page.getByTestId("password").fill("sallyport-demo");
  await page.getByTestId("sign-in").click();
  await page.getByTestId("sign-out").waitFor();
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("send").click();
}

const messageOf = (page: Page, text: string) =>
  page
    .getByTestId("message")
    .filter({ has: page.getByTestId("message-text").getByText(text, { exact: true }) });

const state = (page: Page, value: string) =>
  page.locator(`[data-testid=state][data-state=${value}]`).waitFor();

/** Returns the rows of open connections. */
async function openSessions(): Promise<number> {
  const storage = sqliteDatabase(env.DATABASE as string);
  const rows = await storage.db
    .selectFrom("sallyport_connections")
    .select("id")
    .where("closed_at", "is", null)
    .execute();
  await storage.close();
  return rows.length;
}

describe.skipIf(missing)(`the page of the chat${missing ? `: ${missing}` : ""}`, () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sallyport-browser-"));
    const [port, gatewayPort] = [await freePort(), await freePort()];
    url = `http://localhost:${port}`;
    env = {
      ...process.env,
      PORT: String(port),
      GATEWAY_PORT: String(gatewayPort),
      DATABASE: join(folder, "chat.db"),
    };
    await startChat();
    const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
    browser = await chromium.launch({
      executablePath,
      args: [...args, "--disable-component-update", "--disable-sync", "--no-first-run"],
    });
  });
  afterAll(async () => {
    await browser?.close();
    if (app?.exitCode === null) {
      const gone = stopped();
      app.kill("SIGKILL");
      await gone;
    }
    await rm(folder, { recursive: true, force: true });
  });

  test("alice and mo see each other's messages, and mo deletes one on both pages", async () => {
    const [alice, mo] = [await signIn("alice"), await signIn("mo")];
    await state(alice, "open");
    await state(mo, "open");
    await say(alice, "hello from alice");
    await messageOf(alice, "hello from alice").waitFor();
    await messageOf(mo, "hello from alice").waitFor();
    await say(mo, "<b>bold</b> & <img src=x onerror=alert(1)>");
    await messageOf(alice, "<b>bold</b> & <img src=x onerror=alert(1)>").waitFor();
    expect(await alice.getByTestId("messages").locator("b, img").count()).toBe(0);

    expect(await messageOf(alice, "hello from alice").getByTestId("delete").count()).toBe(0);
    const doomed = messageOf(mo, "hello from alice");
    await doomed.hover();
    await doomed.getByTestId("delete").click();
    await messageOf(mo, "hello from alice").waitFor({ state: "detached" });
    await messageOf(alice, "hello from alice").waitFor({ state: "detached" });
    await alice.context().close();
    await mo.context().close();
  });

  test("only members enter a room, and a denied user stays in the current room", async () => {
    const [alice, mo] = [await signIn("alice"), await signIn("mo")];
    await state(alice, "open");
    await state(mo, "open");
    await alice.getByTestId("room-book-club").click();
    await expect.poll(() => alice.getByTestId("current-room").textContent()).toBe("Book club");
    await alice.getByTestId("room-moderators").click();
    await alice.getByTestId("rejection").waitFor();
    expect(await alice.getByTestId("rejection-reference").textContent()).toMatch(/^[0-9a-f]{12}$/);
    await mo.getByTestId("room-book-club").click();
    await mo.getByTestId("rejection").waitFor();
    await mo.getByTestId("room-moderators").click();
    await expect.poll(() => mo.getByTestId("current-room").textContent()).toBe("Moderators");
    await say(mo, "among moderators");
    await messageOf(mo, "among moderators").waitFor();
    expect(await messageOf(alice, "among moderators").count()).toBe(0);
    await alice.context().close();
    await mo.context().close();
  });

  test("eve is denied, receives a grant in a terminal, and loses it while she is connected", async () => {
    const [eve, mo] = [await signIn("eve"), await signIn("mo")];
    await state(mo, "open");
    await eve.getByTestId("rejection").waitFor();
    const reference = await eve.getByTestId("rejection-reference").textContent();
    expect(output).toContain(reference as string);
    const asked = eve.waitForResponse((response) => response.url().endsWith("/api/ws-token"));
    await say(eve, "may I?");
    expect((await asked).status()).toBe(403);
    await expect.poll(() => eve.getByTestId("rejection-reference").textContent()).not.toBe(reference);
    expect(await eve.getByTestId("composer").inputValue()).toBe("may I?");

    const granted = await cli("users", "grant", "eve@example.com", "chat.can_use_chat");
    expect(granted.stdout).toMatch(/^eve@example\.com \(\w+\) now has chat\.can_use_chat\.\n$/);
    expect(granted.stderr).toBe("");
    await eve.getByTestId("send").click();
    await messageOf(eve, "may I?").waitFor();
    await messageOf(mo, "may I?").waitFor();
    await eve.getByTestId("rejection").waitFor({ state: "hidden" });

    const revoked = await cli("users", "revoke", "eve@example.com", "chat.can_use_chat");
    expect(revoked.stderr).toBe("");
    await eve.getByTestId("rejection").waitFor();
    await state(eve, "denied");
    await say(mo, "eve has left us");
    await messageOf(mo, "eve has left us").waitFor();
    const askedAgain = eve.waitForResponse((response) => response.url().endsWith("/api/ws-token"));
    await say(eve, "still here?");
    expect((await askedAgain).status()).toBe(403);
    await say(mo, "nothing came");
    await messageOf(mo, "nothing came").waitFor();
    expect(await messageOf(eve, "eve has left us").count()).toBe(0);
    expect(await messageOf(mo, "still here?").count()).toBe(0);
    await eve.context().close();
    await mo.context().close();
  });

  test("signing out in one tab closes the connections of that session in every tab", async () => {
    const alice = await signIn("alice");
    await state(alice, "open");
    const second = await alice.context().newPage();
    await second.goto(url);
    await state(second, "open");
    await alice.getByTestId("sign-out").click();
    await alice.getByTestId("sign-in-form").waitFor();
    await expect.poll(() => second.locator("[data-testid=state][data-state=open]").isVisible()).toBe(false);
    await alice.context().close();
  });

  test("with many messages on a phone, only the list scrolls and not the page", async () => {
    const alice = await signIn("alice");
    await alice.setViewportSize({ width: 390, height: 844 });
    await state(alice, "open");
    await alice.getByTestId("room-random").click();
    for (let n = 1; n <= 25; n++) {
      await say(alice, `line ${n}`);
      await messageOf(alice, `line ${n}`).waitFor();
    }
    const [page, window] = await alice.evaluate(() => [document.documentElement.scrollHeight, innerHeight]);
    expect(page).toBe(window);
    await alice.context().close();
  });

  test("SIGINT exits with code 0, and a restart keeps the messages and closes stale connections", async () => {
    app.kill("SIGINT");
    expect(await stopped()).toBe(0);
    await startChat();
    const left = await signIn("alice");
    await state(left, "open");
    expect(await openSessions()).toBe(1);
    const killed = stopped();
    app.kill("SIGKILL");
    await killed;
    await left.context().close();
    expect(await openSessions()).toBe(1);
    const [port, gatewayPort] = [await freePort(), await freePort()];
    url = `http://127.0.0.1:${port}`;
    env = { ...env, PORT: String(port), GATEWAY_PORT: String(gatewayPort) };
    await startChat();
    expect(await openSessions()).toBe(0);
    const mo = await signIn("mo");
    await state(mo, "open");
    await messageOf(mo, "eve has left us").waitFor();
    await mo.context().close();
  });

  test("a used port or an invalid value prints one sentence and exits with code 1", async () => {
    const attempt = async (changes: NodeJS.ProcessEnv) => {
      const child = spawn(process.execPath, [join(root, "examples/chat/dist/main.js")], {
        env: { ...env, ...changes },
      });
      let text = "";
      child.stderr.on("data", (data) => {
        text += data;
      });
      const code = await new Promise<number | null>((done) => child.on("exit", done));
      return { code, text };
    };
    expect(await attempt({})).toEqual({ code: 1, text: expect.stringMatching(/^Port \d+ is in use\..*\n$/) });
    const free = String(await freePort());
    expect(await attempt({ PORT: free })).toEqual({
      code: 1,
      text: expect.stringMatching(/^Port \d+ is in use\..*\n$/),
    });
    for (const bad of ["x", "0", "70000", "1.5", "-1"]) {
      expect(await attempt({ PORT: bad })).toEqual({
        code: 1,
        text: expect.stringMatching(/^PORT=.* is no port\..*\n$/),
      });
    }
    const mo = await signIn("mo");
    await state(mo, "open");
    await mo.context().close();
  });

  test("neither the server nor a page printed an error", () => {
    const lines = output.split("\n").filter((line) => /error/i.test(line) && !line.startsWith("{"));
    // A denied token request is an expected 403, which Chromium reports itself.
    expect(lines.filter((line) => !/status of 40[13]/.test(line))).toEqual([]);
  });
});
