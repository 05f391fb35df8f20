import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type LocalGateway, type LocalGatewayOptions, startLocalGateway } from "../../src/local/emulator.ts";
import { Client } from "../local/rig.ts";

const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
const missing = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;
const axeSource = missing
  ? ""
  : readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The time limit of a dropped message, in milliseconds. The gateway accepts no shorter one. */
const TIMEOUT_MS = 50;

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
const calls: string[] = [];

let gateway: LocalGateway;
let browser: Browser;
const errors: string[] = [];

async function start(options: Partial<LocalGatewayOptions> = {}): Promise<void> {
  calls.length = 0;
  gateway = await startLocalGateway({
    target: `http://127.0.0.1:${(backend.address() as AddressInfo).port}/ws/`,
    secret: "gateway-secret",
    integrationTimeoutMs: 29_000,
    port: 0,
    ...options,
  });
}

async function openPage(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(gateway.inspectorUrl as string);
  await page.getByText("Live").waitFor();
  return page;
}

async function openClient(query = "", userAgent = "a test"): Promise<Client> {
  const headers = { "user-agent": userAgent, cookie: "sid=request-secret" };
  const client = new Client(`${gateway.url}${query}`, [], { headers });
  onTestFinished(() => client.socket.terminate());
  await client.opened;
  return client;
}

const rows = (page: Page) => page.locator("tbody [data-row]");
const details = (page: Page) => page.locator("aside");
const openTab = (page: Page, name: string) => page.getByRole("tab", { name: new RegExp(`^${name}`) }).click();

/** Selects the newest event that contains a text. */
async function select(page: Page, text: string | RegExp): Promise<Locator> {
  await rows(page).filter({ hasText: text }).first().click();
  await details(page).waitFor();
  return details(page);
}

/** Switches a fault on or off, and waits for the banner. */
async function switchFault(page: Page, label: string): Promise<void> {
  await openTab(page, "Faults");
  await page.getByRole("switch", { name: label }).click({ force: true });
  await page.getByText("Faults are active:").waitFor();
  await openTab(page, "Events");
}

describe.skipIf(missing)(missing ?? "the inspector in Chromium", () => {
  beforeAll(async () => {
    backend.listen(0, "127.0.0.1");
    await once(backend, "listening");
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  });

  afterEach(async () => {
    await gateway.close();
  });

  afterAll(async () => {
    await browser?.close();
    backend.closeAllConnections();
    backend.close();
  });

  test("shows a connect and a message with request and response, and hides secrets", async () => {
    await start();
    const page = await openPage();
    await page.getByText("No events yet").waitFor();
    expect(await page.getByText("npx wscat -c").textContent()).toContain(gateway.url);
    const client = await openClient("?ws_token=client-token");
    client.socket.send('{"text":"hello"}');
    await client.text();
    await rows(page).nth(1).waitFor();
    expect(await rows(page).allTextContents()).toEqual([
      expect.stringMatching(/Message\$default.*200.*\{"text":"hello"\} → \{"got"/),
      expect.stringMatching(/Connect\$connect.*200/),
    ]);

    const connect = await select(page, "$connect");
    await connect.getByText("Response 200").waitFor();
    const text = await connect.innerText();
    expect(text).toContain("/ws/connect?ws_token=");
    for (const secret of ["client-token", "request-secret", "response-secret", "gateway-secret"])
      expect(text).not.toContain(secret);
    for (const name of ["ws_token", "cookie", "set-cookie", "x-sallyport-secret"])
      await connect.getByRole("button", { name: `Show the value of ${name}`, exact: true }).click();
    const shown = await connect.innerText();
    for (const secret of ["client-token", "request-secret", "response-secret", "gateway-secret"])
      expect(shown).toContain(secret);

    const message = await select(page, "$default");
    await message.getByText("Response 200").waitFor();
    expect(await message.getByLabel("Request body").innerText()).toContain('"text": "hello"');
    expect(await message.getByLabel("Response body").innerText()).toContain('"got"');
    expect(await message.innerText()).toMatch(/POST http:\/\/127\.0\.0\.1:\d+\/ws\/default/);
  });

  test("shows HTML in paths, messages and user agents as text", async () => {
    await start();
    const html = "<img src=x onerror=alert(1)>";
    const page = await openPage();
    page.on("dialog", () => errors.push("a dialog was opened"));
    const client = await openClient(`?${html}`, html);
    client.socket.send(html);
    await client.text();
    const message = await select(page, "Message");
    await message.getByText("Response 200").waitFor();
    expect(await message.getByLabel("Request body").innerText()).toContain(html);
    const connect = await select(page, "$connect");
    await connect.getByText("Response 200").waitFor();
    expect(await connect.innerText()).toContain(html);
    await openTab(page, "Connections");
    await rows(page).getByText(html).waitFor();
    expect(await page.locator("img").count()).toBe(0);
  });

  test("filters by kind, connection, failure and text, and can be paused and cleared", async () => {
    await start();
    const page = await openPage();
    const [one, two] = [await openClient(), await openClient()];
    const [, second = ""] = gateway.connectionIds;
    for (const [client, text] of [
      [one, "apple"],
      [two, "pear"],
      [one, "fail"],
    ] as const) {
      client.socket.send(text);
      await client.text();
    }
    await rows(page).nth(4).waitFor();
    const expectRows = async (count: number) => expect.poll(() => rows(page).count()).toBe(count);
    await page.getByLabel("Kind of event").selectOption("Connect");
    await expectRows(2);
    await page.getByLabel("Kind of event").selectOption("All events");
    await page.getByLabel("Connection", { exact: true }).selectOption(second);
    await expectRows(2);
    await page.getByLabel("Search").fill("PEAR");
    await expectRows(1);
    await page.getByLabel("Search").fill("banana");
    await page.getByRole("button", { name: "Remove the filters" }).click();
    await expectRows(5);
    await page.getByRole("switch", { name: "Only failures" }).click({ force: true });
    await expectRows(1);
    expect(await rows(page).first().innerText()).toMatch(/500/);
    await page.getByRole("switch", { name: "Only failures" }).click({ force: true });

    await page.getByRole("button", { name: "Pause" }).click();
    two.socket.send("while paused");
    await two.text();
    await page.getByText("Events (6)").waitFor();
    await expectRows(5);
    await page.getByRole("button", { name: "Resume" }).click();
    await expectRows(6);
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByText("No events yet").waitFor();
  });

  test("sends a message to a client, sets a network fault and closes the connection", async () => {
    await start();
    const page = await openPage();
    const client = await openClient("", "my client 1.0");
    const [id = ""] = gateway.connectionIds;
    await openTab(page, "Connections");
    const row = rows(page).filter({ hasText: id });
    await row.waitFor();
    expect(await row.innerText()).toMatch(/dev\s+127\.0\.0\.1\s+my client 1\.0/);
    await row.click();
    await page.getByLabel("Message to the client").fill("from the page");
    await page.getByRole("button", { name: "Send" }).click();
    expect(await client.text()).toBe("from the page");
    await page.getByText("The message was sent.").waitFor();
    await row.getByText("0 / 1").waitFor();

    await page.getByLabel("Network fault").selectOption("not-reading");
    await row.getByText("not-reading").waitFor();
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("The client does not read, and its buffer is full.").waitFor();
    await page.getByLabel("Network fault").selectOption("none");
    await row.getByText("ok").waitFor();

    await page.getByRole("button", { name: "Close the connection" }).click();
    expect(await client.closed).toMatchObject({ code: 1000 });
    await page.getByText("No open connections").waitFor();
  });

  test("drops, delays and duplicates events", async () => {
    await start({ integrationTimeoutMs: TIMEOUT_MS });
    const page = await openPage();
    const client = await openClient();
    await switchFault(page, "Drop events");
    client.socket.send("lost");
    await client.text();
    await rows(page).filter({ hasText: "timed out" }).filter({ hasText: "dropped" }).waitFor();
    expect(calls).not.toContain("/ws/default lost");
    await page.getByRole("button", { name: "Remove all faults" }).click();
    await page.getByText("Faults are active:").waitFor({ state: "hidden" });

    await openTab(page, "Faults");
    await page.getByLabel("Delay events, in ms").fill("30");
    await switchFault(page, "Delay events");
    client.socket.send("late");
    await client.text();
    await rows(page).filter({ hasText: "delayed 30 ms" }).filter({ hasText: "200" }).waitFor();
    expect(await page.getByRole("status").first().innerText()).toContain("Delay events (30 ms)");
    await page.getByRole("button", { name: "Remove all faults" }).click();

    await switchFault(page, "Duplicate events");
    client.socket.send("double");
    await client.text();
    await rows(page).filter({ hasText: "sent twice" }).filter({ hasText: "200" }).waitFor();
    await expect.poll(() => calls.filter((call) => call === "/ws/default double").length).toBe(2);
  });

  test("answers posts of the backend with 410 and 429", async () => {
    await start();
    const page = await openPage();
    const client = await openClient();
    for (const [label, status, name] of [
      ["Answer posts with 410", 410, "GoneException"],
      ["Answer posts with 429", 429, "LimitExceededException"],
    ] as const) {
      await switchFault(page, label);
      client.socket.send("post");
      expect(await client.text()).toBe(`the post was answered ${status}`);
      const call = await select(page, new RegExp(`API call.*POST.*${status}`));
      await call.getByText(`Response ${status}`).waitFor();
      expect(await call.innerText()).toContain(name);
      expect(await call.getByLabel("Request body").innerText()).toContain("pushed");
      await page.getByRole("button", { name: "Remove all faults" }).click();
      await page.getByText("Faults are active:").waitFor({ state: "hidden" });
    }
    client.socket.send("post");
    expect(await client.text()).toBe("pushed");
  });

  test("can be used with the keyboard", async () => {
    await start();
    const page = await openPage();
    const client = await openClient();
    for (const text of ["first", "second"]) {
      client.socket.send(text);
      await client.text();
    }
    await rows(page).nth(2).waitFor();
    await rows(page).first().focus();
    await page.keyboard.press("ArrowDown");
    await details(page).getByText("first").first().waitFor();
    await page.keyboard.press("End");
    await details(page).getByText("Connect $connect").waitFor();
    await page.keyboard.press("ArrowUp");
    expect(
      await rows(page)
        .nth(1)
        .evaluate((row) => row === document.activeElement),
    ).toBe(true);
    expect(await rows(page).nth(1).getAttribute("aria-selected")).toBe("true");
    await page.keyboard.press("Escape");
    await details(page).waitFor({ state: "detached" });
    expect(
      await rows(page)
        .nth(1)
        .evaluate((row) => row === document.activeElement),
    ).toBe(true);
  });

  test("connects again when the gateway has restarted", async () => {
    await start();
    const page = await openPage();
    const { port } = gateway;
    await openClient();
    await rows(page).first().waitFor();
    await gateway.close();
    await page.getByText("The gateway does not answer.").waitFor();
    await start({ port });
    await page.getByText("Live").waitFor();
    await page.getByText("No events yet").waitFor();
    // Chromium reports the lost connection itself.
    errors.length = 0;
  });

  test("works in ten pages of one browser, of which the oldest stop", async () => {
    await start();
    const first = await openPage();
    const context = first.context();
    for (let count = 1; count < 10; count++) {
      const page = await context.newPage();
      await page.goto(gateway.inspectorUrl as string);
      await page.getByText("Live").waitFor();
    }
    await first.getByText("This page no longer receives events").waitFor();
    await first.getByRole("button", { name: "Connect again" }).click();
    await first.getByText("Live").waitFor();
  });

  test.each([
    ["light", 1280, 800],
    ["dark", 1280, 800],
    ["light", 390, 844],
    ["dark", 390, 844],
  ] as const)("has no axe violations in %s at %i pixels", async (colorScheme, width, height) => {
    await start();
    // The policy of the page would not allow the script of axe.
    const page = await openPage({ colorScheme, viewport: { width, height }, bypassCSP: true });
    await page.evaluate(axeSource);
    const violations = () =>
      page.evaluate(async () => {
        const { axe } = window as unknown as {
          axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
        };
        const { violations } = await axe.run();
        return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
      });
    expect(await violations()).toEqual([]);
    const client = await openClient("?ws_token=abc");
    client.socket.send("fail");
    await client.text();
    gateway.setFaults({ delayMs: 1 });
    client.socket.send('{"slow":1}');
    await client.text();
    await page.getByText("Faults are active:").waitFor();
    await rows(page).nth(2).waitFor();
    expect(await violations()).toEqual([]);
    const event = await select(page, "Connect");
    await event.getByText("Response 200").waitFor();
    expect(await violations()).toEqual([]);
    await page.keyboard.press("Escape");
    await openTab(page, "Connections");
    expect(await violations()).toEqual([]);
    await rows(page).first().click();
    expect(await violations()).toEqual([]);
    await page.keyboard.press("Escape");
    await openTab(page, "Faults");
    expect(await violations()).toEqual([]);
    const scrolls = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    expect(scrolls).toBe(false);
  });

  test("cannot be read or used by a page of another origin", async () => {
    await start();
    const client = await openClient();
    const [id = ""] = gateway.connectionIds;
    const other = createServer((_, response) => response.setHeader("content-type", "text/html").end("other"));
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const page = await context.newPage();
    // localhost and 127.0.0.1 are different sites, and ports of one name are the same site.
    for (const name of ["127.0.0.1", "localhost"]) {
      await page.goto(`http://${name}:${(other.address() as AddressInfo).port}/`);
      const outcomes = await page.evaluate(
        async ([base, connectionId]) => {
          const attempt = (path: string, init: RequestInit) =>
            fetch(`${base}${path}`, init).then(
              async (response) => `${response.type} ${response.status} ${await response.text()}`,
              () => "failed",
            );
          const body = JSON.stringify({ connectionId, data: "from another page" });
          const type = "application/json";
          const framed = document.createElement("iframe");
          framed.src = `${base}/`;
          document.body.append(framed);
          await new Promise((resolve) => {
            framed.onload = resolve;
          });
          return [
            await attempt("/.inspector/events", { method: "POST", headers: { "content-type": type }, body }),
            await attempt("/.inspector/send", { method: "POST", headers: { "content-type": type }, body }),
            await attempt("/.inspector/send", { method: "POST", body }),
            await attempt("/.inspector/send", { method: "POST", body, mode: "no-cors" }),
            await attempt("/.inspector/close", { method: "POST", body, mode: "no-cors" }),
            await attempt("/", {}),
            framed.contentDocument === null ? "blocked" : framed.contentDocument.body.innerText,
          ];
        },
        [`http://127.0.0.1:${gateway.port}`, id],
      );
      expect(outcomes).toEqual([
        ...["failed", "failed", "failed"],
        // An opaque answer cannot be read. CORP blocks it if the other page is of another site.
        expect.stringMatching(/^(failed|opaque 0 )$/),
        expect.stringMatching(/^(failed|opaque 0 )$/),
        ...["failed", "blocked"],
      ]);
    }
    expect(gateway.connectionIds).toEqual([id]);
    client.socket.send("echo");
    // The next message that arrives is not one of another page.
    expect(await client.text()).toBe('{"got":"echo"}');
  });

  test("printed no error in any page", () => {
    expect(errors).toEqual([]);
  });
});
