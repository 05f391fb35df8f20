import { beforeEach, describe, expect, test } from "vitest";
import { Connections } from "../../src/connections/connections.ts";
import { type CheckedMembershipRequest, Memberships } from "../../src/connections/memberships.ts";
import { UserPermissions } from "../../src/permissions/effective.ts";
import { ChangeLog } from "../../src/revocation/change-log.ts";
import type { Database } from "../../src/storage/database.ts";
import { isPostgres } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

interface Process {
  readonly database: Database;
  readonly memberships: Memberships;
}

const at = twoProcesses();
let processes: readonly [Process, Process];
beforeEach(async () => {
  processes = at.each((database) => ({ database, memberships: new Memberships(database) }));
  await addSessions(at.one, [
    { id: "a", gateway_id: await addGateway(at.one), connection_id: "connection" },
    { id: "A", gateway_id: await addGateway(at.one, "other") },
  ]);
});

const join = ({ database, memberships }: Process, channel: string, session = "a") =>
  database.sharedTransaction((db) => memberships.join(db, { connectionKey: session, channel }));
const leave = ({ database, memberships }: Process, channel: string, session = "a") =>
  database.sharedTransaction((db) => memberships.leave(db, session, channel));

/** Returns the channels of a connection in the order of joining. */
async function channelsOf(id: string): Promise<readonly string[]> {
  const [session] = await new Connections(at.two, new UserPermissions(at.two)).page(
    { kind: "connection", connectionKey: id },
    "",
  );
  return session?.channels ?? [];
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
    await at.one.transaction(async (db) => {
      for (const channel of channels)
        await processes[0].memberships.join(db, { connectionKey: "a", channel });
    });
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
    const { memberships } = processes[1];
    for (const [index, channel] of ALIKE.entries()) {
      expect(await memberships.isIn("a", channel)).toBe(true);
      expect(await memberships.isIn("A", channel)).toBe(false);
      expect(await leave(processes[0], channel, "A")).toBe(false);
      expect(await leave(processes[0], channel)).toBe(true);
      expect(await memberships.isIn("a", channel)).toBe(false);
      expect(sorted(await channelsOf("a"))).toEqual(sorted(ALIKE.slice(index + 1)));
    }
  });

  test("is not joined if the transaction is rolled back", async () => {
    const undone = at.one.sharedTransaction(async (db) => {
      expect(await processes[0].memberships.join(db, { connectionKey: "a", channel: "room" })).toBe(true);
      throw new Error("refused");
    });
    await expect(undone).rejects.toThrow("refused");
    expect(await channelsOf("a")).toEqual([]);
  });

  test("is joined up to the maximum number, and can be joined again at that number", async () => {
    const joinUpTo = (max: number, channel: string, each = processes[0]) =>
      each.database.sharedTransaction(
        (db) => each.memberships.join(db, { connectionKey: "a", channel, max }),
        {
          lock: "channels of a",
        },
      );
    for (const channel of ALIKE) expect(await joinUpTo(ALIKE.length, channel)).toBe(true);
    expect(await joinUpTo(ALIKE.length, "one more")).toBe(false);
    const [first = ""] = ALIKE;
    expect(await joinUpTo(ALIKE.length, first)).toBe(true);
    expect((await channelsOf("a")).at(-1)).toBe(first);
    const { passed, failed } = await at.race(12, processes, (each, index) =>
      joinUpTo(ALIKE.length + 3, `room ${index}`, each),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(Boolean)).toHaveLength(3);
    expect(await channelsOf("a")).toHaveLength(ALIKE.length + 3);
  });

  test("is joined in place of another one, also at the limit", async () => {
    for (const channel of ["one", "two", "three"]) await join(processes[0], channel);
    const moved = (channel: string, leaving: string) =>
      at.one.sharedTransaction((db) =>
        processes[0].memberships.join(db, { connectionKey: "a", channel, max: 3, leaving }),
      );
    expect(await moved("four", "two")).toBe(true);
    expect(await channelsOf("a")).toEqual(["one", "three", "four"]);
    expect(await moved("five", "none")).toBe(false);
    expect(await moved("one", "one")).toBe(true);
    expect(await channelsOf("a")).toEqual(["three", "four", "one"]);
  });

  test("cannot be joined by an unknown connection", async () => {
    await expect(join(processes[0], "room", "none")).rejects.toThrow(/foreign/i);
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
      const { passed, failed } = await at.race(4, processes, ({ memberships }, index) =>
        memberships.leaveMany(index % 2 === 0 ? named : [...named].reverse()),
      );
      expect(failed).toEqual([]);
      expect(sorted(passed.flat().map(({ key }) => key))).toEqual(sorted(leaving.map(({ key }) => key)));
      expect(await channelsOf("a")).toEqual([]);
    }
    expect(await processes[0].memberships.leaveMany([])).toEqual([]);
  });

  test("and joining at the same time is consistent, and leave() reports its effect", async () => {
    for (let round = 0; round < 10; round++) {
      const { passed, failed } = await at.race(6, processes, async (each, index) =>
        index % 3 === 0 ? leave(each, "room") : void (await join(each, "room")),
      );
      expect(failed).toEqual([]);
      const isIn = await processes[0].memberships.isIn("a", "room");
      if (!isIn) expect(passed.filter((left) => left === true).length).toBeGreaterThan(0);
      expect(await leave(processes[1], "room")).toBe(isIn);
    }
  });
});

describe.runIf(isPostgres)("a channel that is joined while nothing changes", () => {
  const NONE = null;
  const joinUnchanged = (
    channel: string,
    given: Partial<CheckedMembershipRequest> = {},
    each = processes[0],
  ) =>
    each.memberships.joinUnchanged(
      { connectionKey: "a", channel, since: 0, validUntil: NONE, ...given },
      "channels of a",
    );

  test("is joined in one statement, and in place of another one", async () => {
    expect(await joinUnchanged("room")).toBe(true);
    expect(await joinUnchanged("desk", { leaving: "room" })).toBe(true);
    expect(await joinUnchanged("desk", { leaving: "desk" })).toBe(true);
    expect(await joinUnchanged("room", { leaving: "none" })).toBe(true);
    expect(await channelsOf("a")).toEqual(["desk", "room"]);
  });

  test("is neither joined nor left after a change, an expiry or a close, or at the limit", async () => {
    await join(processes[0], "room");
    const moved = (given: Partial<CheckedMembershipRequest>) =>
      joinUnchanged("desk", { leaving: "room", ...given });
    expect(await moved({ since: 1 })).toBe(false);
    expect(await moved({ validUntil: Date.now() - 1000 })).toBe(false);
    expect(await joinUnchanged("desk", { max: 1 })).toBe(false);
    await at.one.transaction((db) => new ChangeLog(at.one).append(db));
    expect(await moved({})).toBe(false);
    expect(await moved({ connectionKey: "A", since: 1 })).toBe(true);
    await at.two.db
      .updateTable("sallyport_connections")
      .set({ closed_at: at.two.now })
      .where("id", "=", "a")
      .execute();
    expect(await moved({ since: 1 })).toBe(false);
    expect(await processes[1].memberships.isIn("a", "room")).toBe(true);
    expect(await processes[1].memberships.isIn("a", "desk")).toBe(false);
  });

  test("waits for a change that has begun, and is not joined then", async () => {
    let joining: Promise<boolean> | undefined;
    await at.two.transaction(async (db) => {
      await new ChangeLog(at.two).append(db);
      joining = joinUnchanged("room");
      await at.passTime();
    });
    expect(await joining).toBe(false);
    expect(await channelsOf("a")).toEqual([]);
  });

  test("is joined by concurrent calls up to the limit", async () => {
    const { passed, failed } = await at.race(12, processes, (each, index) =>
      joinUnchanged(`room ${index}`, { max: 3 }, each),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(Boolean)).toHaveLength(3);
    expect(await channelsOf("a")).toHaveLength(3);
  });
});
