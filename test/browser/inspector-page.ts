/**
 * Helpers for tests of the inspector in Chromium: a backend, a gateway, a browser and its pages.
 */

import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished } from "vitest";
import { type LocalGateway, type LocalGatewayOptions, startLocalGateway } from "../../src/local/emulator.ts";
import { Client } from "../local/rig.ts";

const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
const missing = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;

/** A plain HTTP server, because any backend can be behind the gateway. It posts "post" to the sender. */
const backend: Server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const path = request.url?.split("?")[0] ?? "";
  calls.push(`${path} ${body}`.trim());
  if (path === "/ws/default" && body === "post") {
    const id = encodeURIComponent(String(request.headers.connectionid));
    const post = await fetch(`${gateway.endpoint}/@connections/${id}`, { method: "POST", body: "pushed" });
    response.writeHead(200, { "content-type": "text/plain" }).end(`the post was answered ${post.status}`);
  } else if (body === "fail") response.writeHead(500).end("no");
  else
    response
      .setHeader("set-cookie", "sid=response-secret")
      .end(body === "" ? "" : JSON.stringify({ got: body }));
});
/** The calls of the backend: path and body. */
export const calls: string[] = [];

export let gateway: LocalGateway;
export let browser: Browser;
/** The errors of all pages. */
export const errors: string[] = [];

/** Runs tests in Chromium. A page that prints an error fails its test. */
export function describeInBrowser(name: string, tests: () => void): void {
  describe.skipIf(missing)(missing ?? name, () => {
    beforeAll(async () => {
      backend.listen(0, "127.0.0.1");
      await once(backend, "listening");
      browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    });

    afterEach(async () => {
      await gateway.close();
      expect(errors.splice(0)).toEqual([]);
    });

    afterAll(async () => {
      await browser?.close();
      backend.closeAllConnections();
      backend.close();
    });

    tests();
  });
}

/** Starts a gateway. */
export async function start(options: Partial<LocalGatewayOptions> = {}): Promise<void> {
  calls.length = 0;
  gateway = await startLocalGateway({
    target: `http://127.0.0.1:${(backend.address() as AddressInfo).port}/ws/`,
    secret: "gateway-secret",
    integrationTimeoutMs: 29_000,
    port: 0,
    ...options,
  });
}

/** Opens the inspector, and waits for its event stream. */
export async function openPage(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(gateway.inspectorUrl as string);
  await page.getByText("Live").waitFor();
  return page;
}

/** Connects a client with a secret cookie. */
export async function openClient(query = "", userAgent = "a test"): Promise<Client> {
  const headers = { "user-agent": userAgent, cookie: "sid=request-secret" };
  const client = new Client(`${gateway.url}${query}`, [], { headers });
  onTestFinished(() => client.socket.terminate());
  await client.opened;
  return client;
}

/** Returns the rows of the list. */
export function rows(page: Page): Locator {
  return page.locator("tbody [data-row]");
}

/** Returns the details of the selected row. */
export function details(page: Page): Locator {
  return page.locator("aside");
}

export function openTab(page: Page, name: string): Promise<void> {
  return page.getByRole("tab", { name: new RegExp(`^${name}`) }).click();
}

/** Returns the banner that names the active faults. */
export function faultBanner(page: Page): Locator {
  return page.getByText(/^\d faults? active$/);
}

/** Selects the newest event that contains a text. */
export async function select(page: Page, text: string | RegExp): Promise<Locator> {
  await rows(page).filter({ hasText: text }).first().click();
  await details(page).waitFor();
  return details(page);
}

/** Switches a fault on or off, and waits for the banner. */
export async function switchFault(page: Page, label: string): Promise<void> {
  await openTab(page, "Faults");
  await page.getByRole("switch", { name: label }).click({ force: true });
  await faultBanner(page).waitFor();
  await openTab(page, "Events");
}
