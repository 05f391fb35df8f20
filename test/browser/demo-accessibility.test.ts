import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { DemoApp, type DemoPage, missingChromium } from "./demo-app.ts";

const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

let app: DemoApp;

/** Returns the violations of the page as it is now, each with the elements that it is about. */
async function violationsOf({ page }: DemoPage): Promise<readonly string[]> {
  await page.evaluate("document.fonts.ready");
  // The security policy of the page forbids scripts in a tag, but not those of the test.
  if (!(await page.evaluate("'axe' in window"))) await page.evaluate(axeSource);
  const results = (await page.evaluate("axe.run()")) as AxeResults;
  return results.violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help} ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`,
  );
}

let axeSource: string;

describe.skipIf(missingChromium)(`the accessibility of the demo${missingChromium}`, () => {
  beforeAll(async () => {
    axeSource = await import("node:fs/promises").then(({ readFile }) => readFile(axePath, "utf8"));
    app = await DemoApp.start();
  });
  afterAll(() => app?.close());

  describe.each(["light", "dark"] as const)("in %s colors", (colorScheme) => {
    async function opened(width: number, height: number): Promise<DemoPage> {
      const demo = await app.open({ colorScheme, viewport: { width, height } });
      onTestFinished(() => demo.close());
      await demo.pane("left").locator.getByTestId("message").first().waitFor();
      return demo;
    }

    test("has no violation at 1280 pixels, in each state of a pane and with each dialog", async () => {
      const demo = await opened(1280, 800);
      await demo.pane("right").locator.getByTestId("message").first().waitFor();
      expect(await violationsOf(demo)).toEqual([]);
      await demo.toggle("Alice", "Use chat").click({ force: true });
      await demo.page.getByTestId("preview").getByRole("listitem").first().waitFor();
      expect(await violationsOf(demo)).toEqual([]);
      await demo.page.getByTestId("confirm").click();
      await demo
        .pane("left")
        .locator.getByTestId("access-ended")
        .getByText(/\d+ ms/)
        .waitFor();
      await demo.pane("right").signInAs("Eve");
      await demo.pane("right").locator.getByTestId("no-access").waitFor();
      expect(await violationsOf(demo)).toEqual([]);
      await demo.pane("left").locator.getByRole("button", { name: "Why?" }).click();
      await demo.page.getByTestId("explanation").waitFor();
      expect(await violationsOf(demo)).toEqual([]);
    });

    test("has no violation at 390 pixels in each panel, and nothing is wider than the page", async () => {
      const demo = await opened(390, 844);
      for (const panel of ["Chat", "Access", "Live"]) {
        await demo.page.getByRole("radiogroup", { name: "Panel" }).getByText(panel, { exact: true }).click();
        expect(await violationsOf(demo)).toEqual([]);
        const widths = "[document.documentElement.scrollWidth, innerWidth]";
        const [page, window] = (await demo.page.evaluate(widths)) as [number, number];
        expect(page).toBeLessThanOrEqual(window);
        const heights = "[document.documentElement.scrollHeight, innerHeight]";
        const [full, visible] = (await demo.page.evaluate(heights)) as [number, number];
        expect(full).toBeLessThanOrEqual(visible);
      }
    });
  });

  test("a revoke and its explanation need only the keyboard", async () => {
    const demo = await app.open();
    onTestFinished(() => demo.close());
    await demo.pane("left").reaches("open");
    await demo.toggle("Alice", "Use chat").focus();
    await demo.page.keyboard.press("Space");
    await demo.page.getByTestId("preview").getByRole("listitem").first().waitFor();
    // The focus is on the button that revokes.
    await expect.poll(() => demo.page.evaluate("document.activeElement?.textContent")).toBe("Revoke");
    await demo.page.keyboard.press("Enter");
    const why = demo.pane("left").locator.getByRole("button", { name: "Why?" });
    await why.focus();
    await demo.page.keyboard.press("Enter");
    await demo.page.getByTestId("explanation").waitFor();
    await demo.page.keyboard.press("Escape");
    await demo.page.getByTestId("explanation").waitFor({ state: "detached" });
    expect(await why.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true);
    await demo.lines("Alice lost the chat").first().getByRole("button").focus();
    await demo.page.keyboard.press("Enter");
    await demo.page.getByTestId("explanation").waitFor();
  });
});
