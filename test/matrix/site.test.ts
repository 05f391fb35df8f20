import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { launchBrowser, missingBrowser } from "../templates/first-hour.ts";
import { run } from "./commands.ts";

const root = resolve(import.meta.dirname, "../..");
const site = join(root, "site/.vitepress/dist");

let server: ChildProcess | undefined;
let browser: Browser | undefined;
let url = "";

beforeAll(async () => {
  await run(["npm", "run", "docs"], { cwd: root });
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  server = spawn(
    process.execPath,
    ["node_modules/vitepress/bin/vitepress.js", "preview", "--port", `${port}`],
    {
      cwd: join(root, "site"),
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  await once(server.stdout as Readable, "data");
});
afterAll(async () => {
  await browser?.close();
  server?.kill();
});

test("npm run docs builds the pages, the API and the files for language models", () => {
  for (const file of [
    ...["index.html", "getting-started.html", "permissions.html", "reference/cli.html", "llms-full.txt"],
    ...["", "/client", "/react", "/testing"].map((path) => `reference/api/sallyport${path}/index.html`),
  ]) {
    expect(existsSync(join(site, file)), file).toBe(true);
  }
  expect(readFileSync(join(site, "llms.txt"), "utf8")).toContain("- [Permissions](/permissions.md)");
});

test.skipIf(missingBrowser)("the site is searched without the network, in light and dark", async () => {
  browser = await launchBrowser();
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await (await browser.newContext({ colorScheme })).newPage();
    const elsewhere: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith("data:")) elsewhere.push(request.url());
    });
    await page.goto(`${url}/getting-started`);
    expect(await page.locator("html").evaluate((html) => html.classList.contains("dark"))).toBe(
      colorScheme === "dark",
    );
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByRole("searchbox").fill("authorizeMany");
    await page.getByRole("option").first().click();
    await page.waitForURL(/\/reference\//);
    await page.getByText("authorizeMany").first().waitFor();
    expect(elsewhere).toEqual([]);
  }
});
