import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { ChatView, channels, chat } from "./chat.ts";
import { World } from "./world.ts";

const OWN = "http://localhost:3000";
const OTHER = "http://127.0.0.1:3000";

let lines: string[];
beforeEach(() => {
  lines = [];
  const spy = vi.spyOn(console, "warn").mockImplementation((line: string) => void lines.push(line));
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

describe("without onDecision", () => {
  test("prints one line for a page on the other loopback name", async () => {
    await open();
    for (let count = 0; count < 3; count++) {
      expect((await world.requestToken("ann", undefined, OTHER)).status).toBe(403);
    }
    expect(lines).toEqual([
      expect.stringMatching(
        /^sallyport: token was denied\. Origin "http:\/\/127\.0\.0\.1:3000" is not in origins, which contains "http:\/\/localhost:3000"\. Both are names of this machine\. Open the page at http:\/\/localhost:3000, or add "http:\/\/127\.0\.0\.1:3000" to origins\. \(reference [0-9a-f]{12}\)$/,
      ),
    ]);
  });

  test("prints one line for a connect without a cookie", async () => {
    await open({ origins: [OWN, OTHER] });
    await expect(connectWithoutCookie(OTHER)).rejects.toMatchObject({ status: 403 });
    expect(lines.filter((line) => line.startsWith("sallyport: "))).toEqual([
      expect.stringMatching(
        /^sallyport: connect was denied\. The connect has no session, because authenticate\(\) returned null\. The page is on 127\.0\.0\.1\. The browser sends no cookies to another host name, such as localhost\. Use one host name for both\./,
      ),
    ]);
  });

  test("prints nothing for other origins, for other reasons and in production", async () => {
    await open();
    await world.requestToken("ann", undefined, "https://evil.example");
    await world.requestToken(null, undefined, OWN);
    expect(lines).toEqual([]);
    await world.close();
    vi.stubEnv("NODE_ENV", "production");
    await open();
    await world.requestToken("ann", undefined, OTHER);
    expect(lines).toEqual([]);
  });

  test("prints at most ten lines, without control characters", async () => {
    await open();
    for (let port = 4000; port < 4020; port++) {
      await world.requestToken("ann", undefined, `http://localhost:${port}/\u009b31m`);
    }
    expect(lines).toHaveLength(10);
    for (const line of lines) expect(line).toMatch(/^[\x20-\x7e]+$/);
  });
});

test("prints nothing if the app has onDecision, which receives the denial", async () => {
  const decisions: { reason: string | undefined }[] = [];
  await open({ onDecision: (decision: { reason: string | undefined }) => void decisions.push(decision) });
  await world.requestToken("ann", undefined, OTHER);
  expect(lines).toEqual([]);
  expect(decisions).toMatchObject([{ reason: "origin" }]);
});
