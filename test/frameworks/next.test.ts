import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answersEvents, event, member, open, statusOf } from "./event-suite.ts";
import type { Framework } from "./frameworks.ts";
import { requestAsWritten } from "./hostile-targets.ts";
import { NextApp } from "./next-app.ts";

const plain = new NextApp();
/** With a base path, trailing slashes, and a proxy that reads every body. */
const prefixed = new NextApp("next-app-prefixed");

const next: Framework = {
  name: "next",
  parsers: [],
  resolvesPaths: true,
  serve: (_sallyport, { prefix }, { database, report }) =>
    (prefix === undefined ? plain : prefixed).serve(database, report),
  async close() {
    await plain.rest();
    await prefixed.rest();
  },
};

let printed: string;
beforeAll(async () => {
  printed = await plain.build();
  await prefixed.build();
});
afterAll(async () => {
  await plain.remove();
  await prefixed.remove();
});

describe("behind next", () => {
  answersEvents(next);

  test("a build opens no database and stores no answer", () => {
    expect(plain.hasOpened).toBe(false);
    expect(printed).toContain("ƒ /api/ws-token");
    expect(printed).toContain("ƒ /ws/chat/[event]");
  });

  test("a login in front of the pages does not block events", async () => {
    const { appUrl } = await open(next);
    const page = await fetch(`${appUrl}/members`, { redirect: "manual" });
    expect([page.status, page.headers.get("location"), await page.text()]).toEqual([302, "/login", "/login"]);
    const post = { method: "POST", redirect: "manual" } as const;
    expect(await statusOf(fetch(`${appUrl}/ws/chat/default`, post))).toBe(403);
    expect(await statusOf(fetch(`${appUrl}/api/ws-token`, post))).toBe(401);
  });

  test("receives a path that Next.js has resolved for its proxy as well", async () => {
    const { appUrl } = await open(next);
    for (const [target, status] of [
      ["/x/../api/ws-token", 401],
      ["/x/%2e%2e/ws/chat/default", 403],
      // The proxy redirects every other path to the login.
      ["/api/ws-token/../../members", 302],
      ["/ws/%2e%2e/members", 302],
    ] as const) {
      expect([target, (await requestAsWritten(appUrl, target)).status]).toEqual([target, status]);
    }
  });

  test("a proxy that reads the body, a base path and trailing slashes do not prevent an event", async () => {
    await open(next, { prefix: "/realtime" });
    const ann = await member();
    const body = { text: "ü \u2028 😀", "": 1, nested: [{ a: null }] };
    expect(await ann.result("say", body)).toEqual(body);
    const pieces = ['{"handler":', '"say","text"', ':"in pieces"}'];
    expect(await event(pieces, { "transfer-encoding": "chunked" })).toEqual({
      status: 200,
      text: '{"text":"in pieces"}',
    });
    for (const length of [130 * 1024, 3 * 1024 * 1024]) {
      expect([length, (await event(["x".repeat(length)])).status]).toEqual([length, 413]);
    }
    expect((await event(['{"handler":"say"}'])).status).toBe(200);
  });
});

test("this app has the code of the documentation", () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/guides/next.md"), "utf8");
  const sample = (name: string) => {
    const [, code = "?"] = page.split(`\n\`\`\`ts\n// ${name}\n`);
    return code.split("\n```")[0] ?? "";
  };
  const file = (name: string) => readFileSync(join(import.meta.dirname, "next-app", name), "utf8");
  const setting = '  serverExternalPackages: ["sallyport"],\n';
  for (const text of [sample("next.config.ts"), file("next.config.ts")]) expect(text).toContain(setting);
  const [, reload = "?"] = /(\/\/ A reload .*?)export const/s.exec(sample("src/sallyport.ts")) ?? [];
  expect(file("sallyport.ts")).toContain(reload);
  expect(file("sallyport.ts")).toContain("\nkept.sallyport = sallyport;");
  for (const route of ["app/ws/chat/[event]/route.ts", "app/api/ws-token/route.ts"]) {
    expect(file(route).trim()).toBe(sample(route).trim());
  }
  // The test app excludes one more page.
  expect(file("proxy.ts").replace("|own", "")).toContain(sample("proxy.ts"));
});
