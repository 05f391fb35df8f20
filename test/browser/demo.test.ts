import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../../bench/src/free-port.ts";
import { mergeHistory } from "../../examples/chat/page/chat/merge-history.ts";
import type { ChatMessage } from "../../examples/chat/src/messages.ts";
import { sqliteDatabase } from "../postgres/storage-at.ts";
import { DemoApp, type DemoPage, missingChromium } from "./demo-app.ts";

const CHAT = "chat.can_use_chat";

let app: DemoApp;

/** Opens the page with the access of the start, as Alice on the left and Mo on the right. */
async function opened(): Promise<DemoPage> {
  const demo = await app.open();
  onTestFinished(() => demo.close());
  await demo.pane("left").reaches("open");
  await demo.pane("right").reaches("open");
  return demo;
}

describe.skipIf(missingChromium)(`the demo${missingChromium}`, () => {
  beforeAll(async () => {
    app = await DemoApp.start();
  });
  afterAll(() => app?.close());

  describe("the chat", () => {
    test("shows the messages of both people as text, and a moderator deletes one after a question", async () => {
      const demo = await opened();
      const [alice, mo] = [demo.pane("left"), demo.pane("right")];
      await alice.message("Morning! The release goes out at noon.").waitFor();
      await alice.say("hello from alice");
      await alice.message("hello from alice").waitFor();
      const html = "<b>bold</b> & <img src=x onerror=alert(1)>";
      await mo.say(html);
      await alice.message(html).waitFor();
      expect(await alice.locator.getByTestId("message-text").locator("b, img").count()).toBe(0);
      expect(await alice.locator.getByRole("button", { name: /^Delete/ }).count()).toBe(0);

      const deleteButton = mo
        .message("hello from alice")
        .getByRole("button", { name: "Delete the message of Alice" });
      await deleteButton.click();
      await demo.page.getByRole("button", { name: "Keep" }).click();
      await demo.page.getByRole("button", { name: "Keep" }).waitFor({ state: "detached" });
      expect(await alice.message("hello from alice").count()).toBe(1);
      await deleteButton.click();
      await demo.page.getByRole("button", { name: "Delete", exact: true }).click();
      await alice.message("hello from alice").waitFor({ state: "detached" });
      await mo.message("hello from alice").waitFor({ state: "detached" });
    });

    test("shows a lock on rooms that the person cannot enter, and opens one when it is unlocked", async () => {
      const demo = await opened();
      const alice = demo.pane("left");
      expect(await alice.room("moderators").getAttribute("aria-label")).toBe("Moderators, locked");
      expect(await alice.room("book-club").getAttribute("aria-label")).toBe("Book club");
      await alice.room("moderators").click();
      await alice.locator.getByText("Moderators is locked").waitFor();
      await alice.locator.getByText("Alice needs “Moderate chat”.").waitFor();
      await alice.locator.getByRole("button", { name: "Why?" }).click();
      const explanation = demo.page.getByTestId("explanation");
      await explanation.getByText("Room Moderators: failed").waitFor();
      await demo.page.keyboard.press("Escape");
      await explanation.waitFor({ state: "detached" });
      await demo.toggle("Alice", "Moderate chat").click({ force: true });
      await alice.message("Two reports this week. Both are settled.").waitFor();
      // The other person has chosen another room.
      expect(await demo.pane("right").message("Two reports this week. Both are settled.").count()).toBe(0);
    });

    test("keeps the messages of a room that was lost, and joins it again when access returns", async () => {
      const demo = await opened();
      const mo = demo.pane("right");
      await mo.room("moderators").click();
      await mo.message("Two reports this week. Both are settled.").waitFor();
      await demo.toggle("Mo", "Use chat").click({ force: true });
      expect(await demo.turnOff("Mo", "In group Moderators")).toBe(
        "Revoke Mo’s membership of Moderators? Mo loses “Moderate chat”. Mo leaves the room Moderators. Cancel Revoke",
      );
      const ended = mo.locator.getByTestId("access-ended");
      await ended.getByText("Mo’s access to Moderators has ended").waitFor();
      await ended
        .getByText(/^Removed from the room \d+ ms after the change\. The connection stays open/)
        .waitFor();
      await mo.reaches("open");
      await mo.message("Two reports this week. Both are settled.").waitFor();
      await demo.toggle("Mo", "In group Moderators").click({ force: true });
      await ended.waitFor({ state: "detached" });
      await mo.say("back again");
      await mo.message("back again").waitFor();
    });

    test("sends with Enter, and breaks the line with Shift+Enter", async () => {
      const demo = await opened();
      const [alice, mo] = [demo.pane("left"), demo.pane("right")];
      await alice.locator.getByTestId("composer").fill("first line");
      await demo.page.keyboard.press("Shift+Enter");
      await demo.page.keyboard.type("second line");
      await demo.page.keyboard.press("Enter");
      await mo.locator
        .getByTestId("message-text")
        .filter({ hasText: /^first line\nsecond line$/ })
        .waitFor();
      const composer = alice.locator.getByTestId("composer");
      await expect.poll(() => composer.inputValue()).toBe("");
    });

    test("keeps the times of the first messages when the demo is reset", async () => {
      const timesOf = async () => {
        const demo = await opened();
        return demo.pane("left").message("Morning! The release goes out at noon.").innerText();
      };
      expect(await timesOf()).toBe(await timesOf());
    });

    test("merges the history with the messages that arrive or are deleted while it is requested", () => {
      const [one, two, three] = [1, 2, 3].map((id) => ({
        id,
        room: "general",
        message: `message ${id}`,
        username: "Alice",
        user_id: "alice",
        created_at: "2026-01-01T00:00:00.000Z",
      })) as [ChatMessage, ChatMessage, ChatMessage];
      const merged = mergeHistory([one, two], { arrived: [two, three], deleted: new Set([1]) });
      expect(merged).toEqual([two, three]);
    });

    test("signs in as another person, and signs out", async () => {
      const demo = await opened();
      const left = demo.pane("left");
      await left.signInAs("Rita");
      await left.reaches("open");
      expect(await left.room("moderators").getAttribute("aria-label")).toBe("Moderators");
      await left.locator.getByTestId("person").click();
      await demo.page.getByRole("menuitem", { name: "Sign out" }).click();
      await left.locator.getByTestId("sign-in").waitFor();
      const summary = demo.page.getByTestId("access-Rita").getByTestId("summary");
      await expect.poll(() => summary.innerText()).toBe("superuser");
      await demo.pane("right").reaches("open");
      await demo.page.reload();
      await left.locator.getByRole("button", { name: /^Eve\b/ }).click();
      await left.reaches("denied");
    });
  });

  describe("the access panel", () => {
    test("shows what a revoke ends, and then the socket is closed and its page says why", async () => {
      const demo = await opened();
      const [alice, mo] = [demo.pane("left"), demo.pane("right")];
      await alice.message("Of course. I'll show you a draft first.").waitFor();
      expect(await demo.turnOff("Alice", "Use chat")).toBe(
        "Revoke “Use chat” from Alice? Closes 1 connection of Alice. Cancel Revoke",
      );
      await alice.reaches("denied");
      const ended = alice.locator.getByTestId("access-ended");
      await ended.getByText("Alice’s access to this chat has ended").waitFor();
      await ended.getByText(/closed \d+ ms after the change/).waitFor();
      // The messages of before stay, and later ones do not arrive.
      await mo.say("without alice");
      await mo.message("without alice").waitFor();
      expect(await alice.message("Of course. I'll show you a draft first.").count()).toBe(1);
      expect(await alice.message("without alice").count()).toBe(0);
      expect(await alice.locator.getByTestId("composer").count()).toBe(0);
      expect(await demo.page.getByTestId("access-Alice").getByTestId("summary").innerText()).toMatch(
        /^socket closed after \d+ ms$/,
      );

      await ended.getByRole("button", { name: "Why?" }).click();
      const explanation = demo.page.getByTestId("explanation");
      await explanation.getByText("Chat: failed").waitFor();
      await explanation.getByText("Alice has neither.", { exact: false }).waitFor();
      await demo.page.keyboard.press("Escape");

      // The notice stays when another room is selected.
      await alice.room("random").click();
      await alice.locator.getByText("Random is locked").waitFor();
      await ended.getByText("Alice’s access to this chat has ended").waitFor();
      await alice.room("general").click();

      await demo.toggle("Alice", "Use chat").click({ force: true });
      await alice.reaches("open");
      await expect
        .poll(() => demo.page.getByTestId("access-Alice").getByTestId("summary").innerText())
        .toBe("member, connected");
      await alice.message("without alice").waitFor();
      await alice.say("I am back");
      await mo.message("I am back").waitFor();
    });

    test("changes nothing when the preview is canceled", async () => {
      const demo = await opened();
      // The label is part of the switch.
      await demo.page.getByTestId("access-Alice").getByText("Use chat").click();
      await demo.page.getByTestId("preview").getByRole("button", { name: "Cancel" }).click();
      expect(await demo.toggle("Alice", "Use chat").isChecked()).toBe(true);
      await demo.pane("left").reaches("open");
    });

    test("shows the time until a grant ends, and access ends with it", async () => {
      const demo = await opened();
      const eve = demo.pane("left");
      await eve.signInAs("Eve");
      await eve.locator.getByText("Eve has no access to this chat").waitFor();
      expect(await eve.locator.getByTestId("access-ended").count()).toBe(0);
      await app.turn("Eve", { permission: CHAT, isOn: true, seconds: 3 });
      await eve.reaches("open");
      // The card of a signed-in person is open.
      await demo.page
        .getByTestId("access-Eve")
        .getByRole("timer")
        .getByText(/^0:0\d$/)
        .waitFor();
      await eve.locator.getByText("Eve’s access to this chat has ended").waitFor();
      await demo.page.getByTestId("access-Eve").getByRole("timer").waitFor({ state: "detached" });
      await demo
        .lines(/Eve’s socket closed\s*\d+ ms after the end of the grant/)
        .first()
        .waitFor();
    });

    test("says that a permission is held through a group, or as a superuser", async () => {
      const demo = await opened();
      const heldBy = (name: string) => demo.page.getByTestId(`access-${name}`).getByTestId("held");
      expect(await heldBy("Mo").allInnerTexts()).toEqual([
        "on, through Moderators",
        "on, through Moderators",
      ]);
      await demo.pane("left").signInAs("Rita");
      await expect
        .poll(() => heldBy("Rita").allInnerTexts())
        .toEqual(["on, as a superuser", "on, as a superuser"]);
      await demo.pane("left").room("book-club").click();
      await demo
        .pane("left")
        .locator.getByText("Superusers still need to be members of the book club.")
        .waitFor();
    });

    test("offers durations for a grant, unless it is permanent", async () => {
      const demo = await opened();
      const clock = (label: string) => demo.page.getByRole("button", { name: `Give Alice “${label}” for…` });
      expect(await clock("Use chat").count()).toBe(0);
      await clock("Moderate chat").click();
      await demo.page.getByText(/^“Moderate chat” for Alice, for\s…$/).waitFor();
      await demo.page.getByRole("menuitem", { name: "1 minute" }).click();
      await demo.page.getByTestId("access-Alice").getByRole("timer").waitFor();
      expect(await demo.toggle("Alice", "Moderate chat").isChecked()).toBe(true);
    });

    test("shows who loses what when a permission is taken from a group", async () => {
      const demo = await opened();
      await demo.page.getByTestId("access-Moderators").getByRole("button").first().click();
      expect(await demo.turnOff("group Moderators", "Moderate chat")).toBe(
        "Revoke “Moderate chat” from the group Moderators? Mo loses “Moderate chat”. Cancel Revoke",
      );
      await expect
        .poll(() => demo.pane("right").room("moderators").getAttribute("aria-label"))
        .toBe("Moderators, locked");
      await demo.pane("right").reaches("open");
    });

    test("rechecks rooms when the app's own data changes", async () => {
      const demo = await opened();
      const alice = demo.pane("left");
      await alice.room("book-club").click();
      await alice.message("I have finished chapter 3. No spoilers, please.").waitFor();
      expect(await demo.turnOff("Alice", "Member of the book club")).toBe(
        "Revoke Alice’s membership of the book club? Alice leaves the room Book club. Cancel Revoke",
      );
      await alice.locator.getByText("Alice’s access to Book club has ended").waitFor();
      await demo.toggle("Alice", "Member of the book club").click({ force: true });
      await alice.locator.getByTestId("access-ended").waitFor({ state: "detached" });
      await alice.reaches("open");
    });

    test("follows changes of the command line, which reaches the same sockets", async () => {
      const demo = await opened();
      const alice = demo.pane("left");
      await app.cli("users", "revoke", "alice@example.com", CHAT);
      await alice.locator.getByText("Alice’s access to this chat has ended").waitFor();
      await expect.poll(() => demo.toggle("Alice", "Use chat").isChecked()).toBe(false);
      await app.cli("users", "grant", "alice@example.com", CHAT);
      await alice.reaches("open");
      await expect.poll(() => demo.toggle("Alice", "Use chat").isChecked()).toBe(true);
    });
  });

  describe("the live panel", () => {
    test("explains each decision rule by rule", async () => {
      const demo = await opened();
      await demo.pane("right").say("a message to explain");
      await demo.lines("Mo sends a message").first().getByRole("button").click();
      const explanation = demo.page.getByTestId("explanation");
      await explanation.getByText("allowed", { exact: true }).waitFor();
      await demo.page.getByText("Why Mo may call send_message").waitFor();
      await explanation.getByText("Chat: passed").waitFor();
      await explanation.getByText("(through Moderators)", { exact: false }).first().waitFor();
      const reference = /why (\w+)/.exec(await explanation.locator("pre").innerText())?.[1] ?? "";
      expect((await app.cli("why", reference)).stdout).toContain("send_message");
    });

    test("shows only changes and denials, if it is filtered", async () => {
      const demo = await opened();
      await demo.lines("Alice joined General").first().waitFor();
      await demo.live.getByText("Changes and denials").click();
      await demo.lines("Alice joined General").first().waitFor({ state: "detached" });
      await demo.turnOff("Alice", "Use chat");
      await demo.lines("Use chat revoked from Alice").first().waitFor();
      await demo.lines("Alice lost the chat").first().waitFor();
      await demo
        .lines(/Alice’s socket closed\s*\d+ ms after the revoke/)
        .first()
        .waitFor();
    });
  });

  describe("the server of the demo", () => {
    test("rejects requests of other sites and for other hosts, and invalid switches", async () => {
      const post = (body: string, headers: Record<string, string>) =>
        fetch(`${app.url}/api/access/switch`, { method: "POST", body, headers });
      const json = { "content-type": "application/json" };
      const form = await post("{}", { "content-type": "text/plain", origin: "https://evil.example" });
      expect(form.status).toBe(403);
      expect((await post("{}", json)).status).toBe(400);
      expect((await post("{", json)).status).toBe(400);
      const superuser = JSON.stringify({ kind: "superuser", user: "x", isOn: true, also: 1 });
      expect((await post(superuser, json)).status).toBe(400);
      const { request } = await import("node:http");
      const rebound = await new Promise<number | undefined>((resolve, reject) => {
        const { port } = new URL(app.url);
        const headers = { host: `evil.example:${port}` };
        request({ host: "127.0.0.1", port, path: "/api/access", headers }, ({ statusCode }) =>
          resolve(statusCode),
        )
          .on("error", reject)
          .end();
      });
      expect(rebound).toBe(403);
    });

    test("keeps messages and access over a restart, and the page connects again by itself", async () => {
      const demo = await opened();
      await demo.pane("left").say("before the restart");
      await demo.pane("right").message("before the restart").waitFor();
      await app.turn("Eve", { permission: CHAT, isOn: true });
      expect(await app.stop("SIGINT")).toBe(0);
      await demo.pane("left").reaches("reconnecting");
      await demo.live.getByText("no server").waitFor();
      await app.run();
      await demo.pane("left").reaches("open");
      await demo.live.getByText("live", { exact: true }).waitFor();
      await demo.pane("left").say("after the restart");
      await demo.pane("right").message("after the restart").waitFor();
      await expect.poll(() => demo.lines("sends a message").count()).toBe(1);
    });

    test("closes the connections of a killed process when it starts again, also on other ports", async () => {
      const demo = await opened();
      await demo.pane("left").say("kept");
      await demo.pane("left").message("kept").waitFor();
      await app.stop("SIGKILL");
      expect(await openConnections()).toBe(2);
      await app.choosePorts(await freePort(), await freePort());
      await app.run();
      expect(await openConnections()).toBe(0);
      const again = await app.openAsIs();
      onTestFinished(() => again.close());
      await again.pane("right").message("kept").waitFor();
    });

    test("prints one sentence and exits with code 1 for a used port or an invalid value", async () => {
      const attempt = async (changes: NodeJS.ProcessEnv) => {
        const child = app.spawn(changes);
        let text = "";
        child.stderr?.on("data", (data) => {
          text += data;
        });
        const code = await new Promise<number | null>((done) => child.on("exit", done));
        return { code, text };
      };
      const isUsed = { code: 1, text: expect.stringMatching(/^Port \d+ is in use\..*\n$/) };
      expect(await attempt({})).toEqual(isUsed);
      expect(await attempt({ PORT: String(await freePort()) })).toEqual(isUsed);
      for (const bad of ["x", "0", "70000", "1.5", "-1"]) {
        const isInvalid = { code: 1, text: expect.stringMatching(/^PORT=.* is not a port number\..*\n$/) };
        expect(await attempt({ PORT: bad })).toEqual(isInvalid);
      }
    });
  });

  test("neither the server nor a page printed an error", () => {
    const lines = app.output.split("\n").filter((line) => /error/i.test(line));
    // A denied token request is an expected 403, and a stopped server refuses connections. Chromium
    // reports both by itself.
    const isExpected = (line: string) =>
      /status of 403|net::ERR_|WebSocket connection to|ERR_CONNECTION|403 \(Forbidden\)/.test(line);
    expect(lines.filter((line) => !isExpected(line))).toEqual([]);
  });
});

/** Returns the number of rows of open connections. */
async function openConnections(): Promise<number> {
  const storage = sqliteDatabase(app.env.DATABASE as string);
  const rows = await storage.db
    .selectFrom("sallyport_connections")
    .select("id")
    .where("closed_at", "is", null)
    .execute();
  await storage.close();
  return rows.length;
}
