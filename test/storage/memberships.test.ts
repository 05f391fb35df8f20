import { beforeEach, describe, expect, test } from "vitest";
import type { Database } from "../../src/storage/database.ts";
import type { ConnectionRow } from "../../src/storage/stores/connections.ts";
import type { JoinResult, MembershipRequest, MembershipStore } from "../../src/storage/stores/memberships.ts";
import { isPostgres } from "../postgres/database.ts";
import { changedStorage } from "../postgres/storage-at.ts";
import { Changes, chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const at = twoProcesses();
let processes: readonly [MembershipStore, MembershipStore];
beforeEach(async () => {
  processes = at.each(({ store }) => store.memberships);
  await addSessions(at.one, [
    { id: "a", gateway_id: await addGateway(at.one), connection_id: "connection", user_id: "ann" },
    { id: "A", gateway_id: await addGateway(at.one, "other") },
  ]);
});

const allow = () => undefined;
const join = (store: MembershipStore, channel: string, given: Partial<MembershipRequest> = {}) =>
  store.join({ connectionKey: "a", channel, ...given }, allow);

/** Leaves a channel, and returns whether the connection had joined it. */
const leave = async (store: MembershipStore, channel: string, id = "a") =>
  (await store.loseMany([{ connection: { id }, channel }])).length > 0;

/** Returns the channels of a connection in the order of joining. */
async function channelsOf(connectionKey: string): Promise<readonly string[]> {
  const [connection] = await at.two.store.connections.page({ kind: "connection", connectionKey }, "");
  return connection?.channels ?? [];
}

describe("a channel", () => {
  test("is joined once by concurrent calls, and many channels can be joined at once", async () => {
    const once = await at.race(20, processes, (each) => join(each, "room"));
    expect(once.failed).toEqual([]);
    expect(await channelsOf("a")).toEqual(["room"]);
    const channels = Array.from({ length: 40 }, (_, index) => `room ${index}`);
    const many = await at.race(40, processes, (each, index) => join(each, channels[index] as string));
    expect(many.failed).toEqual([]);
    expect(sorted(await channelsOf("a"))).toEqual(sorted(["room", ...channels]));
    expect(await channelsOf("A")).toEqual([]);
  });

  test("that is joined last is listed last, also within a millisecond and when joined again", async () => {
    const channels = idsOfAllForms(60);
    for (const channel of channels) await join(processes[0], channel);
    expect(await channelsOf("a")).toEqual(channels);
    const again = [channels[30], channels[0], channels[59]] as string[];
    for (const channel of again) await join(processes[1], channel);
    expect(await channelsOf("a")).toEqual([
      ...channels.filter((channel) => !again.includes(channel)),
      ...again,
    ]);
  });

  test("is listed after those joined before the clock was set back", async () => {
    const ahead = Date.now() + 3_600_000;
    await addMemberships(at.one.db, [{ connection_key: "a", channel: "ahead", joined_at: ahead }]);
    await join(processes[0], "room");
    await join(processes[1], "Room");
    expect(await channelsOf("a")).toEqual(["ahead", "room", "Room"]);
  });

  test("is separate from channels with similar names, and from those of other connections", async () => {
    for (const channel of ALIKE) await join(processes[0], channel);
    const [, memberships] = processes;
    for (const [index, channel] of ALIKE.entries()) {
      expect(await memberships.isIn("a", channel)).toBe(true);
      expect(await memberships.isIn("A", channel)).toBe(false);
      expect(await leave(processes[0], channel, "A")).toBe(false);
      expect(await leave(processes[0], channel)).toBe(true);
      expect(await memberships.isIn("a", channel)).toBe(false);
      expect(sorted(await channelsOf("a"))).toEqual(sorted(ALIKE.slice(index + 1)));
    }
  });

  test("is not joined if the check of the connection throws", async () => {
    const seen: ConnectionRow[] = [];
    const check = (connection: ConnectionRow) => {
      seen.push(connection);
      throw new Error("rejected");
    };
    const joining = processes[0].join({ connectionKey: "a", channel: "room", leaving: "desk" }, check);
    await expect(joining).rejects.toThrow("rejected");
    expect(seen).toEqual([expect.objectContaining({ id: "a", connectionId: "connection", userId: "ann" })]);
    expect(await channelsOf("a")).toEqual([]);
  });

  test("is joined with the permissions that the connection has at that moment", async () => {
    await rightsGiven(at, (changes) => changes.grant("ann", chat.read));
    const seen: (readonly string[])[] = [];
    const joined = () =>
      processes[1].join({ connectionKey: "a", channel: "room" }, ({ permissions }) => seen.push(permissions));
    await joined();
    await new Changes(at.one).revoke("ann", chat.read);
    await joined();
    expect([seen[0], seen.at(-1)]).toEqual([[chat.read], []]);
  });

  test("is joined up to the maximum number, and can be joined again at that number", async () => {
    const joinUpTo = (max: number, channel: string, each = processes[0]) => join(each, channel, { max });
    for (const channel of ALIKE) expect(await joinUpTo(ALIKE.length, channel)).toBe("joined");
    expect(await joinUpTo(ALIKE.length, "one more")).toBe("full");
    const [first = ""] = ALIKE;
    expect(await joinUpTo(ALIKE.length, first)).toBe("joined");
    expect((await channelsOf("a")).at(-1)).toBe(first);
    const { passed, failed } = await at.race(12, processes, (each, index) =>
      joinUpTo(ALIKE.length + 3, `room ${index}`, each),
    );
    expect(failed).toEqual([]);
    expect(passed.filter((result) => result === "joined")).toHaveLength(3);
    expect(passed.filter((result) => result === "full")).toHaveLength(9);
    expect(await channelsOf("a")).toHaveLength(ALIKE.length + 3);
  });

  test("is joined in place of another one, also at the limit", async () => {
    for (const channel of ["one", "two", "three"]) await join(processes[0], channel);
    const moved = (channel: string, leaving: string) => join(processes[0], channel, { max: 3, leaving });
    expect(await moved("four", "two")).toBe("joined");
    expect(await channelsOf("a")).toEqual(["one", "three", "four"]);
    expect(await moved("five", "none")).toBe("full");
    expect(await moved("one", "one")).toBe("joined");
    expect(await channelsOf("a")).toEqual(["three", "four", "one"]);
  });

  test("is not joined if a change that affects the connection was recorded since", async () => {
    await rightsGiven(at, (changes) => changes.grant("ann", chat.read));
    const changes = new Changes(at.one);
    await changes.apply({ kind: "recheck", user: "bob" });
    const since = await at.two.store.changes.last();
    expect(await join(processes[1], "room", { since })).toBe("joined");
    await changes.apply({ kind: "recheck", user: "bob" });
    expect(await join(processes[1], "desk", { since })).toBe("joined");
    await changes.apply({ kind: "recheck", user: "ann" });
    expect(await join(processes[1], "hall", { since, leaving: "desk" })).toBe("changed");
    expect(await channelsOf("a")).toEqual(["room", "desk"]);
  });

  test("cannot be joined by a connection that is unknown or closed", async () => {
    expect(await join(processes[0], "room", { connectionKey: "none" })).toBe("closed");
    await at.two.store.connections.closeMany(["a"], "ended");
    expect(await join(processes[0], "room")).toBe("closed");
    expect(await processes[0].isIn("a", "room")).toBe(false);
  });
});

describe("leaving", () => {
  test("a channel succeeds for one of many concurrent calls", async () => {
    await join(processes[0], "room");
    await join(processes[0], "Room");
    const { passed } = await at.race(20, processes, (each) => leave(each, "room"));
    expect(passed.filter(Boolean)).toHaveLength(1);
    expect(await channelsOf("a")).toEqual(["Room"]);
  });

  test("many channels at once succeeds once for each, in any order", async () => {
    const channels = idsOfAllForms(150);
    const leaving = ["a", "A"].flatMap((id) =>
      channels.map((channel) => ({ connection: { id }, channel, key: `${id} in ${channel}` })),
    );
    for (let round = 0; round < 3; round++) {
      await addMemberships(
        at.one.db,
        leaving.map(({ connection, channel }) => ({ connection_key: connection.id, channel })),
      );
      const none = { connection: { id: "a" }, channel: "never joined", key: "none" };
      const named = [none, ...leaving];
      const { passed, failed } = await at.race(4, processes, (memberships, index) =>
        memberships.loseMany(index % 2 === 0 ? named : [...named].reverse()),
      );
      expect(failed).toEqual([]);
      expect(sorted(passed.flat().map(({ key }) => key))).toEqual(sorted(leaving.map(({ key }) => key)));
      expect(await channelsOf("a")).toEqual([]);
    }
    expect(await processes[0].loseMany([])).toEqual([]);
  });

  test("and joining at the same time is consistent, and each membership is left once", async () => {
    for (let round = 0; round < 10; round++) {
      const { passed, failed } = await at.race<MembershipStore, boolean | JoinResult>(
        6,
        processes,
        (each, index) => (index % 3 === 0 ? leave(each, "room") : join(each, "room")),
      );
      expect(failed).toEqual([]);
      const isIn = await processes[0].isIn("a", "room");
      expect(isIn || passed.includes(true)).toBe(true);
      expect(await leave(processes[1], "room")).toBe(isIn);
    }
  });
});

describe("leaving all channels", () => {
  test("of several connections leaves those of others", async () => {
    for (const channel of ["room", "desk"]) {
      await join(processes[0], channel);
      await join(processes[0], channel, { connectionKey: "A" });
    }
    await processes[1].leaveAll(["a", "none"]);
    expect(await channelsOf("a")).toEqual([]);
    expect(await channelsOf("A")).toEqual(["room", "desk"]);
  });
});

describe.runIf(isPostgres)("a channel that is joined while nothing changes", () => {
  /** Joins in a storage that does some work before it writes the membership. */
  async function joinAfter(
    work: () => Promise<unknown>,
    given: Partial<MembershipRequest> = {},
  ): Promise<{ readonly result: JoinResult; readonly checks: number }> {
    let checks = 0;
    const storage: Database = changedStorage(at.one, {
      executeBatch: async (statements, options) => {
        await work();
        return at.one.executeBatch(statements, options);
      },
    });
    const request = { connectionKey: "a", channel: "desk", leaving: "room", ...given };
    const result = await storage.store.memberships.join(request, () => checks++);
    return { result, checks };
  }

  test("is joined without a transaction, and in place of another one", async () => {
    const storage = changedStorage(at.one, {
      sharedTransaction: () => Promise.reject(new Error("A transaction is not needed.")),
    });
    const { memberships } = storage.store;
    for (const [channel, leaving] of [
      ["room", undefined],
      ["desk", "room"],
      ["desk", "desk"],
      ["room", "none"],
    ] as const)
      expect(await join(memberships, channel, { leaving })).toBe("joined");
    expect(await channelsOf("a")).toEqual(["desk", "room"]);
  });

  test("is checked again after a change, or when a grant has expired, and denied after a close", async () => {
    await join(processes[0], "room");
    expect(await joinAfter(async () => undefined)).toEqual({ result: "joined", checks: 1 });
    await join(processes[0], "room", { leaving: "desk" });
    const change = () => new Changes(at.two).apply({ kind: "recheck", user: "bob" });
    expect(await joinAfter(change)).toEqual({ result: "joined", checks: 2 });
    await join(processes[0], "room", { leaving: "desk" });
    const until = (await at.time()) + 500;
    await rightsGiven(at, (changes) => changes.grant("ann", chat.read, { until }));
    const expiry = () => expect.poll(() => at.time()).toBeGreaterThan(until);
    expect(await joinAfter(expiry)).toEqual({ result: "joined", checks: 2 });
    await join(processes[0], "room", { leaving: "desk" });
    const close = () => at.two.store.connections.closeMany(["a"], "ended");
    expect(await joinAfter(close)).toEqual({ result: "closed", checks: 1 });
    expect(await processes[1].isIn("a", "room")).toBe(true);
    expect(await processes[1].isIn("a", "desk")).toBe(false);
  });

  test("waits for a change that has begun, and is checked again then", async () => {
    let joining: Promise<unknown> | undefined;
    let checks = 0;
    await at.two.transaction(async (db) => {
      await db
        .insertInto("sallyport_counters")
        .values({ key: "changes recorded", window_started_at: 0, count: 1 })
        .execute();
      joining = processes[0].join({ connectionKey: "a", channel: "room" }, () => checks++);
      await at.passTime();
    });
    expect(await joining).toBe("joined");
    expect(checks).toBe(2);
  });
});
