import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const OWN = "http://localhost:3000";
const OTHER = "http://127.0.0.1:3000";

let lines: string[];
beforeEach(() => {
  lines = [];
  const spy = vi.spyOn(console, "warn").mockImplementation((line: string) => {
    // The local gateway prints its own advice about a page on another host name.
    if (!line.startsWith("sallyport local gateway:")) lines.push(line);
  });
  onTestFinished(() => spy.mockRestore());
});

let world: World;
async function open(options: object = {}): Promise<void> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView },
    origins: [OWN],
    onDecision: undefined,
    // Each process prints its own lines.
    instances: 1,
    ...options,
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
}
afterEach(async () => {
  vi.unstubAllEnvs();
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Connects as a page with another host name than the socket, so that the browser sends no cookie. */
const connectWithoutCookie = async (origin: string) =>
  world.connect("ann", { token: await world.token("ann", undefined, origin), cookie: null, origin });

/** Connects as a page of the app. */
const connect = async (user: string) =>
  world.connect(user, { token: await world.token(user, undefined, OWN), origin: OWN });

/** Returns the printed lines without the references. */
const printed = () => lines.map((line) => line.replace(/[0-9a-f]{12}/g, "REFERENCE"));

describe("without onDecision, a denial is printed", () => {
  test("as one line with status, user, view, missing permission and reference", async () => {
    await open();
    await expect(connect("eve@example.com")).rejects.toMatchObject({ status: 403 });
    expect(printed()).toEqual([
      "403 eve@example.com /ws/chat needs chat.can_use_chat or chat.can_moderate_chat (why: REFERENCE)",
    ]);
    const reference = /why: ([0-9a-f]{12})/.exec(lines[0] ?? "")?.[1] ?? "";
    expect(await world.sallyport.access.explain(reference)).toMatchObject({ reason: "permission" });
  });

  test("as one line for a lost permission", async () => {
    await open();
    const ann = await connect("ann");
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    await ann.closed;
    expect(printed()).toEqual([
      "403 ann /ws/chat lost chat.can_use_chat or chat.can_moderate_chat (why: REFERENCE)",
    ]);
  });

  test("with its message for another reason, such as a page on the other loopback name", async () => {
    await open();
    await world.requestToken("ann", undefined, OTHER);
    expect(printed()).toEqual([
      `403 ann /api/ws-token: Origin "${OTHER}" is not in origins, which contains "${OWN}". ` +
        `Both are names of this machine. Open the page at ${OWN}, or add "${OTHER}" to origins. (why: REFERENCE)`,
    ]);
  });

  test("with its message for a connect without a cookie", async () => {
    await open({ origins: [OWN, OTHER] });
    await expect(connectWithoutCookie(OTHER)).rejects.toMatchObject({ status: 403 });
    expect(lines[0]).toContain(
      "The browser sends no cookies to another host name, such as localhost. Use one host name for both.",
    );
  });

  test("without control characters", async () => {
    await open();
    await world.requestToken("ann", undefined, "http://localhost:4000/\u009b31m");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^[\x20-\x7e]+$/);
  });

  test("a few times if a client repeats it, and then as a number", async () => {
    await open();
    for (let count = 0; count < 400; count++) await world.requestToken("ann", undefined, OTHER);
    await world.sallyport.flush();
    expect(lines.length).toBeLessThan(200);
    const counted = lines.flatMap((line) => /(\d+) more like this/.exec(line)?.[1] ?? []).map(Number);
    expect(counted.reduce((sum, count) => sum + count, 0) + lines.length - counted.length).toBe(400);
  });

  test("as one JSON object per line in production, and if logFormat is json", async () => {
    for (const options of [{}, { logFormat: "json" }]) {
      vi.stubEnv("NODE_ENV", "logFormat" in options ? "development" : "production");
      await open(options);
      await world.requestToken("ann", undefined, OTHER);
      expect(JSON.parse(lines.pop() ?? "")).toMatchObject({
        level: "warn",
        status: 403,
        event: "token",
        reason: "origin",
        origin: OTHER,
        reference: expect.stringMatching(/^[0-9a-f]{12}$/),
      });
      await world.close();
    }
    await open();
  });

  test("as text in production if logFormat is text", async () => {
    vi.stubEnv("NODE_ENV", "production");
    await open({ logFormat: "text" });
    await expect(connect("eve")).rejects.toMatchObject({ status: 403 });
    expect(printed()).toEqual([
      "403 eve /ws/chat needs chat.can_use_chat or chat.can_moderate_chat (why: REFERENCE)",
    ]);
  });
});

test("without onError, an error is printed as one JSON object in production", async () => {
  vi.stubEnv("NODE_ENV", "production");
  const errors: string[] = [];
  const spy = vi.spyOn(console, "error").mockImplementation((line: string) => void errors.push(line));
  onTestFinished(() => spy.mockRestore());
  await open({
    onError: undefined,
    authenticate: () => {
      throw new TypeError("the session store failed");
    },
  });
  expect((await world.requestToken("ann")).status).toBe(500);
  expect(JSON.parse(errors[0] ?? "")).toEqual({
    level: "error",
    where: expect.stringMatching(/^\/api\/ws-token \(reference [0-9a-f]{12}\)$/),
    error: "TypeError: the session store failed",
    stack: expect.stringContaining("log-lines.test.ts"),
  });
});

test("prints nothing if the app has onDecision, which receives the denial", async () => {
  const decisions: { reason: string | undefined }[] = [];
  await open({ onDecision: (decision: { reason: string | undefined }) => void decisions.push(decision) });
  await world.requestToken("ann", undefined, OTHER);
  expect(lines).toEqual([]);
  expect(decisions).toMatchObject([{ reason: "origin" }]);
});
