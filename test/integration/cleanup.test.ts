import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NOW, padded } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": ChatView } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(() => world.close());

/** Inserts connections that opened `agoMs` ago, each in a channel. */
async function insertConnections(prefix: string, count: number, agoMs: number): Promise<void> {
  await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select '${prefix}' || ${padded("i", 5)}, (select id from sallyport_gateways), '${prefix}' || ${padded("i", 5)} || '=',
      '/ws/chat', 'ann', ${NOW} - ${agoMs}, 0 from n`);
  await world.sql(
    `insert into sallyport_memberships select id, 'rooms/a', 1 from sallyport_connections where id like '${prefix}%'`,
  );
}

async function count(table: string): Promise<number> {
  const [row] = (await world.sql(`select count(*) as n from sallyport_${table}`)) as { n: number | string }[];
  return Number(row?.n);
}

describe("cleanup", () => {
  test("B63 B65 removes old connections, tokens and counters, and keeps the others and the audit log", async () => {
    const ann = await world.connect("ann", { channel: "rooms/a" });
    await insertConnections("old", 2500, 25 * HOUR_MS);
    await insertConnections("young", 3, 23 * HOUR_MS);
    await world.token("ann");
    const token = (hash: string, expiredAgoMs: number) =>
      world.sql(
        `insert into sallyport_tokens (hash, user_id, created_at, expires_at) values ('${hash}', 'ann', 0, ${NOW} - ${expiredAgoMs})`,
      );
    for (let n = 0; n < 5; n++) await token(`old${n}`, HOUR_MS);
    await token("replayable", 60_000);
    await world.sql(
      `insert into sallyport_counters (key, window_started_at, count) values ('over', ${NOW} - 1000000, 7), ('running', ${NOW} - 10000, 7)`,
    );
    const before = { counters: await count("counters"), changes: await world.sallyport.access.audit.list() };

    expect(await world.sallyport.cleanup()).toEqual({
      connections: 2500,
      tokens: 5,
      endedSessions: 0,
      counters: 1,
      decisions: 0,
      audit: 0,
    });
    expect(await count("connections")).toBe(4);
    expect(await count("memberships")).toBe(4);
    expect(await world.sql("select hash from sallyport_tokens where hash like 'old%'")).toEqual([]);
    expect(await world.sql("select hash from sallyport_tokens where hash = 'replayable'")).toHaveLength(1);
    expect(await count("counters")).toBe(before.counters - 1);
    expect(await world.sallyport.access.audit.list()).toEqual(before.changes);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    // The numbers of audit entries continue after a cleanup.
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    expect((await world.sallyport.access.audit.list())[0]?.number).toBe((before.changes[0]?.number ?? 0) + 1);

    expect(await world.sallyport.cleanup()).toMatchObject({
      connections: 0,
      tokens: 0,
      endedSessions: 0,
      counters: 0,
    });
  });

  test("B63 B65 keeps connections for the configured number of hours, and rejects options that are too short", async () => {
    await insertConnections("a", 1, 3.5 * HOUR_MS);
    expect(await world.sallyport.cleanup({ keepConnectionHours: 4 })).toMatchObject({ connections: 0 });
    expect(await world.sallyport.cleanup({ keepConnectionHours: 3 })).toMatchObject({ connections: 1 });
    for (const options of [
      { keepConnectionHours: 2 },
      { keepConnectionHours: Number.NaN },
      { keepConnectionHours: "3" },
      { keepAuditDays: 29 },
      { keepAuditDays: null },
      { keepConnection: 4 },
      null,
    ]) {
      await expect(world.sallyport.cleanup(options as never), JSON.stringify(options)).rejects.toThrow(
        /cleanup|keep/,
      );
    }
  });

  test("keeps the audit log unless keepAuditDays is set", async () => {
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    await world.sql(`update sallyport_audit set at = at - ${40 * DAY_MS} where user_id = 'ann'`);
    expect(await world.sallyport.cleanup()).toMatchObject({ audit: 0 });
    expect(await world.sallyport.cleanup({ keepAuditDays: 41 })).toMatchObject({ audit: 0 });
    expect(await world.sallyport.cleanup({ keepAuditDays: 30 })).toMatchObject({ audit: 1 });
    expect(await world.sallyport.access.audit.list()).toMatchObject([{ user: "bob" }]);
  });

  test("removes decisions that are older than the decision log keeps them", async () => {
    await world.connect("eve").catch(() => undefined);
    await world.sallyport.access.audit.decisions();
    await world.sql(`update sallyport_decisions set at = at - ${31 * DAY_MS}`);
    expect(await world.sallyport.cleanup()).toMatchObject({ decisions: 1 });
    expect(await world.sallyport.access.audit.decisions()).toEqual([]);
  });

  test("removes each old connection once while it runs twice, and calls continue", async () => {
    await insertConnections("old", 5000, 25 * HOUR_MS);
    const ann = await world.connect("ann", { channel: "rooms/a" });
    let isFinished = false;
    const cleaning = Promise.all([world.sallyport.cleanup(), world.sallyport.cleanup()]).finally(() => {
      isFinished = true;
    });
    let calls = 0;
    while (!isFinished) {
      expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
      await (await world.connect("ann")).close();
      calls++;
    }
    const [one, other] = await cleaning;
    expect(one.connections + other.connections).toBe(5000);
    expect(calls).toBeGreaterThan(0);
    expect(await world.sql("select id from sallyport_connections where id like 'old%'")).toEqual([]);
    expect(world.errors).toEqual([]);
  });
});

describe("sallyport cleanup", () => {
  const root = resolve(import.meta.dirname, "../..");
  const command = (...args: string[]) => {
    const child = spawn(
      process.execPath,
      [join(root, "bin/sallyport.js"), "--app", join(root, "test/processes/app.ts"), "cleanup", ...args],
      { env: { ...process.env, TEST_DATABASE: world.database } },
    );
    const lines: string[] = [];
    child.stdout.on("data", (text) => lines.push(...String(text).trimEnd().split("\n")));
    child.stderr.on("data", (text) => lines.push(String(text)));
    return { child, lines, ended: once(child, "close") };
  };

  test("B63 prints the number of removed connections, and zeros if there is nothing to remove", async () => {
    await insertConnections("old", 2, 25 * HOUR_MS);
    const { lines, ended } = command();
    expect(await ended).toEqual([0, null]);
    expect(lines).toEqual(["Removed 2 connections."]);
    const again = command("--json");
    expect(await again.ended).toEqual([0, null]);
    expect(again.lines.map((line) => JSON.parse(line))).toEqual([
      { connections: 0, tokens: 0, endedSessions: 0, counters: 0, decisions: 0, audit: 0 },
    ]);
  });

  test("with --every keeps removing old connections until it receives SIGTERM", async () => {
    await insertConnections("a", 1, 25 * HOUR_MS);
    const { child, lines, ended } = command("--every", "1s");
    await expect.poll(() => lines).toContain("Removed 1 connection.");
    await insertConnections("b", 3, 25 * HOUR_MS);
    await expect.poll(() => lines).toContain("Removed 3 connections.");
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(await count("connections")).toBe(0);
  });

  test.each([
    [["--every", "soon"], /--every/],
    [["--every", "0s"], /--every/],
    [["--every", "4w"], /at most 7d/],
    [["--connections", "1h"], /at least 3h/],
    [["--audit", "7d"], /at least 30d/],
  ])("rejects %j with an error that says what is valid", async (args, words) => {
    const { lines, ended } = command(...args);
    expect((await ended)[0]).toBe(1);
    expect(lines.join("\n")).toMatch(words);
  });
});
