import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { at, connected, handshake, idOf, manage, onDesk, openDesk, say } from "./desk.ts";

onDesk("events may be late", async () => {
  const desk = await openDesk({});
  const arrived = await connected(desk);
  desk.local.setFaults({ delayMs: ({ kind }) => (kind === "message" ? 150 : 0) });
  const startedAt = performance.now();
  say(arrived, { body: "late" });
  expect(await arrived.client.text()).toBe("late");
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(140);
});

onDesk("a $disconnect may be lost, and whoever posts finds out", async () => {
  const desk = await openDesk({});
  desk.local.setFaults({ drop: ({ kind }) => kind === "disconnect" });
  const arrived = await connected(desk);
  const id = await idOf(arrived);
  arrived.client.socket.close();
  await arrived.client.closed;
  expect((await manage(desk, "POST", at(id), "x")).status).toBe(410);
  await sleep(100);
  expect((await arrived.calls()).map(({ kind }) => kind)).toEqual(["connect"]);
});

onDesk("a connect or a message that is lost is a timeout for its client", async () => {
  const desk = await openDesk({ integrationTimeoutMs: 60 });
  const arrived = await connected(desk);
  desk.local.setFaults({ drop: 1 });
  arrived.client.socket.send("{}");
  expect(await arrived.client.text()).toMatch(/^\{"message": "Endpoint request timed out"/);
  expect(await handshake(desk)).toBe(504);
  expect(await arrived.calls()).toHaveLength(1);
  desk.local.setFaults({});
  say(arrived, { body: "well again" });
  expect(await arrived.client.text()).toBe("well again");
});

onDesk("events may come twice, and the client has one answer", async () => {
  const desk = await openDesk({});
  const arrived = await connected(desk);
  desk.local.setFaults({ duplicate: ({ routeKey }) => routeKey === "$default" });
  say(arrived, { body: "once" });
  expect(await arrived.client.text()).toBe("once");
  await arrived.called("default", 2);
  desk.local.setFaults({});
  say(arrived, { body: "next" });
  expect(await arrived.client.text()).toBe("next");
});

onDesk("messages may overtake one another, by a seed the same way each time", async () => {
  const order = async (seed: number) => {
    const desk = await openDesk({});
    const arrived = await connected(desk);
    desk.local.setFaults({ reorderMs: 400, seed });
    for (let count = 0; count < 8; count++) say(arrived, { body: String(count) });
    const answers: string[] = [];
    while (answers.length < 8) answers.push(await arrived.client.text());
    return answers.join("");
  };
  const [first, again] = [await order(778), await order(778)];
  expect(first).not.toBe("01234567");
  expect([...first].sort().join("")).toBe("01234567");
  expect(again).toBe(first);
});

onDesk("by a share of chance, the same events are lost each time", async () => {
  const lost = async () => {
    const desk = await openDesk({ integrationTimeoutMs: 1000 });
    const arrived = await connected(desk);
    desk.local.setFaults({ drop: 0.5, seed: 11 });
    for (let count = 0; count < 20; count++) say(arrived, { body: "" }, { count });
    await sleep(150);
    return (await arrived.calls())
      .flatMap(({ kind, body }) =>
        kind === "default" ? [(JSON.parse(body) as { count: number }).count] : [],
      )
      .sort();
  };
  const first = await lost();
  expect(first.length).toBeGreaterThan(3);
  expect(first.length).toBeLessThan(17);
  expect(await lost()).toEqual(first);
});

onDesk("5.4, §9.22 a half-open client is posted to in vain, and nothing comes from it", async () => {
  const desk = await openDesk({});
  const arrived = await connected(desk);
  const id = await idOf(arrived);
  expect(desk.local.connectionIds).toEqual([id]);
  expect(desk.local.impair(id, "half-open")).toBe(true);
  expect((await manage(desk, "POST", at(id), "lost")).status).toBe(200);
  say(arrived, { body: "unheard" });
  await sleep(100);
  expect([arrived.client.unread, (await arrived.calls()).length]).toEqual([0, 1]);
  desk.local.impair(id, "none");
  say(arrived, { body: "heard" });
  expect(await arrived.client.text()).toBe("heard");
});

onDesk("5.3, §9.29 a client whose buffer is full is 429 LimitExceeded", async () => {
  const desk = await openDesk({});
  const id = await idOf(await connected(desk));
  desk.local.impair(id, "not-reading");
  const { status, headers, body } = await manage(desk, "POST", at(id), "x");
  expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
  expect(desk.local.impair("L0SM9cOFvHcCIhw=", "half-open")).toBe(false);
});

onDesk("what is no share or duration is refused", async () => {
  const { local } = await openDesk({});
  for (const faults of [{ drop: 2 }, { drop: -0.1 }, { duplicate: Number.NaN }])
    expect(() => local.setFaults(faults)).toThrow(/is no share/);
  for (const faults of [{ delayMs: -1 }, { reorderMs: Number.POSITIVE_INFINITY }])
    expect(() => local.setFaults(faults)).toThrow(/no duration/);
});
