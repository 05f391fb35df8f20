import type { Browser, Page } from "playwright-core";
import { expect } from "vitest";
import { launchBrowser } from "../templates/first-hour.ts";
import { GuidedApp } from "./guided-app.ts";
import { readPage } from "./pages.ts";

/** Signs in on the page of a guide. */
export async function signedIn(browser: Browser, url: string, name: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
  return page;
}

export async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

/** Finds the status of the page that contains a text. */
export const status = (page: Page, text: string) => page.getByRole("status").filter({ hasText: text });

export const message = (page: Page, text: string) => page.getByRole("listitem").filter({ hasText: text });

/** Runs a test with the app of a page, and adds the output of the app to an error. */
export async function withGuide(
  path: string,
  folder: string,
  work: (guide: GuidedApp, browser: Browser) => Promise<void>,
): Promise<void> {
  const guide = await GuidedApp.create(readPage(path), folder);
  const { app } = guide;
  let browser: Browser | undefined;
  try {
    browser = await launchBrowser();
    await work(guide, browser);
    expect(guide.remaining).toEqual([]);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${app.output}`, { cause: error });
  } finally {
    await browser?.close();
    await app.remove();
  }
}
