import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError, handler, type LimitWindow, WebSocketView } from "../../src/index.ts";
import { NOW } from "../postgres/database.ts";
import { chat, openChat } from "./chat.ts";
import { statusOf, type World, type WorldOptions } from "./world.ts";

const root = resolve(import.meta.dirname, "../..");
const bin = join(root, "bin/sallyport.js");
const BAD_TOKEN = "0".repeat(64);
const EVIL = "eve\u001b[31m\u202e";
let world: World;

async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await openChat(["u1", "u2"], options);
}
beforeEach(() => open());
afterEach(() => world.close());

const env = () => ({
  ...process.env,
  SALLYPORT_APP: join(root, "test/processes/app.ts"),
  TEST_DATABASE: world.database,
});

/** Runs the command line on an app with the same database. */
function cli(...args: string[]) {
  return new Promise<{ code: number | null; out: string; err: string }>((done) => {
    const child = execFile(process.execPath, [bin, ...args], { env: env() }, (_error, out, err) =>
      done({ code: child.exitCode, out, err }),
    );
  });
}

const json = async (...args: string[]) => JSON.parse((await cli(...args, "--json")).out) as unknown;

describe("sallyport limits", () => {
  test("lists each window with its limit, user or address, count and remaining time", async () => {
    expect((await cli("limits", "list")).out).toBe("No window of a limit is open.\n");
    await world.connect("u1");
    await world.connect("u1");
    await world.connect("u2");
    await statusOf(world.connect("u2", { token: BAD_TOKEN }));
    const { out } = await cli("limits", "list");
    const lines = out.trimEnd().split("\n");
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^connectsPerIp +127\.0\.0\.1 +gateway local +3 of 300 +\d+ s left$/);
    expect(out).toMatch(/^connectsPerUser +ann@example\.com \(u1\) +gateway local +2 of 20 +\d+ s left$/m);
    expect(out).toMatch(/^tokensPerUser +bob@example\.com \(u2\) +1 of 20 +\d+ s left$/m);
    expect(out).toMatch(/^failedConnectsPerIp +127\.0\.0\.1 +gateway local +1 of 20 +\d+ s left$/m);
    expect(await json("limits", "list", "--user", "ann@example.com")).toMatchObject([
      {
        limit: "connectsPerUser",
        user: "u1",
        address: null,
        gateway: "local",
        view: null,
        count: 2,
        max: 20,
        label: "ann@example.com",
      },
      { limit: "tokensPerUser", user: "u1", gateway: null, count: 2 },
    ]);
    expect(await json("limits", "list", "--address", "127.0.0.1")).toMatchObject([
      { limit: "connectsPerIp", user: null, address: "127.0.0.1", count: 3 },
      { limit: "failedConnectsPerIp", count: 1 },
    ]);
    expect(await json("limits", "list", "--address", "203.0.113.5")).toEqual([]);
    await world.sql("update sallyport_counters set window_started_at = window_started_at - 60000");
    expect(await json("limits", "list")).toEqual([]);
  });

  test("clears the windows of a user, an address or all, and writes an audit entry", async () => {
    await world.close();
    await open({ limits: { connectsPerUser: 1, failedConnectsPerIp: 1 } });
    const guess = () => statusOf(world.connect("u1", { token: BAD_TOKEN }));
    await world.connect("u1");
    expect(await statusOf(world.connect("u1"))).toBe(429);
    expect(
      (await cli("limits", "clear", "--user", "ann@example.com", "--reason", "a loop in the page")).out,
    ).toBe("Cleared 2 windows.\n");
    expect(await statusOf(world.connect("u1"))).toBe(101);
    expect([await guess(), await guess()]).toEqual([403, 429]);
    expect(await json("limits", "clear", "--address", "127.0.0.1")).toEqual({ cleared: 2 });
    expect(await guess()).toBe(403);
    expect((await cli("limits", "clear", "--all")).out).toMatch(/^Cleared \d windows\.\n$/);
    expect((await cli("limits", "clear", "--all")).out).toBe("Cleared 0 windows.\n");
    const entries = await world.sallyport.access.audit.list({ limit: 4 });
    expect(entries.map(({ action, user, details }) => ({ action, user, details }))).toMatchObject([
      { action: "clear-limits", user: null, details: { cleared: 0 } },
      { action: "clear-limits", user: null },
      { action: "clear-limits", user: null, details: { cleared: 2, address: "127.0.0.1" } },
      { action: "clear-limits", user: "u1", details: { cleared: 2 } },
    ]);
    expect(entries[3]).toMatchObject({ reason: "a loop in the page", by: expect.stringMatching(/^cli:/) });
    expect((await cli("audit")).out).toContain("cleared 2 limits of ann@example.com (u1)");
    expect(await world.sallyport.access.explain({ user: "u1", view: "/ws/chat" })).toMatchObject({
      verdict: "allowed",
    });
  });

  test("rejects missing or invalid options in one line, and clears nothing", async () => {
    await world.connect("u1");
    const attempts: [string[], RegExp][] = [
      [["clear"], /one of --user USER, --address IP and --all/],
      [["clear", "--user", "ann@example.com", "--all"], /one of --user/],
      [
        ["clear", "--address", "the moon"],
        /address must be an IP address such as 203\.0\.113\.7, but received "the moon"/,
      ],
      [["list", "--address", "127.0.0.1, 1.2.3.4"], /must be an IP address/],
      [["clear", "--user", "anne@example.com"], /Did you mean "ann@example\.com"\?/],
    ];
    for (const [args, words] of attempts) {
      const { code, out, err } = await cli("limits", ...args);
      expect({ code, out }, args.join(" ")).toEqual({ code: 1, out: "" });
      expect(err, args.join(" ")).toMatch(words);
      expect(err.trimEnd(), args.join(" ")).not.toContain("\n");
    }
    expect(await json("limits", "list")).toHaveLength(3);
  });

  test("distinguishes similar users and addresses, and escapes control characters in its output", async () => {
    const ids = ["127.0.0.1", '","', "%", "U1", "u", "u1 ", EVIL];
    for (const id of ids) {
      const key = JSON.stringify(["tokensPerUser", id, null, null]);
      await world.sql(
        `insert into sallyport_counters (key, window_started_at, count) values ('${key}', ${NOW}, 1)`,
      );
    }
    for (const id of ids.filter((id) => id !== EVIL)) {
      expect(await world.sallyport.access.limits.list({ user: id }), id).toMatchObject([{ user: id }]);
      expect(await world.sallyport.access.limits.clear({ user: id }), id).toBe(1);
    }
    expect(await world.sallyport.access.limits.list({ address: "127.0.0.1" })).toEqual([]);
    const { out } = await cli("limits", "list");
    expect(out).toContain("eve\\u001b[31m\\u202e");
    expect(await world.sallyport.access.limits.clear({ all: true })).toBe(1);
  });

  test("returns the view with each limit that a view declares, and rejects invalid filters", async () => {
    class OwnView extends WebSocketView {
      static override signedIn = true;
      static override limits = { connectsPerUser: 7 };
      ping = handler(() => "pong");
    }
    await world.close();
    await open({ views: { "/ws/own": OwnView } });
    await world.connect("u1");
    const { access } = world.sallyport;
    const windows = await access.limits.list();
    expect(windows).toContainEqual(
      expect.objectContaining({ limit: "connectsPerUser", user: "u1", view: "/ws/own", max: 7, count: 1 }),
    );
    expect(windows).toHaveLength(3);
    for (const which of [{}, { user: "a", all: true }, { all: false }, null, { usr: "a" }, { user: "" }])
      await expect(access.limits.clear(which as never), JSON.stringify(which)).rejects.toThrow(
        ConfigurationError,
      );
    await expect(access.limits.list({ usr: "a" } as never)).rejects.toThrow(
      /usr is not an option\. Did you mean "user"\?/,
    );
  });
});

describe("many windows", () => {
  const COUNTED = 130;
  beforeEach(async () => {
    // An earlier version can have left windows of an unknown limit.
    for (const limit of ["tokensPerUser", "connectsPerUser", "ofAnotherVersion"]) {
      await world.sql(`
        insert into sallyport_counters (key, window_started_at, count)
        with recursive n(i) as (select 1 union all select i + 1 from n where i < ${COUNTED / 2})
        select '["${limit}","user' || i || '",null,null]', ${NOW}, i / 3 from n`);
    }
  });

  test("are returned in pages by access.limits.list(), highest counts first", async () => {
    const { access } = world.sallyport;
    const all = await access.limits.list({ limit: 1000 });
    expect(all).toHaveLength(COUNTED);
    expect(all.map(({ count }) => count)).toEqual(all.map(({ count }) => count).toSorted((a, b) => b - a));
    const paged: LimitWindow[] = [];
    for (let page = all; page.length > 0; paged.push(...page)) {
      page = await access.limits.list({ after: paged.at(-1), limit: 7 });
    }
    expect(paged).toEqual(all);
    expect(await access.limits.list({ user: "user5", after: all[0] })).toHaveLength(2);
    // The last window of the previous page can end in the meantime.
    await access.limits.clear({ user: all[9]?.user as string });
    expect(await access.limits.list({ after: all[9], limit: 3 })).toEqual(
      all
        .slice(10)
        .filter(({ user }) => user !== all[9]?.user)
        .slice(0, 3),
    );
    for (const after of [null, "", {}, { count: 1 }, { key: "a", count: "1" }, { key: "\0", count: 1 }])
      await expect(access.limits.list({ after: after as never })).rejects.toThrow(/after must be a window/);
  });

  test("are printed up to --limit, with a note if there are more", async () => {
    const lines = (await cli("limits", "list")).out.trimEnd().split("\n");
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe("There are more windows: --limit shows more.");
    expect(await json("limits", "list")).toHaveLength(50);
    expect((await cli("limits", "list", "--limit", `${COUNTED}`)).out.trimEnd().split("\n")).toHaveLength(
      COUNTED,
    );
    expect((await cli("limits", "list", "--limit", "0")).err).toMatch(/from 1 to 1000/);
  });
});

describe("sallyport decisions", () => {
  test("filters by user, verdict, reason and time, and prints the newest first", async () => {
    expect((await cli("decisions")).out).toBe("No decision is stored.\n");
    await statusOf(world.connect("u1", { channel: "rooms/moderators" }));
    await statusOf(world.connect("u2", { token: BAD_TOKEN }));
    await statusOf(world.connect("u2", { channel: "nowhere" }));
    const { out } = await cli("decisions");
    const lines = out.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(
      /^20\S+Z +denied +403 permission +ann@example\.com \(u1\) +connect \/ws\/chat rooms\/moderators +[0-9a-f]{12}$/,
    );
    expect(lines[1]).toMatch(/ 403 token-unknown +no user +connect \/ws\/chat /);
    expect(await json("decisions", "--user", "ann@example.com")).toMatchObject([
      { userId: "u1", label: "ann@example.com", reason: "permission" },
    ]);
    expect(await json("decisions", "--reason", "token-unknown")).toMatchObject([{ reason: "token-unknown" }]);
    expect(await json("decisions", "--verdict", "allowed")).toEqual([]);
    expect(await json("decisions", "--verdict", "denied", "--limit", "2")).toMatchObject([
      { verdict: "denied" },
      { verdict: "denied" },
    ]);
    expect(await json("decisions", "--since", "2100-01-01")).toEqual([]);
    expect(await json("decisions", "--since", "1h")).toHaveLength(3);
    expect((await cli("decisions", "--verdict", "refused")).err).toMatch(
      /Allowed choices are allowed, denied/,
    );
    expect((await cli("decisions", "--limit", "0")).err).toMatch(/from 1 to 1000/);
  });

  const following = (...args: string[]) => {
    const child = spawn(process.execPath, [bin, "decisions", "--follow", ...args], { env: env() });
    const [lines, complaints]: [string[], string[]] = [[], []];
    createInterface(child.stdout).on("line", (line) => lines.push(line));
    child.stderr.on("data", (text) => complaints.push(String(text)));
    return { child, lines, complaints, ended: once(child, "close") };
  };

  test("with --follow prints each decision once, newest last, until SIGINT", async () => {
    await statusOf(world.connect("u1", { channel: "rooms/moderators" }));
    const { child, lines, complaints, ended } = following("--reason", "permission");
    await expect.poll(() => lines).toHaveLength(1);
    for (let count = 2; count <= 4; count++) {
      await statusOf(world.connect("u2", { channel: "rooms/moderators" }));
      await statusOf(world.connect("u2", { token: BAD_TOKEN }));
      await expect.poll(() => lines).toHaveLength(count);
    }
    expect(lines[0]).toContain("(u1)");
    for (const line of lines.slice(1)) expect(line).toContain("(u2)");
    child.kill("SIGINT");
    expect(await ended).toEqual([0, null]);
    expect(complaints).toEqual([]);
    expect(new Set(lines.map((line) => /[0-9a-f]{12}$/.exec(line)?.[0])).size).toBe(4);
  });

  /** Stores decisions as another process does: the first at `at`, each other one a millisecond earlier. */
  const store = (name: string, at: number, count = 1) =>
    world.sql(`
      insert into sallyport_decisions (reference, at, event, verdict, repeats, details)
      with recursive n(i) as (select 0 union all select i + 1 from n where i < ${count - 1})
      select '${name}' || i, ${at} - i, 'connect', 'allowed', 0,
        '{"reference":"${name}' || i || '","at":' || (${at} - i) || ',"event":"connect","verdict":"allowed","status":200,"repeats":0}'
      from n`);
  const last = (line = "") => line.split(/ +/).at(-1);

  test("with --follow prints at most --limit earlier decisions with a note, and then new ones", async () => {
    await store("old", Date.now(), 80);
    const { child, lines, complaints, ended } = following("--limit", "5");
    await expect.poll(() => lines).toHaveLength(5);
    expect(lines.map(last)).toEqual(["old4", "old3", "old2", "old1", "old0"]);
    await store("new", Date.now());
    await expect.poll(() => lines).toHaveLength(6);
    await store("newer", Date.now(), 3);
    await expect.poll(() => lines).toHaveLength(9);
    expect(lines.slice(5).map(last)).toEqual(["new0", "newer2", "newer1", "newer0"]);
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(complaints).toEqual(["sallyport: There are older decisions. --limit prints more of them.\n"]);
  });

  test("with --follow prints decisions that are stored late or have a wrong time", async () => {
    const { child, lines, complaints, ended } = following();
    await store("first", Date.now());
    await expect.poll(() => lines).toHaveLength(1);
    await store("ahead", Date.now() + 3_600_000, 1500);
    await expect.poll(() => lines.length).toBe(1501);
    await store("right", Date.now());
    await expect.poll(() => lines.length).toBe(1502);
    await store("behind", Date.now() - 40_000);
    await expect.poll(() => lines.length).toBe(1503);
    await store("late", Date.now() - 20_000, 2);
    await expect.poll(() => lines.length).toBe(1505);
    expect(lines.slice(1501).map(last)).toEqual(["right0", "behind0", "late1", "late0"]);
    expect(new Set(lines.map(last)).size).toBe(1505);
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(complaints).toEqual([]);
  });

  test("with --follow prints at most 5000 decisions of one minute, and reports it once", async () => {
    const { child, lines, complaints, ended } = following();
    await store("first", Date.now());
    await expect.poll(() => lines).toHaveLength(1);
    await store("flood", Date.now(), 5001);
    await expect.poll(() => lines.length).toBe(5000);
    await store("new", Date.now() + 10_000);
    await expect.poll(() => lines.length).toBe(5001);
    expect([lines[1], ...lines.slice(-2)].map(last)).toEqual(["flood4998", "flood0", "new0"]);
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(complaints).toEqual([
      "sallyport: More than 5000 decisions of the last minute match. Older ones are not printed. Use a filter, or list them with --since.\n",
    ]);
  });

  test("prints a note if there are older decisions than it lists", async () => {
    await store("old", Date.now(), 51);
    const more = (await cli("decisions")).out.trimEnd().split("\n");
    expect(more).toHaveLength(51);
    expect(more.at(-1)).toBe("There are older decisions: --limit shows more.");
    expect((await cli("decisions", "--limit", "51")).out.trimEnd().split("\n")).toHaveLength(51);
    expect(await json("decisions")).toHaveLength(50);
  });

  test("with --follow and --json prints one document per line, and continues after a database failure", async () => {
    const { child, lines, complaints, ended } = following("--json");
    await statusOf(world.connect("u1", { channel: "rooms/moderators" }));
    await expect.poll(() => lines).toHaveLength(1);
    await world.sql("alter table sallyport_decisions rename to away");
    await expect.poll(() => complaints.length).toBeGreaterThan(0);
    await world.sql("alter table away rename to sallyport_decisions");
    await statusOf(world.connect("u2", { channel: "rooms/moderators" }));
    await expect.poll(() => lines).toHaveLength(2);
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    expect(lines.map((line) => (JSON.parse(line) as { userId: string }).userId)).toEqual(["u1", "u2"]);
    for (const line of complaints.join("").trimEnd().split("\n")) expect(line).toMatch(/^sallyport: /);
  });
});

describe("sallyport users list", () => {
  beforeEach(async () => {
    const { access } = world.sallyport;
    await access.users.addToGroup("u2", "crew");
    await access.grant({ group: "crew" }, chat.can_moderate_chat);
    await access.users.setSuperuser("u3", true);
    await access.users.setActive("u4", false);
    await access.grant("u4", chat.can_use_chat);
  });
  const ids = async (...args: string[]) =>
    ((await json("users", "list", ...args)) as { id: string }[]).map(({ id }) => id);

  test("prints the state, groups and number of grants of each user", async () => {
    const lines = (await cli("users", "list")).out.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^ann@example\.com \(u1\) +active +in no group +1 grant$/);
    expect(lines[1]).toMatch(/^bob@example\.com \(u2\) +active +crew +2 grants$/);
    expect(lines[2]).toMatch(
      /^eve\\u001b\[31m\\u0007\\u009b\\u202e@example\.com \(u3\) +active, superuser +in no group +0 grants$/,
    );
    expect(lines[3]).toMatch(/^u4 +inactive +in no group +1 grant$/);
    expect(await json("users", "list", "--limit", "1")).toEqual([
      { id: "u1", label: "ann@example.com", isActive: true, isSuperuser: false, groups: [], grants: 1 },
    ]);
  });

  test("filters by state, superuser, group and permission", async () => {
    expect(await ids("--state", "active")).toEqual(["u1", "u2", "u3"]);
    expect(await ids("--state", "inactive")).toEqual(["u4"]);
    expect(await ids("--superusers")).toEqual(["u3"]);
    expect(await ids("--group", "crew")).toEqual(["u2"]);
    expect(await ids("--permission", "chat.can_moderate_chat")).toEqual(["u2", "u3"]);
    expect(await ids("--permission", "chat.can_use_chat", "--state", "active")).toEqual(["u1", "u2", "u3"]);
    expect((await cli("users", "list", "--superusers", "--group", "crew")).out).toBe(
      "There is no such user.\n",
    );
    expect((await cli("users", "list", "--group", "crow")).err).toMatch(/Did you mean "crew"\?/);
    expect((await cli("users", "list", "--permission", "chat.can_use_caht")).err).toMatch(/Did you mean/);
  });

  test("finds a group by each Unicode form of its name", async () => {
    await world.sallyport.access.users.addToGroup("u1", "caf\u00e9");
    expect(await ids("--group", "caf\u00e9")).toEqual(["u1"]);
    expect(await ids("--group", "cafe\u0301")).toEqual(["u1"]);
    expect((await cli("users", "list", "--group", "cafe\u0301s")).err).toMatch(/Did you mean "caf\u00e9"\?/);
  });

  test("prints the next page with --after", async () => {
    const { out } = await cli("users", "list", "--limit", "3");
    expect(out.trimEnd().split("\n")[3]).toBe("There are more users: --after u3 shows the next.");
    expect(await ids("--after", "u3", "--limit", "3")).toEqual(["u4"]);
    expect((await cli("users", "list", "--after", "u3")).out).not.toContain("There are more");
    expect(await ids("--after", "u4")).toEqual([]);
  });
});
