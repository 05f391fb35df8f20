import { expect, test } from "vitest";
import {
  describeInBrowser,
  details,
  errors,
  gateway,
  openClient,
  openPage,
  openTab,
  rows,
  select,
  start,
} from "./inspector-page.ts";

describeInBrowser("the inspector in Chromium", () => {
  test("shows a connect and a message with request and response, and hides secrets", async () => {
    await start();
    const page = await openPage();
    await page.getByText("No events yet").waitFor();
    expect(await page.getByText("npx wscat -c").textContent()).toContain(gateway.url);
    const client = await openClient("?ws_token=client-token");
    client.socket.send('{"text":"hello"}');
    await client.text();
    await rows(page).nth(1).waitFor();
    expect(await rows(page).allTextContents()).toEqual([
      expect.stringMatching(/Message\$default.*200.*\{"text":"hello"\} → \{"got"/),
      expect.stringMatching(/Connect\$connect.*200/),
    ]);

    const connect = await select(page, "$connect");
    await connect.getByText("Response 200").waitFor();
    const text = await connect.innerText();
    expect(text).toContain("/ws/connect?ws_token=");
    for (const secret of ["client-token", "request-secret", "response-secret", "gateway-secret"])
      expect(text).not.toContain(secret);
    for (const name of ["ws_token", "cookie", "set-cookie", "x-sallyport-secret"])
      await connect.getByRole("button", { name: `Show the value of ${name}`, exact: true }).click();
    const shown = await connect.innerText();
    for (const secret of ["client-token", "request-secret", "response-secret", "gateway-secret"])
      expect(shown).toContain(secret);

    const message = await select(page, "$default");
    await message.getByText("Response 200").waitFor();
    expect(await message.getByLabel("Request body").innerText()).toContain('"text": "hello"');
    expect(await message.getByLabel("Response body").innerText()).toContain('"got"');
    expect(await message.innerText()).toMatch(/POST http:\/\/127\.0\.0\.1:\d+\/ws\/default/);
  });

  test("shows HTML in paths, messages and user agents as text", async () => {
    await start();
    const html = "<img src=x onerror=alert(1)>";
    const page = await openPage();
    page.on("dialog", () => errors.push("a dialog was opened"));
    const client = await openClient(`?${html}`, html);
    client.socket.send(html);
    await client.text();
    const message = await select(page, "Message");
    await message.getByText("Response 200").waitFor();
    expect(await message.getByLabel("Request body").innerText()).toContain(html);
    const connect = await select(page, "$connect");
    await connect.getByText("Response 200").waitFor();
    expect(await connect.innerText()).toContain(html);
    await openTab(page, "Connections");
    await rows(page).getByText(html).waitFor();
    expect(await page.locator("img").count()).toBe(0);
  });

  test("filters by kind, connection, failure and text, and can be paused and cleared", async () => {
    await start();
    const page = await openPage();
    const [one, two] = [await openClient(), await openClient()];
    const [, second = ""] = gateway.connectionIds;
    for (const [client, text] of [
      [one, "apple"],
      [two, "pear"],
      [one, "fail"],
    ] as const) {
      client.socket.send(text);
      await client.text();
    }
    await rows(page).nth(4).waitFor();
    const expectRows = async (count: number) => expect.poll(() => rows(page).count()).toBe(count);
    await page.getByLabel("Kind of event").selectOption("Connect");
    await expectRows(2);
    await page.getByLabel("Kind of event").selectOption("All events");
    await page.getByLabel("Connection", { exact: true }).selectOption(second);
    await expectRows(2);
    await page.getByLabel("Search").fill("PEAR");
    await expectRows(1);
    await page.getByLabel("Search").fill("banana");
    await page.getByRole("button", { name: "Remove the filters" }).click();
    await expectRows(5);
    await page.getByRole("switch", { name: "Only failures" }).click({ force: true });
    await expectRows(1);
    expect(await rows(page).first().innerText()).toMatch(/500/);
    await page.getByRole("switch", { name: "Only failures" }).click({ force: true });

    await page.getByRole("button", { name: "Pause" }).click();
    two.socket.send("while paused");
    await two.text();
    await page.getByText("Events (6)").waitFor();
    await expectRows(5);
    await page.getByRole("button", { name: "Resume" }).click();
    await expectRows(6);
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByText("No events yet").waitFor();
  });

  test("can be used with the keyboard", async () => {
    await start();
    const page = await openPage();
    const client = await openClient();
    for (const text of ["first", "second"]) {
      client.socket.send(text);
      await client.text();
    }
    await rows(page).nth(2).waitFor();
    await rows(page).first().focus();
    await page.keyboard.press("ArrowDown");
    await details(page).getByText("first").first().waitFor();
    await page.keyboard.press("End");
    await details(page).getByText("Connect $connect").waitFor();
    await page.keyboard.press("ArrowUp");
    expect(
      await rows(page)
        .nth(1)
        .evaluate((row) => row === document.activeElement),
    ).toBe(true);
    expect(await rows(page).nth(1).getAttribute("aria-selected")).toBe("true");
    await page.keyboard.press("Escape");
    await details(page).waitFor({ state: "detached" });
    expect(
      await rows(page)
        .nth(1)
        .evaluate((row) => row === document.activeElement),
    ).toBe(true);
  });

  test("shows new rows only after the pointer has left the list, or on a click", async () => {
    await start();
    const page = await openPage();
    const client = await openClient();
    const send = async (text: string) => {
      client.socket.send(text);
      await client.text();
    };
    await send("first");
    await rows(page).nth(1).waitFor();
    await rows(page).nth(1).hover();
    await send("second");
    await send('{"handler":"third","id":1,"text":"x"}');
    await page.getByRole("button", { name: "2 new" }).click();
    await rows(page).nth(3).waitFor();
    expect(await rows(page).first().innerText()).toMatch(/third {"text":"x","id":1}/);
    expect(await page.getByRole("button", { name: /new$/ }).count()).toBe(0);
    await send("fourth");
    await page.getByRole("button", { name: "1 new" }).waitFor();
    expect(await rows(page).count()).toBe(4);
    await page.mouse.move(0, 0);
    await rows(page).nth(4).waitFor();

    await rows(page).first().focus();
    await send("fifth");
    await page.getByRole("button", { name: "1 new" }).focus();
    await page.keyboard.press("Enter");
    await rows(page).nth(5).waitFor();
    expect(
      await rows(page)
        .first()
        .evaluate((row) => row === document.activeElement),
    ).toBe(true);
  });

  test("can switch between light and dark colors", async () => {
    await start();
    const page = await openPage({ colorScheme: "light" });
    await page.getByRole("button", { name: "Use dark colors" }).click();
    await page.reload();
    await page.getByRole("button", { name: "Use light colors" }).waitFor();
    expect(await page.getByRole("heading", { level: 1 }).innerText()).toBe("Gateway inspector");
    expect(await page.title()).toBe("Gateway inspector");
  });

  test("shows the URL of the gateway with the host of the page", async () => {
    await start({ host: "0.0.0.0" });
    const page = await openPage();
    await page.goto(`http://localhost:${gateway.port}/`);
    await page.getByText("No events yet").waitFor();
    expect(await page.getByText("npx wscat -c").textContent()).toContain(
      `ws://localhost:${gateway.port}/dev`,
    );
  });

  test("connects again when the gateway has restarted", async () => {
    await start();
    const page = await openPage();
    const { port } = gateway;
    await openClient();
    await rows(page).first().waitFor();
    await gateway.close();
    await page.getByText("The gateway does not answer.").waitFor();
    await start({ port });
    await page.getByText("Live").waitFor();
    await page.getByText("No events yet").waitFor();
    // Chromium reports the lost connection itself.
    errors.length = 0;
  });

  test("works in ten pages of one browser, of which the oldest stop", async () => {
    await start();
    const first = await openPage();
    const context = first.context();
    for (let count = 1; count < 10; count++) {
      const page = await context.newPage();
      await page.goto(gateway.inspectorUrl as string);
      await page.getByText("Live").waitFor();
    }
    await first.getByText("This page no longer receives events").waitFor();
    await first.getByRole("button", { name: "Connect again" }).click();
    await first.getByText("Live").waitFor();
  });
});
