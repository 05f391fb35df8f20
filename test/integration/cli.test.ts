import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
import { commandLine, run } from "../../src/cli/main.ts";
import { ANN, BOB, bin, commandLineWith, document, MODERATE, root, USE } from "./command-line.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-cli-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const sallyport = (args: string[], env: Record<string, string> = {}, cwd = folder) =>
  commandLineWith(args, { TEST_DATABASE: join(folder, "cli.db"), ...env }, cwd);

describe("the command line, on an app in TypeScript", () => {
  test("migrates once, and changes nothing when it runs again", async () => {
    expect(await sallyport(["migrate"])).toEqual({
      code: 0,
      out: "migrated: 0001_baseline, 0002_lost_channels\npermissions added: chat.can_use_chat, chat.can_moderate_chat\n",
      err: "",
    });
    expect((await sallyport(["migrate"])).out).toBe("tables are up to date\n");
    expect(document(await sallyport(["migrate", "--json"]))).toEqual({
      migrations: [],
      rules: [],
      added: [],
      stale: [],
    });
  });

  test("reports a rejected database connection although nothing else keeps the process running", async () => {
    const imported = (path: string) => JSON.stringify(join(root, path));
    // Nothing listens on port 1.
    const storage = `postgres("postgres://ann:secret@127.0.0.1:1/chat", { listen: false })`;
    await writeFile(
      join(folder, "rejected.ts"),
      `import { createSallyport, WebSocketView } from ${imported("src/index.ts")};
import { postgres } from ${imported("src/storage/postgres.ts")};
class ChatView extends WebSocketView { static signedIn = true; static receiveOnly = true; }
export const sallyport = createSallyport({ storage: ${storage}, permissions: [], channels: [], views: { "/ws/chat": ChatView }, authenticate: () => null, allowMissingOrigin: true });
`,
    );
    expect(await sallyport(["migrate", "--app", join(folder, "rejected.ts")])).toEqual({
      code: 1,
      out: "",
      err: expect.stringMatching(/^sallyport: PostgreSQL failed \(ECONNREFUSED\): .+\n$/),
    });
  });

  test("grants, shows and revokes permissions with the user names of the app", async () => {
    await sallyport(["migrate"]);
    expect(
      await sallyport(["users", "grant", "ann@example.com", "chat.can_use_chat", "--reason", "hired"]),
    ).toEqual({
      code: 0,
      out: "ann@example.com (u1) now has chat.can_use_chat.\n",
      err: "",
    });
    expect((await sallyport(["users", "show", "ann@example.com"])).out).toBe(
      "ann@example.com (u1): active\ngroups: none\n  chat.can_use_chat  direct\n",
    );
    const shown = JSON.parse((await sallyport(["users", "show", "ann@example.com", "--json"])).out);
    expect(shown).toMatchObject({
      id: "u1",
      label: "ann@example.com",
      grants: [{ permission: "chat.can_use_chat" }],
    });
    expect((await sallyport(["users", "revoke", "ann@example.com", "chat.can_use_chat"])).out).toContain(
      "no longer has",
    );
    expect((await sallyport(["users", "revoke", "ann@example.com", "chat.can_use_chat"])).out).toContain(
      "did not have",
    );
  });

  test("suggests the closest match for an unknown name in one line, and changes nothing", async () => {
    await sallyport(["migrate"]);
    expect(await sallyport(["users", "grant", "anne@example.com", "chat.can_use_chat"])).toEqual({
      code: 1,
      out: "",
      err: 'sallyport: There is no user "anne@example.com". Did you mean "ann@example.com"?\n',
    });
    expect((await sallyport(["users", "grant", "bob@example.com", "chat.can_use_caht"])).err).toBe(
      'sallyport: There is no permission "chat.can_use_caht". Did you mean "chat.can_use_chat"?\n',
    );
    expect((await sallyport(["users", "show", "bob@example.com"])).out).toContain("no permissions");
  });

  test("rejects an unknown command or a missing argument in one line", async () => {
    expect(await sallyport(["user"])).toEqual({
      code: 1,
      out: "",
      err: "sallyport: unknown command 'user' (Did you mean users?) (use --help to see the usage)\n",
    });
    expect((await sallyport(["users", "grant", "ann@example.com"])).err).toBe(
      "sallyport: missing required argument 'permission' (use --help to see the usage)\n",
    );
  });

  test("explains how to name the app, and reports an app that cannot be loaded", async () => {
    const none = await sallyport(["migrate"], { SALLYPORT_APP: "" });
    expect(none.code).toBe(1);
    expect(none.err).toMatch(
      /^sallyport: No app was named\. .*package\.json.*--app FILE.*SALLYPORT_APP\.\n$/,
    );
    expect((await sallyport(["migrate", "--app", "nowhere.ts"])).err).toContain("does not exist");
    await writeFile(join(folder, "empty.mjs"), "export const nothing = 1;");
    expect((await sallyport(["migrate", "--app", "empty.mjs"])).err).toContain("exports no Sallyport");
    await writeFile(join(folder, "package.json"), '{"sallyport":{"app":"./gone.ts"}}');
    expect((await sallyport(["migrate"], { SALLYPORT_APP: "" })).err).toContain("gone.ts does not exist");
  });

  test("does not run the app of a package.json above the nearest one", async () => {
    const parent = await mkdtemp(join(folder, "parent-"));
    const member = join(parent, "packages", "member");
    await mkdir(join(member, "src"), { recursive: true });
    await writeFile(join(parent, "package.json"), '{"sallyport":{"app":"./other.mjs"}}');
    await writeFile(join(parent, "other.mjs"), 'console.error("The code of the parent ran.");');
    // This folder has no package.json, so that of the parent is the nearest one.
    const above = await sallyport(["permissions", "list"], { SALLYPORT_APP: "" }, join(parent, "packages"));
    expect(above.err).toContain("The code of the parent ran.");
    for (const text of ["{}", '{"sallyport":{}}', '{"sallyport":{"app":1}}', "null"]) {
      await writeFile(join(member, "package.json"), text);
      const { code, err } = await sallyport(
        ["permissions", "list"],
        { SALLYPORT_APP: "" },
        join(member, "src"),
      );
      expect([text, code, err]).toEqual([
        text,
        1,
        `sallyport: No app was named. ${join(member, "package.json")} does not contain "sallyport": { "app" }, and a package.json ` +
          "above it is not read, because it belongs to another package. Name the module that exports it: " +
          '"sallyport": { "app": "src/sallyport.ts" } in package.json, --app FILE, or SALLYPORT_APP.\n',
      ]);
    }
  });

  test("does not write compiled code of the app to a shared temporary folder", async () => {
    const shared = await mkdtemp(join(folder, "tmp-"));
    expect((await sallyport(["migrate"], { TMPDIR: shared })).code).toBe(0);
    expect(await readdir(shared)).toEqual([]);
  });

  test("names the migrate command if the tables are missing", async () => {
    const { code, err } = await sallyport(["users", "grant", "ann@example.com", "chat.can_use_chat"], {
      TEST_DATABASE: join(folder, "fresh.db"),
    });
    expect(code).toBe(1);
    expect(err).toContain("npx sallyport migrate");
  });
});

describe("the command of the local gateway", () => {
  test("forwards to any backend without an app, and exits with 0 on SIGTERM", async () => {
    const events: string[] = [];
    const backend = createServer((request, response) => {
      events.push(`${request.url} ${request.headers["x-sallyport-secret"]}`);
      request.resume().on("end", () => response.end('{"hello":"you"}'));
    });
    await new Promise<void>((done) => backend.listen(0, "127.0.0.1", done));
    const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}/any/`;
    const child = spawn(
      process.execPath,
      [bin, "local", "--target", target, "--port", "0", "--stage", "test", "--secret", "s3cret"],
      { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
    );
    onTestFinished(() => {
      child.kill("SIGKILL");
      backend.closeAllConnections();
      backend.close();
    });
    const url = await new Promise<string>((done) => {
      let text = "";
      child.stdout.on("data", (data) => {
        text += data;
        const found = /ws:\/\/\S+/.exec(text);
        if (found) done(found[0]);
      });
    });
    expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\/test$/);
    const socket = new WebSocket(`${url}?a=1`);
    await new Promise((done) => socket.once("open", done));
    socket.send("{}");
    const answer = await new Promise((done) => socket.once("message", (data) => done(String(data))));
    expect(answer).toBe('{"hello":"you"}');
    expect(events).toEqual(["/any/connect?a=1 s3cret", "/any/default s3cret"]);
    const ended = new Promise<number | null>((done) => child.on("exit", done));
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });

  test("prints its addresses as one JSON document, and keeps running", async () => {
    const child = spawn(
      process.execPath,
      [bin, "local", "--target", "http://127.0.0.1:9/", "--port", "0", "--json"],
      { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
    );
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    const line = await new Promise<string>((done) => child.stdout.once("data", (data) => done(String(data))));
    expect(JSON.parse(line)).toEqual({
      url: expect.stringMatching(/^ws:/),
      endpoint: expect.stringMatching(/^http:/),
      targets: ["http://127.0.0.1:9/"],
      inspector: expect.stringMatching(/^http:.*\/$/),
    });
    expect(child.exitCode).toBe(null);
  });

  test("reports an invalid option or a port in use in one line", async () => {
    const taken = createServer();
    await new Promise<void>((done) => taken.listen(0, "127.0.0.1", done));
    const port = String((taken.address() as AddressInfo).port);
    const inUse = await sallyport(["local", "--target", "http://127.0.0.1:9/", "--port", port]);
    expect(inUse.code).toBe(1);
    expect(inUse.err).toMatch(new RegExp(`^sallyport: .*${port}.*in use.*\n$`));
    taken.close();
    expect((await sallyport(["local", "--target", "nonsense"])).code).toBe(1);
    expect((await sallyport(["local", "--target", "http://127.0.0.1:9/", "--port", "x"])).err).toContain(
      "65535",
    );
    expect((await sallyport(["local"])).err).toContain("--target");
  });
});

const require = createRequire(import.meta.url);

/** Runs a command in this process, which is faster than a child process. Each command loads the app again. */
async function runInProcess(args: string[], database: string, app = join(root, "test/processes/app.ts")) {
  const [out, err]: [string[], string[]] = [[], []];
  Object.assign(process.env, { SALLYPORT_APP: app, TEST_DATABASE: database });
  delete require.cache[app];
  const code = await run(
    args,
    (line) => out.push(`${line}\n`),
    (line) => err.push(`${line}\n`),
  );
  return { code, out: out.join(""), err: err.join("") };
}

/** Creates a migrated database. `app` runs a command with the current app, `next` with its next version. */
async function freshApp() {
  const database = join(folder, `${randomUUID()}.db`);
  const app = (...args: string[]) => runInProcess(args, database);
  const next = (...args: string[]) => runInProcess(args, database, WIDER);
  await app("migrate");
  return { app, next };
}

/** The next version of the app. */
const WIDER = join(root, "test/processes/wider-app.ts");

describe("every command", () => {
  const silent = { print: () => undefined, complain: () => undefined, end: () => undefined };
  const leaves = (command: Command, path = ""): [string, Command][] =>
    command.commands.length === 0
      ? [[path, command]]
      : command.commands.flatMap((child) => leaves(child, `${path} ${child.name()}`.trim()));
  const commands = leaves(commandLine(silent));

  test("is a part of the version that --version prints", async () => {
    const printed: string[] = [];
    expect(await run(["--version"], (line) => printed.push(line))).toBe(0);
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    expect(printed).toEqual([version]);
  });

  test.each(commands.map(([path]) => path))("%s prints help, with --json and --app", async (path) => {
    const printed: string[] = [];
    const code = await run([...path.split(" "), "--help"], (line) => printed.push(line));
    expect(code).toBe(0);
    expect(printed.join("\n")).toContain(`Usage: sallyport ${path}`);
    expect(printed.join("\n")).toContain("--json");
    expect(printed.join("\n")).toContain("--app <file>");
  });

  test("rejects unknown options and missing or extra arguments in one line, also with --json", async () => {
    for (const [path, command] of commands) {
      const [printed, complaints]: [string[], string[]] = [[], []];
      const required = command.registeredArguments.filter((argument) => argument.required);
      const isOpen = command.registeredArguments.some((argument) => argument.variadic);
      const attempts = [
        [...path.split(" "), "--no-such-option", "--json"],
        ...(required.length > 0 ? [[...path.split(" "), "--json"]] : []),
        ...(isOpen ? [] : [[...path.split(" "), "a", "b", "c", "d", "--json"]]),
      ];
      for (const attempt of attempts) {
        expect(
          await run(
            attempt,
            (line) => printed.push(line),
            (line) => complaints.push(line),
          ),
        ).toBe(1);
      }
      expect(printed, path).toEqual([]);
      expect(complaints.length, path).toBe(attempts.length);
      for (const line of complaints) expect(line).toMatch(/^sallyport: [^\n]+$/);
    }
  });
});

describe("a change of permissions", () => {
  test("prints the same message in a dry run and when it is made, also without effect", async () => {
    const { app } = await freshApp();
    const steps: [args: string[], message: string][] = [
      [["users", "grant", ANN, USE], `${ANN} (u1) now has ${USE}.`],
      [["users", "grant", ANN, USE], `${ANN} (u1) already has ${USE}.`],
      [["groups", "create", "editors"], 'There is now a group "editors".'],
      [["groups", "create", "editors"], 'There is already a group "editors".'],
      [["groups", "add", "editors", BOB], `${BOB} (u2) is now in the group "editors".`],
      [["groups", "add", "editors", BOB], `${BOB} (u2) is already in the group "editors".`],
      [["groups", "grant", "editors", MODERATE], `The group "editors" now has ${MODERATE}.`],
      [["groups", "grant", "editors", MODERATE], `The group "editors" already has ${MODERATE}.`],
      [["users", "superuser", ANN, "on"], `${ANN} (u1) is now a superuser.`],
      [["users", "superuser", ANN, "on"], `${ANN} (u1) is already a superuser.`],
      [["users", "superuser", ANN, "off"], `${ANN} (u1) is no longer a superuser.`],
      [["users", "superuser", ANN, "off"], `${ANN} (u1) was not a superuser.`],
      [["users", "deactivate", BOB], `${BOB} (u2) is now inactive.`],
      [["users", "deactivate", BOB], `${BOB} (u2) is already inactive.`],
      [["users", "activate", BOB], `${BOB} (u2) is now active.`],
      [["users", "activate", BOB], `${BOB} (u2) is already active.`],
      [["groups", "revoke", "editors", MODERATE], `The group "editors" no longer has ${MODERATE}.`],
      [["groups", "revoke", "editors", MODERATE], `The group "editors" did not have ${MODERATE}.`],
      [["groups", "remove", "editors", BOB], `${BOB} (u2) is no longer in the group "editors".`],
      [["groups", "remove", "editors", BOB], `${BOB} (u2) was not in the group "editors".`],
      [["groups", "delete", "editors"], 'The group "editors" is deleted, with its memberships and grants.'],
      [["users", "revoke", ANN, USE], `${ANN} (u1) no longer has ${USE} directly.`],
      [["users", "revoke", ANN, USE], `${ANN} (u1) did not have ${USE} directly.`],
      [["users", "delete", ANN], `${ANN} (u1) is deleted, with all grants and memberships.`],
      [["users", "delete", ANN], `There was nothing to delete for ${ANN} (u1).`],
    ];
    let number = 0;
    for (const [args, message] of steps) {
      const changed = !/already|did not|was no/.test(message);
      const before = await app("audit", "--json");
      const predicted = document(await app(...args, "--dry-run", "--json"));
      expect(predicted, args.join(" ")).toMatchObject({ dryRun: true, changed, message });
      expect(await app("audit", "--json"), args.join(" ")).toEqual(before);
      const made = document(await app(...args, "--reason", "a story", "--json")) as { number: number };
      expect(made, args.join(" ")).toMatchObject({ changed, message });
      expect(made.number === null).toBe(!changed);
      if (changed) {
        expect(made.number).toBeGreaterThan(number);
        number = made.number;
      }
    }
    const entries = document(await app("audit", "--json")) as Record<string, unknown>[];
    expect(entries.length).toBe(
      steps.filter(([, message]) => !/already|did not|was no/.test(message)).length,
    );
    for (const entry of entries)
      expect(entry).toMatchObject({ by: `cli:${userInfo().username}`, reason: "a story" });
  });

  test("prints the effects of a dry run as text", async () => {
    const { app } = await freshApp();
    expect((await app("users", "grant", ANN, USE, "--dry-run")).out).toBe(
      [
        "Dry run, nothing has changed. The command would print:",
        `  ${ANN} (u1) now has ${USE}.`,
        "1 user gains or loses, 0 open connections would close, 0 channels would be left:",
        `  gains  ${ANN} (u1)  ${USE}`,
        "",
      ].join("\n"),
    );
    expect((await app("users", "show", ANN)).out).toContain("no permissions");
    await app("users", "grant", ANN, USE);
    expect((await app("users", "grant", ANN, USE, "--dry-run")).out).toBe(
      `${ANN} (u1) already has ${USE}.\n`,
    );
  });

  test("ends a grant at --until, and a repeated grant changes the end", async () => {
    const { app } = await freshApp();
    await app("groups", "create", "editors");
    const gives = [
      ["users", "grant", ANN, USE],
      ["groups", "grant", "editors", USE],
      ["groups", "add", "editors", BOB],
    ];
    for (const give of gives) {
      expect((await app(...give, "--until", "2030-12-31T18:00+02:00")).out).toContain(
        "until 2030-12-31T16:00:00Z.",
      );
      expect((await app(...give, "--until", "2030-12-31T16:00")).out).toContain("already");
      expect((await app(...give, "--until", "2031-01-01")).out).toContain("until 2031-01-01T00:00:00Z.");
      expect((await app(...give)).out).not.toContain("already");
      expect((await app(...give)).out).toContain("already");
    }
    const before = Date.now();
    await app("users", "grant", ANN, MODERATE, "--until", "2h");
    const after = Date.now();
    expect((await app("users", "show", ANN)).out).toMatch(/can_moderate_chat {2}direct, until 20\S+Z\n/);
    const { grants } = document(await app("users", "show", ANN, "--json")) as { grants: { until: number }[] };
    const grantedAt = (grants[0]?.until ?? 0) - 2 * 60 * 60_000;
    expect(before <= grantedAt && grantedAt <= after).toBe(true);
  });

  test("is rejected in one line with the valid forms if --until has passed or is invalid", async () => {
    const { app } = await freshApp();
    const ends = ["2020-01-01", "0h", "2030-02-30", "tomorrow", "", "-1h", "1y", "2030-12-31 18:00"];
    for (const until of [...ends, "9".repeat(5000)]) {
      const { code, out, err } = await app("users", "grant", ANN, USE, "--until", until);
      expect({ code, out }, until).toEqual({ code: 1, out: "" });
      expect(err, until).toMatch(/^sallyport: [^\n]*Write 30m, 2h, 7d or 4w, or a date[^\n]*\n$/);
    }
    expect((await app("users", "show", ANN)).out).toContain("no permissions");
  });

  test("reports a permission that a group still grants, and a grant to an inactive user", async () => {
    const { app } = await freshApp();
    await app("groups", "create", "editors");
    await app("groups", "grant", "editors", USE);
    await app("groups", "add", "editors", ANN);
    await app("users", "grant", ANN, USE);
    expect((await app("users", "revoke", ANN, USE)).out).toBe(
      `${ANN} (u1) no longer has ${USE} directly.\nNo open connection was affected.\nIt is still held through the group "editors".\n`,
    );
    await app("users", "deactivate", ANN);
    expect((await app("users", "grant", ANN, USE)).out).toContain("This user is inactive");
    expect((await app("groups", "list")).out).toBe(`editors  1 member  ${USE}\n`);
    expect(document(await app("groups", "list", "--json"))).toEqual([
      { name: "editors", members: 1, permissions: [{ name: USE, until: null }] },
    ]);
  });

  test("rejects an unknown group and suggests the closest match, in each command except create", async () => {
    const { app } = await freshApp();
    await app("groups", "create", "editors");
    for (const args of [
      ["grant", "editor", USE],
      ["revoke", "editor", USE],
      ["add", "editor", ANN],
      ["remove", "editor", ANN],
      ["delete", "editor"],
    ]) {
      expect(await app("groups", ...args)).toEqual({
        code: 1,
        out: "",
        err: 'sallyport: There is no group "editor". Did you mean "editors"? To create it, run groups create.\n',
      });
    }
    expect((await app("groups", "list")).out).toBe("editors  0 members  no permissions\n");
  });

  test("accepts the id of a user that the app has removed", async () => {
    const { app, next } = await freshApp();
    await next("users", "grant", "u77", USE);
    expect((await app("users", "show", "u77")).out).toContain("u77: active");
    expect((await app("users", "delete", "u77")).out).toBe(
      "u77 is deleted, with all grants and memberships.\nNo open connection was affected.\n",
    );
    expect((await app("users", "show", "u77")).err).toContain('There is no user "u77"');
    expect((await app("audit", "--user", "u77")).out).toContain("deleted u77");
  });
});

describe("permissions", () => {
  test("are listed with their state in code and database, synced and pruned", async () => {
    const { app, next } = await freshApp();
    await app("users", "grant", ANN, MODERATE);
    expect((await next("permissions", "list")).out).toBe(
      [
        "chat.can_use_chat       Can use chat       declared, in the database",
        "chat.can_watch_chat     Can watch chat     declared, not in the database yet (permissions sync)",
        "chat.can_moderate_chat  Can moderate chat  stale: in the database, no longer declared",
        "",
      ].join("\n"),
    );
    const dry = (await next("permissions", "sync", "--dry-run")).out;
    expect(dry).toContain("permissions added: chat.can_watch_chat");
    expect(dry).toContain("\nWIDENS  view /ws/chat: changed\n");
    expect(JSON.parse((await next("permissions", "sync", "--json")).out)).toEqual({
      dryRun: false,
      migrations: [],
      added: ["chat.can_watch_chat"],
      stale: [MODERATE],
      rules: expect.arrayContaining([{ kind: "view", name: "/ws/chat", change: "changed", widens: true }]),
    });
    expect((await next("permissions", "prune", USE)).err).toContain("is declared in code");
    expect((await next("permissions", "prune", "chat.can_moderate_caht")).err).toContain(
      `Did you mean "${MODERATE}"?`,
    );
    expect((await next("permissions", "prune", "--dry-run")).out).toContain(`loses  u1  ${MODERATE}`);
    expect((await next("permissions", "prune", MODERATE)).out).toBe(
      `Removed, with every grant of them: ${MODERATE}\nNo open connection was affected.\n`,
    );
    expect((await next("permissions", "prune")).out).toBe(
      "Nothing is stale: every permission in the database is declared.\n",
    );
    const states = JSON.parse((await next("permissions", "list", "--json")).out);
    expect(states).toContainEqual({ name: USE, label: "Can use chat", isDeclared: true, isStored: true });
    expect(states.length).toBe(2);
  });

  test("are not synced if the tables are missing", async () => {
    const { code, err } = await sallyport(["permissions", "sync"], {
      TEST_DATABASE: join(folder, "none.db"),
    });
    expect(code).toBe(1);
    expect(err).toContain("npx sallyport migrate");
  });

  test("are compared by diff, which lists gains and losses and fails if a rule widens", async () => {
    const { app, next } = await freshApp();
    await next("permissions", "sync");
    await app("migrate");
    await next("users", "grant", "u2", "chat.can_watch_chat");
    await app("users", "grant", ANN, USE);
    expect(await app("permissions", "diff")).toEqual({
      code: 0,
      out: "The rules equal those of the running code.\n",
      err: "",
    });
    const diff = await next("permissions", "diff");
    expect(diff.code).toBe(1);
    expect(diff.out).toContain(
      [
        "WIDENS  view /ws/chat: changed",
        `  before  ${USE}`,
        `  after   any of ${USE}, chat.can_watch_chat`,
        "  gains  u2",
      ].join("\n"),
    );
    expect(diff.out).toContain("  loses  u1");
    const { code, out } = await next("permissions", "diff", "--json");
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      widens: true,
      changes: expect.arrayContaining([
        expect.objectContaining({ kind: "view", widens: true, gains: [{ user: "u2", label: null }] }),
      ]),
    });
  });
});

describe("rules", () => {
  test("that are new are called new, and those that became less strict widen", async () => {
    const { app, next } = await freshApp();
    const changes = [
      "WIDENS  view /ws/chat: changed",
      "channel rooms/:slug: changed",
      "channel notes/:id: removed",
      // These names now have only the rule of rooms/:slug.
      "WIDENS  channel rooms/moderators: removed",
      "handler /ws/chat delete_message: removed",
    ];
    expect((await next("migrate")).out.split("\n").slice(3, -1)).toEqual(changes);
    const { code, out } = await app("permissions", "diff");
    const added = [
      "channel rooms/moderators: new",
      `  rule    ${MODERATE}`,
      "channel notes/:id: new",
      "  rule    a signed-in user; and its authorize",
    ];
    expect(out).toContain(`${added.join("\n")}\n`);
    expect(out).toContain(
      `\nhandler /ws/chat delete_message: new\n  rule    ${MODERATE}; and its authorize\n`,
    );
    expect(out).toContain("\nWIDENS  channel rooms/:slug: changed\n");
    expect(out).not.toMatch(/WIDENS.*new/);
    expect(code).toBe(1);
    const migrated = (await app("migrate")).out;
    expect(migrated).toContain("\nchannel notes/:id: new\n");
    expect(migrated).not.toMatch(/WIDENS.*new/);
  });

  test("are described in the audit log with their previous and their new form", async () => {
    const { app, next } = await freshApp();
    await next("migrate", "--reason", "release 12");
    const { out } = await app("audit");
    expect(out).toMatch(/^1 {2}20\S+Z {2}cli:\S+ {2}stored 5 changed rules {2}"release 12"\n/);
    expect(out.split("\n").slice(1, 7)).toEqual([
      "    WIDENS  view /ws/chat: changed",
      `      before  ${USE}`,
      `      after   any of ${USE}, chat.can_watch_chat`,
      "    channel rooms/:slug: changed",
      `      before  ${USE}`,
      `      after   all of ${USE}, chat.can_watch_chat`,
    ]);
    expect(out).toContain(
      `    handler /ws/chat delete_message: removed\n      rule    ${MODERATE}; and its authorize\n`,
    );
    expect(out).not.toContain("{");
  });
});

describe("queries", () => {
  test("print the reasons for access as text and as JSON", async () => {
    const { app } = await freshApp();
    await app("groups", "create", "editors");
    await app("groups", "grant", "editors", USE);
    await app("groups", "add", "editors", ANN, "--until", "2030-12-31");
    await app("users", "superuser", BOB, "on");
    const question = [
      "why",
      "--user",
      ANN,
      "--view",
      "/ws/chat",
      "--handler",
      "delete_message",
      "--channel",
      "notes/u1",
    ];
    expect((await app(...question)).out).toBe(
      [
        `denied for ${ANN} (u1): ChatView.delete_message needs ${MODERATE}. Grant it to allow this.`,
        `✔ ChatView needs ${USE}`,
        `    ${USE}: group "editors" until 2030-12-31T00:00:00Z`,
        `✘ ChatView.delete_message needs ${MODERATE}`,
        `    missing: ${MODERATE}`,
        '✔ channel "notes/u1" needs a signed-in user',
        '✔ authorize of channel "notes/u1" allows access',
        "? authorize of ChatView.delete_message is called only for a real message",
        "",
      ].join("\n"),
    );
    expect(document(await app(...question, "--json"))).toMatchObject({
      label: ANN,
      verdict: "denied",
      missing: [MODERATE],
      steps: [{ allowed: true }, { allowed: false }, { allowed: true }, { kind: "authorize" }],
    });
    expect((await app("why", "--user", BOB, "--view", "/ws/chat")).out).toContain("passes as a superuser");
    expect((await app("why", "--view", "/ws/chat")).out).toContain("no user is signed in");
    const short = ["why", "--user", BOB, "--handler", "ping", "--channel", "rooms/x"];
    expect(await app(...short)).toEqual(await app(...short, "--view", "/ws/chat"));
    expect((await app("why", "--user", BOB, "--channel", "rooms/x")).out).toContain('channel "rooms/x"');
    expect((await app("permissions", "who", USE)).out).toBe(
      `${ANN} (u1)  group "editors" until 2030-12-31T00:00:00Z\n${BOB} (u2)  superuser\n`,
    );
    expect(document(await app("permissions", "who", USE, "--json"))).toMatchObject([
      { user: "u1", label: ANN, grants: [{ group: "editors" }] },
      { user: "u2", label: BOB, isSuperuser: true },
    ]);
    expect((await app("users", "access", ANN)).out).toBe(
      [
        `${ANN} (u1): active`,
        `permissions: ${USE}`,
        "✔ /ws/chat (ChatView)",
        "    ✔ ping",
        "    ✘ delete_message",
        "✔ channel rooms/:slug",
        "✘ channel rooms/moderators",
        "✔ channel notes/:id, if its authorize allows access",
        "",
      ].join("\n"),
    );
    expect(document(await app("users", "access", ANN, "--json"))).toMatchObject({
      label: ANN,
      views: [{ path: "/ws/chat" }],
    });
  });

  test("reject invalid arguments in one line, and suggest the closest match", async () => {
    const { app } = await freshApp();
    const wrong: [args: string[], words: string][] = [
      [
        ["why", "--user", ANN, "--view", "/ws/caht"],
        'No view is mounted at "/ws/caht". Did you mean "/ws/chat"?',
      ],
      [["why", "--view", "/ws/chat", "--handler", "pin"], 'Did you mean "ping"?'],
      [["why", "--view", "/ws/chat", "--channel", "room/x"], "No channel definition matches"],
      [["why", "--user", "anna@example.com", "--view", "/ws/chat"], `Did you mean "${ANN}"?`],
      [["why"], "or a user, such as why --user ann."],
      [["why", "0123456789ab"], 'No decision is stored for the reference "0123456789ab".'],
      [["why", "0123456789ab", "--view", "/ws/chat"], "not both"],
      [["permissions", "who", "chat.can_use_cha"], `Did you mean "${USE}"?`],
      [["users", "access", "anna@example.com"], `Did you mean "${ANN}"?`],
      [["audit", "--user", "anna@example.com"], `Did you mean "${ANN}"?`],
      [["audit", "--since", "yesterday"], "Write 30m, 2h"],
      [["audit", "--limit", "0"], "from 1 to 1000"],
      [["connections", "list", "--view", "/ws/caht"], 'Did you mean "/ws/chat"?'],
      [["connections", "list", "--channel", "room/x"], "No channel definition matches"],
      [["connections", "close", "--channel", "nowhere"], "No channel definition matches"],
      [["connections", "close"], "Name what to close"],
      [["connections", "close", "abc", "--user", ANN], "Name what to close"],
      [["connections", "close", "abc"], 'There is no open connection "abc".'],
    ];
    for (const [args, words] of wrong) {
      const { code, out, err } = await app(...args, "--json");
      expect({ code, out, lines: err.split("\n").length }, args.join(" ")).toEqual({
        code: 1,
        out: "",
        lines: 2,
      });
      expect(err, args.join(" ")).toContain(words);
    }
  });

  test("report a user without stored data in an app that does not find users itself", async () => {
    const file = join(folder, "users.ts");
    const imported = (path: string) => JSON.stringify(join(root, path));
    await writeFile(
      file,
      `import { createSallyport, definePermissions, WebSocketView } from ${imported("src/index.ts")};
import { sqlite } from ${imported("src/storage/sqlite.ts")};
const chat = definePermissions("chat", { use: "Use" });
class AnyView extends WebSocketView { static permissionsRequired = [chat.use]; static receiveOnly = true; }
export const sallyport = createSallyport({ storage: sqlite(process.env.TEST_DATABASE), permissions: [chat], channels: [], views: { "/ws/a": AnyView }, authenticate: () => null, allowMissingOrigin: true });
`,
    );
    const app = (...args: string[]) => runInProcess(args, join(folder, "users.db"), file);
    await app("migrate");
    const unknown = (name: string, suggestion = "") =>
      `Sallyport has stored no data of a user "${name}".${suggestion}\n`;
    const isNew = (name: string, suggestion = "") =>
      `User "${name}" is new: no data was stored before.${suggestion}\n`;
    expect((await app("users", "grant", "marian", "chat.use")).out).toContain(isNew("marian"));
    expect((await app("users", "grant", "marian", "chat.use")).out).not.toContain("is new");
    const like = ' Did you mean "marian"?';
    for (const args of [
      ["users", "show", "maria"],
      ["users", "access", "maria"],
    ])
      expect((await app(...args)).out, args.join(" ")).toContain(unknown("maria", like));
    for (const args of [
      ["users", "revoke", "maria", "chat.use"],
      ["users", "grant", "maria", "chat.use", "--dry-run"],
    ])
      expect((await app(...args)).out, args.join(" ")).toContain(isNew("maria", like));
    expect(document(await app("users", "grant", "maria", "chat.use", "--dry-run", "--json"))).toMatchObject({
      dryRun: true,
      notes: [isNew("maria", like).trimEnd()],
    });
    expect((await app("users", "deactivate", "zoe")).out).toContain(isNew("zoe"));
  });

  test("list the views if why needs one and the app has several", async () => {
    const file = join(folder, "views.ts");
    const imported = (path: string) => JSON.stringify(join(root, path));
    await writeFile(
      file,
      `import { createSallyport, WebSocketView } from ${imported("src/index.ts")};
import { sqlite } from ${imported("src/storage/sqlite.ts")};
class AnyView extends WebSocketView { static signedIn = true; static receiveOnly = true; }
export const sallyport = createSallyport({ storage: sqlite(process.env.TEST_DATABASE), permissions: [], channels: [], views: { "/ws/a": AnyView, "/ws/b": AnyView }, authenticate: () => null, allowMissingOrigin: true });
`,
    );
    const app = (...args: string[]) => runInProcess(args, join(folder, "views.db"), file);
    await app("migrate");
    expect(await app("why", "--user", "u1")).toEqual({
      code: 1,
      out: "",
      err: "sallyport: The app has several views. Name one with --view: /ws/a, /ws/b.\n",
    });
    expect((await app("why")).err).toContain("or a user, such as why --user ann --view /ws/a.");
    expect((await app("why", "--user", "u1", "--view", "/ws/b")).code).toBe(0);
  });

  test("print the audit log newest first, filtered by user and time", async () => {
    const { app } = await freshApp();
    await app("users", "grant", ANN, USE, "--reason", "hired");
    await app("users", "grant", BOB, USE, "--until", "2030-12-31");
    await app("users", "deactivate", ANN);
    const by = `cli:${userInfo().username}`;
    const { out } = await app("audit");
    expect(out.replaceAll(/20\d\d-\S+Z(?= {2})/g, "NOW").replaceAll(/ +"hired"/g, '  "hired"')).toBe(
      [
        `3  NOW  ${by}  deactivated ${ANN} (u1)`,
        `2  NOW  ${by}  granted ${USE} to ${BOB} (u2) until 2030-12-31T00:00:00Z`,
        `1  NOW  ${by}  granted ${USE} to ${ANN} (u1)  "hired"`,
        "",
      ].join("\n"),
    );
    expect(document(await app("audit", "--user", BOB, "--json"))).toMatchObject([
      { number: 2, user: "u2", label: BOB },
    ]);
    expect((await app("audit", "--limit", "1")).out).toContain(
      "There are older entries: --limit shows more.",
    );
    expect(document(await app("audit", "--since", "1h", "--json"))).toHaveLength(3);
    expect((await app("audit", "--since", "2100-01-01")).out).toBe("There are no entries.\n");
  });
});

test("treats all Unicode forms of a group name as one group", async () => {
  const { app } = await freshApp();
  const [composed, decomposed] = ["Caf\u00e9", "Cafe\u0301"];
  const create = await app("groups", "create", decomposed);
  expect(create.out).toContain(`There is now a group "${composed}".`);
  expect((await app("groups", "create", composed)).out).toContain(`There is already a group "${composed}".`);
  expect((await app("groups", "grant", decomposed, USE)).code).toBe(0);
  expect((await app("groups", "delete", decomposed)).out).toContain(`The group "${composed}" is deleted`);
});

describe("the command line with hostile input or output", () => {
  const CONTROL = /(?!\n)[\p{Cc}\p{Bidi_Control}]/u;
  const EVIL = "red\u001b[31m\u009b2J\nfake line\u202e";

  test("escapes control characters in names, labels and reasons", async () => {
    const { app } = await freshApp();
    const GROUP = "red\u202e";
    const eve = "eve\u001b[31m\u0007\u009b\u202e@example.com";
    await app("groups", "create", GROUP, "--reason", EVIL);
    await app("groups", "grant", GROUP, USE, "--reason", EVIL);
    await app("groups", "add", GROUP, eve, "--reason", EVIL);
    const commands = [
      ["groups", "list"],
      ["users", "show", eve],
      ["users", "grant", eve, MODERATE],
      ["users", "grant", eve, MODERATE, "--dry-run"],
      ["users", "revoke", eve, USE],
      ["permissions", "who", USE],
      ["users", "access", eve],
      ["why", "--user", eve, "--view", "/ws/chat"],
      ["audit"],
      ["users", "list"],
      ["users", "list", "--group", GROUP],
      ["limits", "list"],
      ["decisions"],
    ];
    for (const args of commands) {
      const { code, out } = await app(...args);
      expect(code, args.join(" ")).toBe(0);
      expect(out, args.join(" ")).not.toMatch(CONTROL);
      expect(out, args.join(" ")).not.toMatch(/^fake line/m);
      const json = (await app(...args, "--json")).out;
      expect(json, args.join(" ")).not.toMatch(CONTROL);
      JSON.parse(json);
    }
    expect((await app("audit")).out).toContain("red\\u001b[31m\\u009b2J\\u000afake line\\u202e");
    expect((await app("groups", "list")).out).toContain("red\\u202e");
    expect(document(await app("groups", "list", "--json"))).toMatchObject([{ name: GROUP }]);
    expect(document(await app("audit", "--json"))).toContainEqual(expect.objectContaining({ reason: EVIL }));
  });

  test("rejects invalid input in one line, without control characters and without a change", async () => {
    const { app } = await freshApp();
    const before = (await app("audit", "--json")).out;
    const long = "x".repeat(100_000);
    const attempts = [
      ["users", "grant", EVIL, USE],
      ["users", "grant", ANN, EVIL],
      ["users", "grant", long, USE],
      ["users", "grant", ANN, long],
      ["users", "grant", "", USE],
      ["users", "grant", "constructor", USE],
      ["users", "show", "__proto__"],
      ["users", "superuser", ANN, "maybe"],
      ["groups", "create", ""],
      ["groups", "create", " x"],
      ["groups", "create", long],
      ["groups", "add", EVIL, ANN],
      ["users", "grant", ANN, USE, "--reason", long],
      ["users", "grant", ANN, USE, "--until", EVIL],
      ["permissions", "prune", EVIL],
      ["permissions", "who", EVIL],
      ["why", EVIL],
      ["why", "--view", EVIL],
      ["connections", "close", EVIL],
      ["limits", "list", "--address", EVIL],
      ["limits", "clear", "--user", EVIL],
      ["decisions", "--user", EVIL],
      ["users", "list", "--group", EVIL],
      [EVIL],
      ["users", EVIL],
      ["users", "show", ANN, EVIL],
      ["users", "show", ANN, `--${EVIL}`],
    ];
    for (const args of attempts) {
      const { code, out, err } = await app(...args);
      const name = args.join(" ").slice(0, 100);
      expect({ code, out }, name).toEqual({ code: 1, out: "" });
      expect(err, name).toMatch(/^sallyport: [^\n]{1,2100}\n$/);
      expect(err, name).not.toMatch(CONTROL);
    }
    expect((await app("audit", "--json")).out).toBe(before);
    expect((await app("groups", "list")).out).toBe("There are no groups.\n");
  });

  test("makes the change and exits with 0 if stdout is closed early", async () => {
    await sallyport(["migrate"]);
    const child = spawn(process.execPath, [bin, "groups", "create", "unheard"], {
      env: {
        ...process.env,
        SALLYPORT_APP: join(root, "test/processes/app.ts"),
        TEST_DATABASE: join(folder, "cli.db"),
      },
    });
    child.stdout.destroy();
    let err = "";
    child.stderr.on("data", (data) => {
      err += data;
    });
    expect(await new Promise((done) => child.on("close", done))).toBe(0);
    expect(err).toBe("");
    expect((await sallyport(["groups", "list"])).out).toContain("unheard");
  });

  test("prints valid JSON to stdout if the app prints while it loads", async () => {
    await sallyport(["migrate"]);
    const { code, out, err } = await sallyport(["users", "show", "u5", "--json"], {
      SALLYPORT_APP: WIDER,
      TEST_PRINTS: "yes",
    });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ id: "u5", label: null });
    expect(err).toBe("the app is loading\nthe app is looking for u5\n");
  });
});
