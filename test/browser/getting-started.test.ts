import { expect, test } from "vitest";
import { message, say, signedIn, status, withGuide } from "../documentation/chat-in-browser.ts";
import { missingBrowser } from "../templates/first-hour.ts";

test.skipIf(missingBrowser)("docs/getting-started.md leads from an empty folder to a revoked socket", () =>
  withGuide("docs/getting-started.md", "my-chat", async (guide, browser) => {
    const { app } = guide;
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
    const ann = await signedIn(browser, app.url, "ann");
    await status(ann, "ann: open").waitFor();
    await say(ann, "first");
    await message(ann, "ann: first").waitFor();

    const bob = await signedIn(browser, app.url, "bob");
    await status(bob, "bob: Permission denied.").waitFor();
    await expect.poll(() => app.output).toMatch(/^403 bob \/ws\/chat needs chat\.use \(why: \w{12}\)$/m);
    await guide.follow("A second user is denied");
    await status(bob, "bob: open").waitFor();

    await say(ann, "second");
    for (const page of [ann, bob]) await message(page, "ann: second").waitFor();
    await guide.follow("Revoke the permission");
    await status(bob, "bob: access has ended").waitFor();
    await say(ann, "third");
    await message(ann, "ann: third").waitFor();
    expect(await message(bob, "third").count()).toBe(0);

    const [, reference = ""] = /\((\w{12})\)/.exec(await bob.getByRole("status").innerText()) ?? [];
    const explained = await guide.follow("Explain a denial", (command) =>
      command.replace(/why \w{12}/, `why ${reference}`),
    );
    expect(explained).toContain("chat.use");
  }),
);
