import { beforeEach, expect, test } from "vitest";
import { CONNECTION_PAGE, type ConnectionSelector } from "../../src/storage/stores/connections.ts";
import type { LostChannelStore } from "../../src/storage/stores/lost-channels.ts";
import type { MembershipStore } from "../../src/storage/stores/memberships.ts";
import { twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";

const at = twoProcesses();
let lostChannels: LostChannelStore;
let memberships: MembershipStore;
let gateway: string;
beforeEach(async () => {
  lostChannels = at.two.store.lostChannels;
  memberships = at.one.store.memberships;
  gateway = await addGateway(at.one);
});

const idOf = (index: number) => `connection ${String(index).padStart(6, "0")}`;

/** Opens connections of ann, which join and lose channels. */
async function lose(connections: number, channels: readonly string[]): Promise<void> {
  const ids = Array.from({ length: connections }, (_, index) => idOf(index));
  await addSessions(
    at.one,
    ids.map((id) => ({ id, gateway_id: gateway, connection_id: id, user_id: "ann" })),
  );
  const left = ids.flatMap((id) => channels.map((channel) => ({ connection: { id }, channel })));
  await addMemberships(
    at.one.db,
    left.map(({ connection, channel }) => ({ connection_key: connection.id, channel })),
  );
  await memberships.loseMany(left);
}

const read = async (selector: ConnectionSelector, after = "") =>
  (await lostChannels.page(selector, after)).map(({ id, lostChannels }) => [id, lostChannels]);

test("are those that were lost, but not those that were left or never joined", async () => {
  await lose(2, ["b", "a"]);
  await addMemberships(at.one.db, [{ connection_key: idOf(0), channel: "left" }]);
  await memberships.leave(idOf(0), "left");
  await memberships.loseMany([{ connection: { id: idOf(0) }, channel: "never joined" }]);
  const both = [
    [idOf(0), ["a", "b"]],
    [idOf(1), ["a", "b"]],
  ];
  expect(await read({ kind: "all" })).toEqual(both);
  expect(await read({ kind: "user", userId: "ann" })).toEqual(both);
  expect(await read({ kind: "user", userId: "bob" })).toEqual([]);
  expect(await read({ kind: "channel", channel: "b" })).toEqual(both);
  expect(await read({ kind: "channel", channel: "left" })).toEqual([]);
});

test("are removed one by one, and with their connection", async () => {
  await lose(2, ["a", "b"]);
  const first = { connectionKey: idOf(0), channel: "a" };
  expect(await lostChannels.claim(first, "record")).toBe(true);
  await lostChannels.remove(first, "record");
  await lostChannels.remove({ ...first, channel: "b" }, "record");
  expect(await read({ kind: "all" })).toEqual([
    [idOf(0), ["b"]],
    [idOf(1), ["a", "b"]],
  ]);
  await at.one.store.connections.closeMany([idOf(1)], "test");
  expect(await read({ kind: "all" })).toEqual([[idOf(0), ["b"]]]);
});

test("are claimed by one record, also again, until it releases them", async () => {
  await lose(1, ["a"]);
  const lost = { connectionKey: idOf(0), channel: "a" };
  const claims = await at.race(
    20,
    at.each(({ store }) => store.lostChannels),
    (each, index) => each.claim(lost, `record ${index % 4}`),
  );
  expect(claims.failed).toEqual([]);
  expect(claims.passed.filter(Boolean)).toHaveLength(5);
  const winner = `record ${claims.passed.indexOf(true) % 4}`;
  await lostChannels.release(lost, "another record");
  expect(await lostChannels.claim(lost, "another record")).toBe(false);
  await lostChannels.release(lost, winner);
  expect(await lostChannels.claim(lost, "another record")).toBe(true);
  expect(await lostChannels.claim({ ...lost, channel: "never lost" }, "record")).toBe(false);
});

test("that are lost again while a record has claimed them are kept", async () => {
  await lose(1, ["a"]);
  const lost = { connectionKey: idOf(0), channel: "a" };
  await lostChannels.claim(lost, "record");
  await addMemberships(at.one.db, [{ connection_key: idOf(0), channel: "a" }]);
  await memberships.loseMany([{ connection: { id: idOf(0) }, channel: "a" }]);
  await lostChannels.remove(lost, "record");
  expect(await read({ kind: "all" })).toEqual([[idOf(0), ["a"]]]);
});

test("of many connections are read in pages", async () => {
  await lose(
    CONNECTION_PAGE + 1,
    Array.from({ length: 12 }, (_, index) => `room ${index + 10}`),
  );
  const first = await read({ kind: "all" });
  expect(first).toHaveLength(CONNECTION_PAGE);
  const after = String(first.at(-1)?.[0]);
  expect(await read({ kind: "all" }, after)).toHaveLength(1);
});
