import type { Browser, Page } from "playwright-core";
import { expect, test } from "vitest";
import { GuidedApp } from "../documentation/guided-app.ts";
import { readPage } from "../documentation/pages.ts";
import { launchBrowser, missingBrowser } from "../templates/first-hour.ts";

async function signedIn(browser: Browser, url: string, name: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

const status = (page: Page, text: string) => page.getByRole("status").filter({ hasText: text });

test.skipIf(missingBrowser)(
  "docs/getting-started.md leads from an empty folder to a revoked socket",
  async () => {
    const guide = await GuidedApp.create(readPage("docs/getting-started.md"), "my-chat");
    const { app } = guide;
    let browser: Browser | undefined;
    try {
      await guide.follow("Create the project");
      await guide.follow("Declare the permissions");
      await guide.follow("Define a channel");
      await guide.follow("Write a view");
      await guide.follow("Create the Sallyport object");
      await guide.follow("Write the server");
      await guide.follow("Write the page");
      await app.run("npx", "tsc", "--noEmit");
      const started = await guide.follow("Start the app");
      expect(started).toMatch(/^WebSocket {2}ws:\/\/localhost:\d+\/dev {2}\/ws\/chat$/m);

      await guide.follow("Give Ann access");
      browser = await launchBrowser();
      const ann = await signedIn(browser, app.url, "ann");
      await status(ann, "ann: open").waitFor();
      await say(ann, "first");
      await ann.getByRole("listitem").filter({ hasText: "ann: first" }).waitFor();

      const bob = await signedIn(browser, app.url, "bob");
      await status(bob, "bob: Permission denied.").waitFor();
      await expect.poll(() => app.output).toMatch(/^403 bob \/ws\/chat needs chat\.use \(why: \w{12}\)$/m);
      await guide.follow("A second user is denied");
      await status(bob, "bob: open").waitFor();

      await say(ann, "second");
      for (const page of [ann, bob]) {
        await page.getByRole("listitem").filter({ hasText: "ann: second" }).waitFor();
      }
      await guide.follow("Revoke the permission");
      await status(bob, "bob: access has ended").waitFor();
      await say(ann, "third");
      await ann.getByRole("listitem").filter({ hasText: "ann: third" }).waitFor();
      expect(await bob.getByRole("listitem").filter({ hasText: "third" }).count()).toBe(0);

      const [, reference = ""] = /\((\w{12})\)/.exec(await bob.getByRole("status").innerText()) ?? [];
      const explained = await guide.follow("Explain a denial", (command) =>
        command.replace(/why \w{12}/, `why ${reference}`),
      );
      expect(explained).toContain("chat.use");
      expect(guide.remaining).toEqual([]);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${app.output}`, { cause: error });
    } finally {
      await browser?.close();
      await app.remove();
    }
  },
);
