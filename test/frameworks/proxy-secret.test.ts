import { readFileSync } from "node:fs";
import { join } from "node:path";
import express from "express";
import { afterEach, expect, test, vi } from "vitest";
import { expressMiddleware } from "../../src/adapters/express.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import { channels, chat, LobbyView } from "../integration/chat.ts";
import { statusOf, World } from "../integration/world.ts";

/** The check of docs/reference/options.md. */
const [, CHECK = ""] =
  /```js\n(const \{ PROXY_SECRET \}.*?)```/s.exec(
    readFileSync(join(import.meta.dirname, "../../docs/reference/options.md"), "utf8"),
  ) ?? [];

let world: World | undefined;
afterEach(async () => {
  vi.unstubAllEnvs();
  await world?.close();
});

function serve(sallyport: Sallyport) {
  const app = express();
  new Function("app", "expressMiddleware", "sallyport", CHECK)(app, expressMiddleware, sallyport);
  return app;
}

test.each(["token", "session"] as const)(
  "the documented check of a proxy's secret denies direct connects, with binding %s",
  async (binding) => {
    vi.stubEnv("PROXY_SECRET", "of the proxy");
    world = await World.open({
      permissions: [chat],
      channels,
      views: { "/ws/chat": LobbyView },
      serve,
      token: { binding },
      trustProxy: 1,
      limits: { failedConnectsPerIp: 1 },
    });
    const from = (address: string, secret: Record<string, string>, user: string | null) =>
      statusOf((world as World).connect(user, { headers: { "x-forwarded-for": address, ...secret } }));
    const secrets: Record<string, string>[] = [{}, { "x-proxy-secret": "a guess" }, { "x-proxy-secret": "" }];
    for (const secret of secrets) {
      for (const user of [null, "ann"]) expect(await from("203.0.113.7", secret, user)).toBe(403);
    }
    expect(await world.sallyport.access.limits.list({ address: "203.0.113.7" })).toEqual([]);
    const right = { "x-proxy-secret": "of the proxy" };
    for (const user of [null, "ann"]) {
      const socket = await world.connect(user, { headers: { "x-forwarded-for": "203.0.113.7", ...right } });
      expect(await socket.call("ping")).toHaveProperty("status");
    }
    expect(await world.sallyport.access.limits.list({ address: "203.0.113.7" })).toMatchObject([
      { limit: "connectsPerIp", count: 2 },
    ]);
  },
);

test("the documented check of a proxy's secret does not start without the secret", () => {
  vi.stubEnv("PROXY_SECRET", "");
  expect(() => serve({} as Sallyport)).toThrow("PROXY_SECRET is not set.");
});
