import type { AuditEntry, Decision } from "sallyport";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { rowsOf } from "../../examples/chat/page/live/rows.ts";
import { changesAfter } from "../../examples/chat/src/live/changes.ts";
import type { LiveEntry } from "../../examples/chat/src/live/entry.ts";
import { LiveFeed, MAX_READERS } from "../../examples/chat/src/live/feed.ts";
import { DemoApp, type DemoPage, missingChromium } from "./demo-app.ts";

const CHAT = "chat.can_use_chat";

/** Returns decisions about a person, newest first, one every 100 milliseconds. */
function decisions(...given: readonly (Partial<Decision> & { readonly person?: string })[]): LiveEntry[] {
  return given
    .map(
      ({ person = "Alice", ...fields }, index): LiveEntry => ({
        kind: "decision",
        id: index + 1,
        at: 1000 + index * 100,
        person,
        decision: {
          event: "message",
          path: "/ws/chat/default",
          reference: `reference-${index}`,
          at: 1000 + index * 100,
          verdict: "allowed",
          status: 200,
          reason: undefined,
          message: "",
          missing: [],
          steps: [],
          tookMs: 3,
          repeats: 0,
          ...fields,
        },
      }),
    )
    .reverse();
}

describe("the lines of the live panel", () => {
  const token = { event: "token", channel: "rooms/general" } as const;
  const connect = { event: "connect", channel: "rooms/general" } as const;
  const read = { handler: "fetch_history" };

  test("join the decisions about a page that connects, also if two pages connect at the same time", () => {
    const mo = { person: "Mo" };
    const rows = rowsOf(
      decisions(token, { ...token, ...mo }, connect, { ...connect, ...mo }, { ...read, ...mo }, read),
    );
    expect(rows.map(({ title, detail }) => `${title}: ${detail}`)).toEqual([
      "Mo joined General: 3 checks passed",
      "Alice joined General: 3 checks passed",
    ]);
    expect(rows[1]?.reference).toBe("reference-2");
  });

  test("count equal decisions that follow each other", () => {
    const send = { handler: "send_message" };
    const denied = { event: "token", verdict: "denied", status: 403, missing: [CHAT] } as const;
    const rows = rowsOf(decisions(send, send, { ...denied, repeats: 2 }, denied, send));
    expect(rows.map(({ title, detail }) => `${title}: ${detail}`)).toEqual([
      "Alice sends a message: allowed, done in 3.0 ms",
      "Alice requests a token: denied, needs Use chat, 4 times",
      "Alice sends a message: allowed, 2 times",
    ]);
  });

  test("have no explanation if the decision is too old", () => {
    const [newer, older] = decisions({ event: "revocation", verdict: "denied" }, { handler: "send_message" });
    const closed = {
      kind: "closed",
      id: 3,
      at: 1300,
      person: "Alice",
      userId: "1",
      afterMs: 20,
      change: { action: "revoke" } as AuditEntry,
      reference: "reference-0",
    } as const;
    const referenceOf = (entries: readonly (LiveEntry | undefined)[]) =>
      rowsOf(entries.filter((entry) => entry !== undefined))[0]?.reference;
    expect(referenceOf([closed, newer, older])).toBe("reference-0");
    expect(referenceOf([closed, newer])).toBeUndefined();
  });
});

describe("the live feed", () => {
  test("reads all pages of changes until the last known number", async () => {
    const log = Array.from({ length: 180 }, (_, index) => ({ number: 180 - index }) as AuditEntry);
    const list = async ({ limit, before = Number.POSITIVE_INFINITY }: { limit: number; before?: number }) =>
      log.filter(({ number }) => number < before).slice(0, limit);
    const found = await changesAfter(list, 7);
    expect(found.map(({ number }) => number)).toEqual(Array.from({ length: 173 }, (_, index) => index + 8));
    expect(await changesAfter(list, 180)).toEqual([]);
    expect(await changesAfter(async () => [], 0)).toEqual([]);
  });

  test("closes the oldest page if there are too many", async () => {
    const feed = new LiveFeed();
    const readers = Array.from({ length: MAX_READERS + 1 }, () => feed.read(0));
    expect(readers.map(({ isSuperseded }) => isSuperseded)).toEqual([
      true,
      ...Array(MAX_READERS).fill(false),
    ]);
    expect(await readers[0]?.next()).toEqual([]);
    feed.add({ kind: "reset", at: 1, person: null });
    expect(await readers[1]?.next()).toHaveLength(1);
  });
});

describe.skipIf(missingChromium)(`the live panel of the demo${missingChromium}`, () => {
  let app: DemoApp;
  beforeAll(async () => {
    app = await DemoApp.start();
  });
  afterAll(() => app?.close());

  async function opened(width = 1280, height = 800): Promise<DemoPage> {
    const demo = await app.open({ viewport: { width, height } });
    onTestFinished(() => demo.close());
    await demo.pane("left").locator.getByTestId("message").first().waitFor();
    return demo;
  }

  test("does not give a closed tab the time of an earlier change", async () => {
    const demo = await opened();
    const mo = demo.pane("right");
    await mo.room("moderators").click();
    await mo.message("Two reports this week. Both are settled.").waitFor();
    await app.turn("Mo", { permission: CHAT, isOn: true });
    await demo.turnOff("Mo", "In group Moderators");
    await demo.lines("Mo lost Moderators").first().waitFor();
    const watching = await app.openAsIs();
    onTestFinished(() => watching.close());
    await watching.pane("right").reaches("open");
    await demo.close();
    await watching.lines("A socket of Mo disconnected").first().waitFor();
    expect(await watching.lines("Mo’s socket closed").count()).toBe(0);
  });

  test("names the person who signs out, and explains the closed socket", async () => {
    const demo = await opened();
    const alice = demo.pane("left");
    await alice.reaches("open");
    await alice.locator.getByTestId("person").click();
    await demo.page.getByRole("menuitem", { name: "Sign out" }).click();
    await demo.lines("Alice signed out").first().waitFor();
    const closed = demo.lines(/Alice’s socket closed\s*\d+ ms after signing out/).first();
    await closed.getByRole("button").click();
    await demo.page.getByText("Why Alice lost the chat").waitFor();
    await demo.page.getByText(/Caused by: Alice signed out, \d/).waitFor();
  });

  test("ends the list of a reset with a line, and names it as the author of the changes", async () => {
    const demo = await opened();
    await demo.turnOff("Alice", "Use chat");
    await demo.lines("Alice’s socket closed").first().waitFor();
    await demo.page.getByRole("button", { name: "Reset" }).click();
    await demo
      .lines(/Use chat granted to Alice\s*by Reset/)
      .first()
      .waitFor();
    expect(await demo.lines(/^Reset/).count()).toBeGreaterThan(0);
  });

  test("shows the complete command of a terminal", async () => {
    const demo = await opened();
    await demo.lines("Alice joined General").first().getByRole("button").click();
    const command = await demo.page.getByTestId("explanation").locator("pre").innerText();
    expect(command).toMatch(/^DATABASE=\S+chat\.db npx sallyport why \w{12}$/);
  });

  test("marks the steps of the guide, which can be closed and opened again", async () => {
    const demo = await opened();
    const done = demo.page.getByLabel("What to try").getByRole("listitem").filter({ hasText: "Done." });
    expect(await done.count()).toBe(0);
    await demo.turnOff("Alice", "Use chat");
    await expect.poll(() => done.count()).toBe(1);
    await demo.pane("left").locator.getByRole("button", { name: "Why?" }).click();
    await expect.poll(() => done.count()).toBe(2);
    await demo.page.keyboard.press("Escape");
    await demo.lines("Alice lost the chat").first().getByRole("button").click();
    await expect.poll(() => done.count()).toBe(3);
    await demo.page.keyboard.press("Escape");
    await demo.page.getByRole("button", { name: "Close the guide" }).click();
    await demo.page.getByRole("button", { name: "Guide", exact: true }).click();
    expect(await done.count()).toBe(3);
  });

  test("says on a phone that access has ended, and shows the chat", async () => {
    const demo = await opened(390, 844);
    await demo.page.getByRole("radiogroup", { name: "Panel" }).getByText("Access", { exact: true }).click();
    await demo.turnOff("Alice", "Use chat");
    const notice = demo.page.getByTestId("notice");
    await notice.getByText(/Alice’s socket closed after \d+ ms/).waitFor();
    await notice.getByRole("button", { name: "See the chat" }).click();
    await demo.pane("left").locator.getByTestId("access-ended").waitFor();
    await demo.page.getByRole("button", { name: "More" }).click();
    await demo.page.getByRole("link", { name: "Gateway inspector" }).waitFor();
  });

  test.each([
    ["a tablet", 768, 1024],
    ["a small laptop", 1024, 768],
  ])("shows a switch beside its chat on %s, and nothing is wider than the page", async (_, width, height) => {
    const demo = await opened(width, height);
    for (const part of [demo.toggle("Alice", "Use chat"), demo.pane("left").locator, demo.live]) {
      const box = await part.boundingBox();
      expect(box && box.x >= 0 && box.x + box.width <= width && box.y < height).toBe(true);
    }
    expect(await demo.page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
  });

  test("sends an event to the oldest page if too many pages are open, so that it does not connect again", async () => {
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const open = () => fetch(`${app.url}/api/live`, { signal: stop.signal });
    const oldest = await open();
    for (let count = 0; count < MAX_READERS; count++) await open();
    expect(await oldest.text()).toContain("event: superseded");
  });

  test("rejects requests of pages of other sites and other ports", async () => {
    const statusOf = async (site: string) =>
      (await fetch(`${app.url}/api/config`, { headers: { "sec-fetch-site": site } })).status;
    expect(await statusOf("cross-site")).toBe(403);
    expect(await statusOf("same-site")).toBe(403);
    expect(await statusOf("same-origin")).toBe(200);
    expect(await statusOf("none")).toBe(200);
  });
});
