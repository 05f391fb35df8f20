import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import { deployFunction, deployServer } from "./deployment.ts";
import { GeneratedApp } from "./generated-app.ts";

const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** The reason to skip tests that need a browser, or undefined. */
export const missingBrowser = existsSync(executablePath)
  ? undefined
  : `no Chromium at ${executablePath}; install Debian's chromium, or set CHROMIUM_PATH`;

/** Starts Chromium. */
export const launchBrowser = (): Promise<Browser> => chromium.launch({ executablePath, args: ARGUMENTS });

/** How a user signs in to the app of a template. The page then shows the name of the user. */
export type SignIn = (page: Page, name: string) => Promise<void>;

export const signInByName: SignIn = async (page, name) => {
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
};

export const signUpByEmail: SignIn = async (page, name) => {
  await page.getByLabel("E-mail").fill(`${name}@example.com`);
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Sign up" }).click();
};

/**
 * Creates the app of a template and uses it as its README describes. Two users sign in, are denied, get
 * the permission and send messages. One of them removes a message as a moderator. The other one loses the
 * permission. Then the app is deployed.
 */
export async function liveFirstHour(template: string, signIn: SignIn = signInByName): Promise<void> {
  const app = await GeneratedApp.create(template);
  let browser: Browser | undefined;
  try {
    await app.run("npm", "run", "build");
    await app.dev();
    browser = await launchBrowser();
    const [ann, bob] = [
      await signedIn(browser, app, signIn, "ann"),
      await signedIn(browser, app, signIn, "bob"),
    ];
    const users: string[] = [];
    for (const page of [ann, bob]) {
      const [command = "", user = ""] =
        /npx sallyport users grant (\S+) chat\.use/.exec(await denialOf(page)) ?? [];
      await app.run(...command.split(" "));
      users.push(user);
      // The page connects by itself when it gets the focus.
      await page.evaluate("dispatchEvent(new Event('focus'))");
      await page.getByText(/: connected$/).waitFor();
    }
    for (const text of ["hello", "second"]) {
      await ann.getByLabel("Message").fill(text);
      await ann.getByRole("button", { name: "Send" }).click();
      for (const page of [ann, bob]) await page.getByRole("listitem").filter({ hasText: text }).waitFor();
    }
    const hello = bob.getByRole("listitem").filter({ hasText: "hello" });
    await hello.getByRole("button", { name: "Remove" }).click();
    await bob.getByText(/Permission denied\. Run: npx sallyport why/).waitFor();
    await app.run("npx", "sallyport", "users", "grant", users[1] ?? "", "chat.moderate");
    await hello.getByRole("button", { name: "Remove" }).click();
    for (const page of [ann, bob]) {
      await page.getByRole("listitem").filter({ hasText: "hello" }).waitFor({ state: "detached" });
    }

    await app.run("npx", "sallyport", "users", "revoke", users[0] ?? "", "chat.use");
    await ann.getByText("Your access has ended.").waitFor();
    const reference = /npx sallyport why (\S+)/.exec(await denialOf(ann))?.[1] ?? "";
    expect(await app.run("npx", "sallyport", "why", reference)).toContain("chat.use");
    await bob.getByLabel("Message").fill("third");
    await bob.getByRole("button", { name: "Send" }).click();
    await bob.getByText(/: connected$/).waitFor();
    if (template === "hono-lambda") await deployFunction(app);
    else {
      await deployServer(app);
      await checkProduction(await app.production());
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${app.output}`, { cause: error });
  } finally {
    await browser?.close();
    await app.remove();
  }
}

async function signedIn(browser: Browser, app: GeneratedApp, signIn: SignIn, name: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => {
    app.output += `page error: ${error}\n`;
  });
  await page.goto(app.url);
  await signIn(page, name);
  return page;
}

/** The production build serves the page, and rejects the sign-in by name. */
async function checkProduction(url: string): Promise<void> {
  expect(await (await fetch(url)).text()).toContain("Chat");
  const headers = { "content-type": "application/json", origin: url };
  const body = JSON.stringify({ name: "ann" });
  expect((await fetch(`${url}/api/session`, { method: "POST", headers, body })).status).toBeGreaterThan(400);
  const token = await fetch(`${url}/api/ws-token`, { method: "POST", headers: { origin: url } });
  expect(token.status).toBe(401);
}

/** Returns the commands that the page shows for a denial. */
async function denialOf(page: Page): Promise<string> {
  await page.getByRole("button", { name: "Try again" }).waitFor();
  return page.locator("#command").innerText();
}
