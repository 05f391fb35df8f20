import { expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { startBackend, startGateway } from "../../test/local/rig.ts";

/** Connects from pages to a gateway and returns the warnings that the gateway prints. */
async function printedFor(
  connects: readonly (readonly [origin: string | undefined, host: string])[],
  status = 403,
): Promise<readonly string[]> {
  const lines: string[] = [];
  const spy = vi.spyOn(console, "warn").mockImplementation((line: string) => void lines.push(line));
  onTestFinished(() => spy.mockRestore());
  const backend = await startBackend(() => ({ status }));
  const gateway = await startGateway(backend);
  for (const [origin, host] of connects) {
    const headers = { host: `${host}:${gateway.port}`, ...(origin === undefined ? {} : { origin }) };
    const socket = new WebSocket(gateway.url, { headers });
    await new Promise((resolve) => {
      socket.on("error", resolve);
      socket.on("open", resolve);
    });
    socket.terminate();
  }
  return lines.map((line) => line.replaceAll(String(gateway.port), "3001"));
}

test("reports in one line a denied page with another hostname of this machine than the socket", async () => {
  expect(await printedFor([["http://127.0.0.1:3000", "localhost"]])).toEqual([
    "sallyport local gateway: $connect was answered 403. The page is on 127.0.0.1 and the socket on localhost, so the browser does not " +
      "send the page's cookies. Open the page at http://localhost:3000, or connect to 127.0.0.1:3001. The option origins of the app must " +
      "contain the page's origin, now http://127.0.0.1:3000.",
  ]);
});

test.each([
  ["http://localhost:3000", "127.0.0.1"],
  ["http://app.localhost:3000", "localhost"],
  ["https://localhost", "[::1]"],
])("reports a page at %s with a socket on %s", async (origin, host) => {
  const [line = "", ...others] = await printedFor([[origin, host]], 401);
  expect(others).toEqual([]);
  expect(line).toContain(`The page is on ${new URL(origin).hostname} and the socket on ${host},`);
});

test("reports a pair of names once", async () => {
  const pair = ["http://127.0.0.1:3000", "localhost"] as const;
  expect(await printedFor([pair, pair, pair])).toHaveLength(1);
});

test.each([
  ["the same name", "http://localhost:3000", "localhost", 403],
  ["no page", undefined, "localhost", 403],
  ["a page on another machine", "https://www.example.com", "localhost", 403],
  ["an Origin that is not a URL", "null", "localhost", 403],
  ["an allowed connect", "http://127.0.0.1:3000", "localhost", 200],
  ["a backend that fails", "http://127.0.0.1:3000", "localhost", 503],
])("reports nothing for %s", async (_what, origin, host, status) => {
  expect(await printedFor([[origin, host]], status)).toEqual([]);
});
