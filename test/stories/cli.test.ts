import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";

const root = resolve(import.meta.dirname, "../..");
const bin = join(root, "bin/sallyport.js");
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-cli-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function sallyport(args: string[], env: Record<string, string> = {}, cwd = folder) {
  const all = {
    ...process.env,
    SALLYPORT_APP: join(root, "test/processes/app.ts"),
    STORY_DATABASE: join(folder, "cli.db"),
    ...env,
  };
  return new Promise<{ code: number | null; out: string; err: string }>((done) => {
    const child = execFile(process.execPath, [bin, ...args], { env: all, cwd }, (_error, out, err) =>
      done({ code: child.exitCode, out, err }),
    );
  });
}

describe("the command line, on an app in TypeScript", () => {
  test("migrates, and again changes nothing", async () => {
    expect(await sallyport(["migrate"])).toEqual({
      code: 0,
      out: "migrated: 0001_first_tables, 0002_reasons_and_records\npermissions added: chat.can_use_chat, chat.can_moderate_chat\n",
      err: "",
    });
    expect((await sallyport(["migrate"])).out).toBe("tables are up to date\n");
  });

  test("grants, shows and revokes, with the app's own names for people", async () => {
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

  test("names the nearest known word in one line, and changes nothing", async () => {
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

  test("helps on each command, and refuses what it does not know", async () => {
    for (const args of [
      [],
      ["migrate"],
      ["users"],
      ["users", "grant"],
      ["users", "revoke"],
      ["users", "show"],
      ["gateway", "local"],
    ]) {
      const { code, out } = await sallyport([...args, "--help"]);
      expect(code, args.join(" ")).toBe(0);
      expect(out, args.join(" ")).toContain("Usage: sallyport");
    }
    const unknown = await sallyport(["user"]);
    expect(unknown).toMatchObject({ code: 1, out: "" });
    expect(unknown.err).toContain("Did you mean users?");
    expect((await sallyport(["users", "grant", "ann@example.com"])).err).toContain("permission");
  });

  test("says how to name the app, and what is wrong with the one that was named", async () => {
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

  test("says to migrate where the tables are missing", async () => {
    const { code, err } = await sallyport(["users", "grant", "ann@example.com", "chat.can_use_chat"], {
      STORY_DATABASE: join(folder, "fresh.db"),
    });
    expect(code).toBe(1);
    expect(err).toContain("npx sallyport migrate");
  });
});

describe("gateway local", () => {
  test("stands before any backend, needs no app, and ends on a signal", async () => {
    const events: string[] = [];
    const backend = createServer((request, response) => {
      events.push(`${request.url} ${request.headers["x-sallyport-secret"]}`);
      request.resume().on("end", () => response.end('{"hello":"you"}'));
    });
    await new Promise<void>((done) => backend.listen(0, "127.0.0.1", done));
    const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}/any/`;
    const child = spawn(
      process.execPath,
      [bin, "gateway", "local", "--target", target, "--port", "0", "--stage", "test", "--secret", "s3cret"],
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

  test("says in one line what is wrong with its options", async () => {
    const taken = createServer();
    await new Promise<void>((done) => taken.listen(0, "127.0.0.1", done));
    const port = String((taken.address() as AddressInfo).port);
    const inUse = await sallyport(["gateway", "local", "--target", "http://127.0.0.1:9/", "--port", port]);
    expect(inUse.code).toBe(1);
    expect(inUse.err).toMatch(new RegExp(`^sallyport: .*${port}.*in use.*\n$`));
    taken.close();
    expect((await sallyport(["gateway", "local", "--target", "nonsense"])).code).toBe(1);
    expect(
      (await sallyport(["gateway", "local", "--target", "http://127.0.0.1:9/", "--port", "x"])).err,
    ).toContain("65535");
    expect((await sallyport(["gateway", "local"])).err).toContain("--target");
  });
});
