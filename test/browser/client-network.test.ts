import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { SallyportOptions } from "../../src/config.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "../integration/chat.ts";
import { World } from "../integration/world.ts";

const dist = resolve(import.meta.dirname, "../../dist");
const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
const missing = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;

class PingView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  hello = handler(() => "hello");
}

/** Serves an empty page and the built client as modules. */
const pages: Server = createServer((request, response) => {
  const path = request.url ?? "/";
  const isModule = path.endsWith(".js");
  response.setHeader("content-type", isModule ? "text/javascript" : "text/html");
  response.end(isModule ? readFileSync(join(dist, path)) : "<!doctype html><title>client</title>");
});
const origin = () => `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;

let browser: Browser;

/** Everything that the client of the page reported, oldest first. */
declare const reported: [name: string, event: unknown][];

/**
 * Opens a page whose client reconnects only after minutes. Its token endpoint is on another origin.
 */
async function open(options: Pick<SallyportOptions, "limits"> = {}): Promise<{ world: World; page: Page }> {
  const world = await World.open({
    ...options,
    permissions: [chat],
    views: { "/ws/ping": PingView },
    origins: [origin()],
  });
  onTestFinished(() => world.close());
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  await context.addCookies([{ name: "login", value: "ann:login-of-ann", url: origin() }]);
  const page = await context.newPage();
  await page.goto(origin());
  await page.addScriptTag({
    type: "module",
    content: `
      import { connect } from "/client/socket.js";
      Math.random = () => 1;
      window.reported = [];
      window.socket = connect({
        url: ${JSON.stringify(world.gateway.url)},
        token: ${JSON.stringify(`${world.appUrl}/api/ws-token`)},
        view: "/ws/ping",
        backoff: { baseMs: 600_000, maxMs: 600_000 },
      });
      for (const name of ["state", "error", "denied"]) socket.on(name, (event) => reported.push([name, event]));`,
  });
  await page.waitForFunction(() => "reported" in window && reported.length > 0);
  return { world, page };
}

const states = (page: Page) =>
  page.evaluate(() => reported.filter(([name]) => name === "state").map(([, state]) => state));

const connections = async (world: World) =>
  (await world.sallyport.listConnections()).map(({ connectionId }) => connectionId);

describe.skipIf(missing)(`the client in Chromium${missing ? `: ${missing}` : ""}`, () => {
  beforeAll(async () => {
    await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
    browser = await chromium.launch({
      executablePath,
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
    });
  });
  afterAll(async () => {
    await browser?.close();
    pages.close();
  });

  test("closes a half-open connection when the network is lost, and connects when it returns", async () => {
    const { world, page } = await open();
    await expect.poll(() => states(page)).toEqual(["open"]);
    const [first] = await connections(world);
    world.gateway.impair(first as string, "half-open");
    await page.context().setOffline(true);
    await expect.poll(() => states(page)).toEqual(["open", "reconnecting"]);
    await page.context().setOffline(false);
    await expect.poll(() => states(page)).toEqual(["open", "reconnecting", "connecting", "open"]);
  });

  test("checks the connection when the page becomes visible, and keeps one that is alive", async () => {
    const { world, page } = await open();
    await expect.poll(() => states(page)).toEqual(["open"]);
    const becomeVisible = () =>
      page.evaluate(() => document.dispatchEvent(new Event("visibilitychange", { bubbles: true })));
    await becomeVisible();
    await expect
      .poll(async () => (await world.sallyport.listConnections()).map(({ requestCount }) => requestCount))
      .toEqual([1]);
    const [first] = await connections(world);
    world.gateway.impair(first as string, "half-open");
    expect(await states(page)).toEqual(["open"]);
    await becomeVisible();
    await expect.poll(() => states(page)).toEqual(["open", "reconnecting"]);
    await becomeVisible();
    await expect.poll(() => states(page)).toEqual(["open", "reconnecting", "connecting", "open"]);
  });

  test("obeys the Retry-After of a token endpoint on another origin", async () => {
    const { page } = await open({ limits: { tokensPerUser: 1 } });
    await expect.poll(() => states(page)).toEqual(["open"]);
    await page.evaluate("socket.reconnect()");
    await expect.poll(() => states(page)).toEqual(["open", "connecting", "reconnecting"]);
    const denial = await page.evaluate(() => reported.find(([name]) => name === "denied")?.[1]);
    const { status, retryAfterMs } = denial as { status: number; retryAfterMs: number };
    expect(status).toBe(429);
    expect(retryAfterMs).toBeGreaterThan(1_000);
    await page.evaluate(() => dispatchEvent(new Event("online")));
    expect(await states(page)).toEqual(["open", "connecting", "reconnecting"]);
  });
});
