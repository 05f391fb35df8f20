import { describe, expect } from "vitest";
import {
  type AccountThrottling,
  type LocalApi,
  type LocalGatewayOptions,
  ManualClock,
} from "../../../src/local/emulator.ts";
import { RawClient } from "../../local/rig.ts";
import {
  at,
  connected,
  echo,
  expectErrorFrame,
  type GatewayUnderTest,
  handshake,
  idOf,
  manage,
  openBackend,
  openGateway,
  type Place,
  route,
  sendMessage,
  testLocally,
  UNKNOWN_ID,
} from "./gateway-under-test.ts";

const ACCOUNT = "an account with small quotas";
const PLENTY = { ratePerSecond: 1000, burst: 1000 };

/** Opens two APIs in an account with these quotas. */
async function limited(
  accountThrottling: AccountThrottling | undefined,
  options: Partial<LocalGatewayOptions> = {},
): Promise<{
  gateway: GatewayUnderTest;
  other: Place & Pick<GatewayUnderTest, "endpoint">;
  clock: ManualClock;
}> {
  const clock = new ManualClock();
  const backend = await openBackend();
  const routes = {
    $connect: route(backend, "connect"),
    $default: route(backend, "default", { routeResponse: true }),
    custom: route(backend, "custom", { routeResponse: true }),
  };
  const apis: readonly LocalApi[] = [
    { id: "first00000", routes, stages: { dev: {} } },
    { id: "second0000", routes, stages: { test: {} } },
  ];
  const throttling = accountThrottling ? { accountThrottling } : {};
  const gateway = await openGateway({ clock, apis, ...throttling, ...options }, backend);
  const of = (url: string) => url.replace(/dev$/, "test");
  return { gateway, clock, other: { url: of(gateway.url), endpoint: of(gateway.endpoint), backend } };
}

async function statuses(places: readonly Place[]): Promise<readonly number[]> {
  const all = [];
  for (const place of places) all.push((await handshake(place)).status);
  return all;
}

describe("4 new connections of an account", () => {
  testLocally("1.2 connects of all APIs above the account quota are rejected with 429", ACCOUNT, async () => {
    const { gateway, other, clock } = await limited({ connections: { ratePerSecond: 2, burst: 2 } });
    expect(await statuses([gateway, other, gateway, other])).toEqual([101, 101, 429, 429]);
    clock.advance(500);
    expect(await statuses([other, gateway])).toEqual([101, 429]);
  });

  testLocally("4 there are 500 a second", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const gateway = await openGateway({
      clock,
      accountThrottling: {},
      apis: [{ routes, stages: { dev: {} } }],
    });
    const heads = Array.from({ length: 501 }, () => {
      const raw = new RawClient(gateway.local.port);
      raw.upgrade("/dev");
      return raw.head();
    });
    const taken = (await Promise.all(heads)).filter((head) => head.startsWith("HTTP/1.1 101 "));
    expect(taken).toHaveLength(500);
    clock.advance(2);
    expect(await statuses([gateway, gateway])).toEqual([101, 429]);
  });

  testLocally("4 messages and the Management API do not count as new connections", ACCOUNT, async () => {
    const { gateway } = await limited({ connections: { ratePerSecond: 1, burst: 1 } });
    const arrived = await connected(gateway);
    for (const body of ["one", "two"]) expect(await echo(arrived, body)).toBe(body);
    for (const _ of [1, 2]) expect((await manage(gateway, "GET", at(await idOf(arrived)))).status).toBe(200);
  });
});

describe("4 requests of an account", () => {
  testLocally("4 each connect to any API counts", ACCOUNT, async () => {
    const { gateway, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 2 } });
    expect(await statuses([gateway, other, gateway, other])).toEqual([101, 101, 429, 429]);
    clock.advance(1000);
    expect(await statuses([gateway, other])).toEqual([101, 429]);
  });

  testLocally("4 each message to any API counts, and one above the quota is lost", ACCOUNT, async () => {
    const { gateway, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 4 } });
    const [here, there] = [await connected(gateway), await connected(other)];
    expect(await echo(here, "one")).toBe("one");
    expect(await echo(there, "two", { action: "custom" })).toBe("two");
    sendMessage(here, { body: "lost" });
    sendMessage(there, { body: "lost" }, { action: "custom" });
    expect(await statuses([gateway])).toEqual([429]);
    clock.advance(2000);
    expect([await echo(here, "three"), await echo(there, "four")]).toEqual(["three", "four"]);
    expect(await here.kinds()).toEqual(["connect", "default", "default"]);
    expect(await there.kinds()).toEqual(["connect", "custom", "default"]);
  });

  testLocally("§9.5 an option answers a message above the quota with a frame", ACCOUNT, async () => {
    const requests = { ratePerSecond: 1, burst: 1 };
    const { gateway } = await limited({ requests }, { onThrottledMessage: "errorFrame" });
    const arrived = await connected(gateway);
    sendMessage(arrived, { body: "lost" });
    expectErrorFrame(await arrived.client.text(), "Too Many Requests", await idOf(arrived));
  });

  for (const method of ["POST", "GET", "DELETE"] as const) {
    testLocally(`4 each ${method} of the Management API to any API counts`, ACCOUNT, async () => {
      const { gateway, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 2 } });
      const path = at(await idOf(await connected(gateway)));
      expect((await manage(other, method, path)).status).toBe(410);
      const { status, headers, body } = await manage(gateway, method, path);
      expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      expect(await statuses([other])).toEqual([429]);
      clock.advance(1000);
      expect((await manage(gateway, method, path)).status).toBeLessThan(300);
    });
  }

  testLocally("4 a $disconnect does not count", ACCOUNT, async () => {
    const { gateway } = await limited({ requests: { ratePerSecond: 1, burst: 1 } });
    gateway.local.deploy({
      routes: {
        $connect: route(gateway.backend, "connect"),
        $disconnect: route(gateway.backend, "disconnect"),
      },
    });
    const arrived = await connected(gateway);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });

  testLocally("4 a connect above the request quota does not count as a new connection", ACCOUNT, async () => {
    const { gateway, clock } = await limited({
      connections: { ratePerSecond: 0.001, burst: 1 },
      requests: { ratePerSecond: 1, burst: 1 },
    });
    expect((await manage(gateway, "GET", at(UNKNOWN_ID))).status).toBe(410);
    expect(await statuses([gateway])).toEqual([429]);
    clock.advance(1000);
    expect(await statuses([gateway])).toEqual([101]);
  });

  testLocally("4 a connect above the account quota does not count for its stage", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const apis = [{ routes, stages: { dev: { throttling: { ratePerSecond: 0.001, burst: 1 } } } }];
    const accountThrottling = { requests: { ratePerSecond: 1, burst: 1 } };
    const gateway = await openGateway({ clock, apis, accountThrottling });
    expect((await manage(gateway, "GET", at(UNKNOWN_ID))).status).toBe(410);
    expect(await statuses([gateway])).toEqual([429]);
    clock.advance(1000);
    expect(await statuses([gateway])).toEqual([101]);
  });

  testLocally("4 a connect above the stage quota does not count for the account", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const throttling = { ratePerSecond: 0, burst: 0 };
    const apis = [{ routes, stages: { dev: { throttling }, test: {} } }];
    const accountThrottling = { requests: { ratePerSecond: 1, burst: 1 } };
    const gateway = await openGateway({ clock, apis, accountThrottling });
    expect(await statuses([gateway, gateway])).toEqual([429, 429]);
    expect(await statuses([{ ...gateway, url: gateway.url.replace(/dev$/, "test") }])).toEqual([101]);
  });

  testLocally("§9.29 an account has no quotas by default", ACCOUNT, async () => {
    const { gateway } = await limited(undefined);
    const answers = await Promise.all(Array.from({ length: 20 }, () => handshake(gateway)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([101]));
  });
});

describe("4 invalid throttling", () => {
  for (const [what, options, words] of [
    [
      "an account rate below 0",
      { accountThrottling: { requests: { ratePerSecond: -1, burst: 1 } } },
      /accountThrottling: requests must have a rate and a burst of at least 0\. Write/,
    ],
    [
      "an account burst that is not a number",
      { accountThrottling: { connections: { ratePerSecond: 1, burst: Number.NaN } } },
      /accountThrottling: connections: burst must be a number/,
    ],
    [
      "Management API throttling without a burst",
      { managementThrottling: { ratePerSecond: 1 } },
      /managementThrottling must have a rate and a burst of at least 0/,
    ],
  ] as const) {
    testLocally(`4 ${what} is rejected at startup`, "a separate gateway", async () => {
      await expect(limited(undefined, options as never)).rejects.toThrow(words);
    });
  }

  testLocally("4 invalid throttling of a stage is rejected too", "a separate gateway", async () => {
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const throttling = { ...PLENTY, burst: -1 };
    const apis = [{ routes, stages: { dev: { throttling } } }];
    await expect(openGateway({ apis })).rejects.toThrow(
      /stage "dev": throttling must have a rate and a burst of at least 0/,
    );
  });
});
