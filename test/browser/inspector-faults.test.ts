import { expect, test } from "vitest";
import {
  calls,
  describeInBrowser,
  errors,
  faultBanner,
  gateway,
  openClient,
  openPage,
  openTab,
  rows,
  select,
  start,
  switchFault,
} from "./inspector-page.ts";

/** The time limit of a dropped message, in milliseconds. The gateway accepts no shorter one. */
const TIMEOUT_MS = 50;

describeInBrowser("the inspector in Chromium, for clients and faults", () => {
  test("sends a message to a client, sets a network fault and closes the connection", async () => {
    await start();
    const page = await openPage();
    const client = await openClient("", "my client 1.0");
    const [id = ""] = gateway.connectionIds;
    await openTab(page, "Connections");
    const row = rows(page).filter({ hasText: id });
    await row.waitFor();
    expect(await row.innerText()).toMatch(/my client 1\.0/);
    await row.click();
    await page.getByLabel("Message to the client").fill("from the page");
    await page.getByRole("button", { name: "Send" }).click();
    expect(await client.text()).toBe("from the page");
    await page.getByText("The message was sent.").waitFor();
    await row.getByText("0 / 1").waitFor();

    await page.getByLabel("Network fault").selectOption("not-reading");
    await row.getByText("not-reading").waitFor();
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("The client does not read, and its buffer is full.").waitFor();
    // Chromium reports the status 429 itself.
    errors.length = 0;
    await page.getByLabel("Network fault").selectOption("none");
    await row.getByText("ok").waitFor();

    await page.getByRole("button", { name: "Close the connection" }).click();
    expect(await client.closed).toMatchObject({ code: 1000 });
    await page.getByText("No open connections").waitFor();
  });

  test("drops, delays and duplicates events", async () => {
    await start({ integrationTimeoutMs: TIMEOUT_MS });
    const page = await openPage();
    const client = await openClient();
    await switchFault(page, "Drop events");
    client.socket.send("lost");
    await client.text();
    await rows(page).filter({ hasText: "timed out" }).filter({ hasText: "dropped" }).waitFor();
    expect(calls).not.toContain("/ws/default lost");
    await page.getByRole("button", { name: "Remove all faults" }).click();
    await faultBanner(page).waitFor({ state: "hidden" });

    await openTab(page, "Faults");
    await page.getByLabel("Delay events, in ms").fill("30");
    await switchFault(page, "Delay events");
    client.socket.send("late");
    await client.text();
    await rows(page).filter({ hasText: "delayed 30 ms" }).filter({ hasText: "200" }).waitFor();
    expect(await page.getByRole("status").first().innerText()).toContain("Delay events (30 ms)");
    await page.getByRole("button", { name: "Remove all faults" }).click();

    await switchFault(page, "Duplicate events");
    client.socket.send("double");
    await client.text();
    await rows(page).filter({ hasText: "sent twice" }).filter({ hasText: "200" }).waitFor();
    await expect.poll(() => calls.filter((call) => call === "/ws/default double").length).toBe(2);
  });

  test("answers posts of the backend with 410 and 429", async () => {
    await start();
    const page = await openPage();
    const client = await openClient();
    for (const [label, status, name] of [
      ["Answer posts with 410", 410, "GoneException"],
      ["Answer posts with 429", 429, "LimitExceededException"],
    ] as const) {
      await switchFault(page, label);
      client.socket.send("post");
      expect(await client.text()).toBe(`the post was answered ${status}`);
      const call = await select(page, new RegExp(`API call.*POST.*${status}`));
      await call.getByText(`Response ${status}`).waitFor();
      expect(await call.innerText()).toContain(name);
      await call.getByText("Injected fault: the post was answered with an error").waitFor();
      const row = rows(page).filter({ hasText: new RegExp(`=${status}fault`) });
      expect(await row.getByText("fault", { exact: true }).count()).toBe(1);
      expect(await call.getByLabel("Request body").innerText()).toContain("pushed");
      await page.getByRole("button", { name: "Remove all faults" }).click();
      await faultBanner(page).waitFor({ state: "hidden" });
    }
    client.socket.send("post");
    expect(await client.text()).toBe("pushed");
  });
});
