import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import {
  describeInBrowser,
  faultBanner,
  gateway,
  openClient,
  openPage,
  openTab,
  rows,
  select,
  start,
} from "./inspector-page.ts";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

describeInBrowser("the inspector in Chromium, with axe", () => {
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
    await faultBanner(page).waitFor();
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

  test("has rows of two lines and controls of at least 40 pixels on a phone", async () => {
    await start();
    const page = await openPage({ viewport: { width: 390, height: 844 }, hasTouch: true });
    gateway.setFaults({ delayMs: 1 });
    const client = await openClient();
    client.socket.send('{"handler":"history"}');
    await client.text();
    await rows(page).nth(1).waitFor();
    await faultBanner(page).waitFor();
    await page.getByRole("button", { name: "Filters" }).click();
    const heightsOf = (selector: string) =>
      page
        .locator(selector)
        .evaluateAll((elements) => elements.map((element) => element.getBoundingClientRect().height));
    expect(await heightsOf("tbody tr")).toEqual([48, 48]);
    const controls = await heightsOf("button:visible, select:visible, input[type=search], [role=tab]");
    expect(Math.min(...controls)).toBeGreaterThanOrEqual(40);
    const row = await rows(page).first().innerText();
    expect(row).toMatch(/Message.*200.*fault.*history/s);
  });
});
