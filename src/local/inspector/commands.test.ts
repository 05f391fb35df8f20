import { describe, expect, test } from "vitest";
import { answerOf, command, connected, openPage, post } from "../../../test/local/inspector-page.ts";

describe("commands", () => {
  test("send a message to a client, and close its connection", async () => {
    const { gateway, client, connectionId, backend } = await connected();
    expect(await command(gateway, "send", { connectionId, data: "<b>é</b>" })).toMatchObject({ status: 200 });
    expect(await client.message()).toEqual({ text: "<b>é</b>", isBinary: false });
    expect(await command(gateway, "send", { connectionId, data: "é".repeat(70_000) })).toMatchObject({
      status: 413,
    });
    expect(await command(gateway, "close", { connectionId })).toMatchObject({ status: 200 });
    expect(await client.closed).toMatchObject({ code: 1000 });
    await backend.call("disconnect");
    expect(await command(gateway, "send", { connectionId, data: "x" })).toMatchObject({ status: 410 });
    expect(await command(gateway, "close", { connectionId })).toMatchObject({ status: 410 });
  });

  test("simulate a fault of the network", async () => {
    const { gateway, connectionId } = await connected();
    expect(await command(gateway, "impair", { connectionId, fault: "not-reading" })).toMatchObject({
      status: 200,
    });
    expect((await post(gateway, connectionId, "x")).status).toBe(429);
    expect(await command(gateway, "send", { connectionId, data: "x" })).toMatchObject({ status: 429 });
    await command(gateway, "impair", { connectionId, fault: "none" });
    expect((await post(gateway, connectionId, "x")).status).toBe(200);
    expect(await command(gateway, "impair", { connectionId, fault: "fire" })).toMatchObject({ status: 400 });
  });

  test("change single faults, and keep those of the code", async () => {
    const { gateway, connectionId } = await connected();
    gateway.setFaults({ drop: () => false, delayMs: 5 });
    await command(gateway, "set-faults", { gone: 1 });
    expect((await post(gateway, connectionId, "x")).status).toBe(410);
    await command(gateway, "set-faults", { gone: 0, limitExceeded: 1 });
    expect((await post(gateway, connectionId, "x")).status).toBe(429);
    const page = await openPage(gateway);
    expect(page.messages[0]).toMatchObject({ faults: { drop: "function", delayMs: 5, limitExceeded: 1 } });
    expect(await command(gateway, "set-faults", { drop: 2 })).toEqual({
      status: 400,
      body: { message: "setFaults(): drop must be a number from 0 to 1 or a function, but received 2." },
    });
    expect((await command(gateway, "set-faults", { seed: 1 })).status).toBe(400);
    await command(gateway, "remove-faults");
    expect((await post(gateway, connectionId, "x")).status).toBe(200);
  });

  test("change single faults, and continue the random numbers of a seed", async () => {
    const faults = { reorderMs: 0, gone: 0.5, seed: 7 };
    const statuses = async (isChanged: boolean) => {
      const { gateway, connectionId } = await connected();
      gateway.setFaults(faults);
      const received: (number | undefined)[] = [];
      for (let count = 0; count < 12; count++) {
        if (isChanged) await command(gateway, "set-faults", { duplicate: 0 });
        received.push((await post(gateway, connectionId, "x")).status);
      }
      return received;
    };
    const unchanged = await statuses(false);
    expect(new Set(unchanged)).toEqual(new Set([200, 410]));
    expect(await statuses(true)).toEqual(unchanged);
  });

  test("clear the events for every page", async () => {
    const { gateway, client } = await connected();
    const page = await openPage(gateway);
    expect(page.events).toHaveLength(1);
    expect((await command(gateway, "clear")).status).toBe(200);
    await page.until(() => page.events.length === 0);
    expect((await command(gateway, "details", { id: 1 })).status).toBe(404);
    client.socket.send("next");
    await page.until(() => page.events[0]?.outcome === "answered");
    expect(page.events).toHaveLength(1);
  });

  test.each([
    ["nothing", "", 400],
    ["malformed JSON", "{", 400],
    ["a list", "[]", 400],
    ["a number", "1", 400],
    ["a missing field", "{}", 400],
    ["a field of another type", '{"connectionId":1,"data":{}}', 400],
    ["2 MB", `"${"x".repeat(2_000_000)}"`, 413],
  ])("reject %s", async (_, body, status) => {
    const { gateway } = await connected();
    expect((await answerOf(gateway, "/.inspector/send", { body })).status).toBe(status);
  });

  test("reject an unknown name with 404", async () => {
    const { gateway } = await connected();
    expect((await command(gateway, "toString")).status).toBe(404);
    expect((await command(gateway, "../dev")).status).toBe(404);
  });
});
