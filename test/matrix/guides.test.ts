import { test } from "vitest";
import { message, say, signedIn, status, withGuide } from "../documentation/chat-in-browser.ts";
import { missingBrowser } from "../templates/first-hour.ts";

// test/browser/getting-started.test.ts does the same with the page for Express and SQLite.
test.skipIf(missingBrowser).for([
  ["Fastify", "docs/guides/fastify.md", "my-fastify"],
  ["Hono", "docs/guides/hono.md", "my-hono"],
] as const)(
  "the guide for %s leads from an empty folder to a revoked socket",
  async ([title, path, folder]) => {
    await withGuide(path, folder, async (guide, browser) => {
      const { app } = guide;
      await guide.follow(title);
      await guide.follow("Declare permissions, a channel and a view");
      await guide.follow("Identify the user");
      await guide.follow("Write the server");
      await guide.follow("Write the page");
      await app.run("npx", "tsc", "--noEmit");
      await guide.follow("Start the app");
      await guide.follow("Give Ann access");
      const ann = await signedIn(browser, app.url, "ann");
      await status(ann, "ann: open").waitFor();
      await say(ann, "first");
      await message(ann, "ann: first").waitFor();
      await guide.follow("Revoke the permission");
      await status(ann, "ann: access has ended").waitFor();
    });
  },
);

test.skipIf(missingBrowser)(
  "the guide for Express, PostgreSQL and React does the same, and builds for production",
  () =>
    withGuide("docs/guides/express-postgres.md", "my-app", async (guide, browser) => {
      const { app } = guide;
      await guide.follow("Express, PostgreSQL and React");
      await guide.follow("Declare permissions, a channel and a view");
      await guide.follow("Store sessions in PostgreSQL");
      await guide.follow("Create the Sallyport object");
      await guide.follow("Write the server");
      await guide.follow("Write the page");
      await guide.follow("Name the database");
      await guide.follow("Start the app");
      await guide.follow("Give Ann access");
      const ann = await signedIn(browser, app.url, "ann");
      await status(ann, "ann: open").waitFor();
      await say(ann, "first");
      await message(ann, "ann: first").waitFor();
      await guide.follow("Revoke the permission");
      await status(ann, "ann: Your access has ended.").waitFor();
      await guide.follow("Build for production");
    }),
);

test.skipIf(missingBrowser)("the guide for Next.js does the same", () =>
  withGuide("docs/guides/next.md", "my-next", async (guide, browser) => {
    const { app } = guide;
    await guide.follow("Next.js");
    await guide.follow("Configure Next.js");
    await guide.follow("Declare permissions, a channel and a view");
    await guide.follow("Identify the user");
    await guide.follow("Add the routes");
    await guide.follow("Write the page");
    await guide.follow("Start the app");
    await guide.follow("Give Ann access");
    const ann = await signedIn(browser, app.url, "ann");
    await status(ann, "ann: open").waitFor();
    await say(ann, "first");
    await message(ann, "ann: first").waitFor();
    await guide.follow("Revoke the permission");
    await status(ann, "ann: Your access has ended.").waitFor();
    await guide.follow("Let events pass a login check");
    await app.run("npx", "tsc", "--noEmit");
  }),
);
