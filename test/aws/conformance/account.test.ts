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
  type Desk,
  echo,
  expectErrorFrame,
  handshake,
  idOf,
  manage,
  NOBODY,
  onDesk,
  openBackend,
  openDesk,
  type Place,
  route,
  say,
} from "./desk.ts";

const ACCOUNT = "an account with small quotas";
const PLENTY = { ratePerSecond: 1000, burst: 1000 };

/** A desk of two APIs, whose account takes so much. */
async function limited(
  accountThrottling: AccountThrottling | undefined,
  options: Partial<LocalGatewayOptions> = {},
): Promise<{ desk: Desk; other: Place & Pick<Desk, "endpoint">; clock: ManualClock }> {
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
  const desk = await openDesk({ clock, apis, ...throttling, ...options }, backend);
  const of = (url: string) => url.replace(/dev$/, "test");
  return { desk, clock, other: { url: of(desk.url), endpoint: of(desk.endpoint), backend } };
}

async function statuses(places: readonly Place[]): Promise<readonly number[]> {
  const all = [];
  for (const place of places) all.push((await handshake(place)).status);
  return all;
}

describe("4 new connections of an account", () => {
  onDesk("1.2 more new connections than an account takes are 429, all APIs together", ACCOUNT, async () => {
    const { desk, other, clock } = await limited({ connections: { ratePerSecond: 2, burst: 2 } });
    expect(await statuses([desk, other, desk, other])).toEqual([101, 101, 429, 429]);
    clock.advance(500);
    expect(await statuses([other, desk])).toEqual([101, 429]);
  });

  onDesk("4 there are 500 a second", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const desk = await openDesk({ clock, accountThrottling: {}, apis: [{ routes, stages: { dev: {} } }] });
    const heads = Array.from({ length: 501 }, () => {
      const raw = new RawClient(desk.local.port);
      raw.upgrade("/dev");
      return raw.head();
    });
    const taken = (await Promise.all(heads)).filter((head) => head.startsWith("HTTP/1.1 101 "));
    expect(taken).toHaveLength(500);
    clock.advance(2);
    expect(await statuses([desk, desk])).toEqual([101, 429]);
  });

  onDesk("4 messages and the Management API are no new connections", ACCOUNT, async () => {
    const { desk } = await limited({ connections: { ratePerSecond: 1, burst: 1 } });
    const arrived = await connected(desk);
    for (const body of ["one", "two"]) expect(await echo(arrived, body)).toBe(body);
    for (const _ of [1, 2]) expect((await manage(desk, "GET", at(await idOf(arrived)))).status).toBe(200);
  });
});

describe("4 requests of an account", () => {
  onDesk("4 each connect is one, of whatever API", ACCOUNT, async () => {
    const { desk, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 2 } });
    expect(await statuses([desk, other, desk, other])).toEqual([101, 101, 429, 429]);
    clock.advance(1000);
    expect(await statuses([desk, other])).toEqual([101, 429]);
  });

  onDesk("4 each message is one, of whatever API, and one too many is lost", ACCOUNT, async () => {
    const { desk, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 4 } });
    const [here, there] = [await connected(desk), await connected(other)];
    expect(await echo(here, "one")).toBe("one");
    expect(await echo(there, "two", { action: "custom" })).toBe("two");
    say(here, { body: "lost" });
    say(there, { body: "lost" }, { action: "custom" });
    expect(await statuses([desk])).toEqual([429]);
    clock.advance(2000);
    expect([await echo(here, "three"), await echo(there, "four")]).toEqual(["three", "four"]);
    expect(await here.kinds()).toEqual(["connect", "default", "default"]);
    expect(await there.kinds()).toEqual(["connect", "custom", "default"]);
  });

  onDesk("§9.5 by a switch a message too many is answered with a frame", ACCOUNT, async () => {
    const requests = { ratePerSecond: 1, burst: 1 };
    const { desk } = await limited({ requests }, { onThrottledMessage: "errorFrame" });
    const arrived = await connected(desk);
    say(arrived, { body: "lost" });
    expectErrorFrame(await arrived.client.text(), "Too Many Requests", await idOf(arrived));
  });

  for (const method of ["POST", "GET", "DELETE"] as const) {
    onDesk(`4 each ${method} of the Management API is one, of whatever API`, ACCOUNT, async () => {
      const { desk, other, clock } = await limited({ requests: { ratePerSecond: 1, burst: 2 } });
      const path = at(await idOf(await connected(desk)));
      expect((await manage(other, method, path)).status).toBe(410);
      const { status, headers, body } = await manage(desk, method, path);
      expect([status, headers["x-amzn-errortype"], body]).toEqual([429, "LimitExceededException", ""]);
      expect(await statuses([other])).toEqual([429]);
      clock.advance(1000);
      expect((await manage(desk, method, path)).status).toBeLessThan(300);
    });
  }

  onDesk("4 a $disconnect is none", ACCOUNT, async () => {
    const { desk } = await limited({ requests: { ratePerSecond: 1, burst: 1 } });
    desk.local.deploy({
      routes: { $connect: route(desk.backend, "connect"), $disconnect: route(desk.backend, "disconnect") },
    });
    const arrived = await connected(desk);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(await arrived.kinds()).toEqual(["connect", "disconnect"]);
  });

  onDesk("4 a connect that they refuse is no new connection", ACCOUNT, async () => {
    const { desk, clock } = await limited({
      connections: { ratePerSecond: 0.001, burst: 1 },
      requests: { ratePerSecond: 1, burst: 1 },
    });
    expect((await manage(desk, "GET", at(NOBODY))).status).toBe(410);
    expect(await statuses([desk])).toEqual([429]);
    clock.advance(1000);
    expect(await statuses([desk])).toEqual([101]);
  });

  onDesk("4 what they refuse is none of its stage's", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const apis = [{ routes, stages: { dev: { throttling: { ratePerSecond: 0.001, burst: 1 } } } }];
    const accountThrottling = { requests: { ratePerSecond: 1, burst: 1 } };
    const desk = await openDesk({ clock, apis, accountThrottling });
    expect((await manage(desk, "GET", at(NOBODY))).status).toBe(410);
    expect(await statuses([desk])).toEqual([429]);
    clock.advance(1000);
    expect(await statuses([desk])).toEqual([101]);
  });

  onDesk("4 what a stage refuses is none", ACCOUNT, async () => {
    const clock = new ManualClock();
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const throttling = { ratePerSecond: 0, burst: 0 };
    const apis = [{ routes, stages: { dev: { throttling }, test: {} } }];
    const accountThrottling = { requests: { ratePerSecond: 1, burst: 1 } };
    const desk = await openDesk({ clock, apis, accountThrottling });
    expect(await statuses([desk, desk])).toEqual([429, 429]);
    expect(await statuses([{ ...desk, url: desk.url.replace(/dev$/, "test") }])).toEqual([101]);
  });

  onDesk("§9.29 an account takes everything unless it is told", ACCOUNT, async () => {
    const { desk } = await limited(undefined);
    const answers = await Promise.all(Array.from({ length: 20 }, () => handshake(desk)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([101]));
  });
});

describe("4 throttling that is none", () => {
  for (const [what, options, words] of [
    [
      "an account's rate below 0",
      { accountThrottling: { requests: { ratePerSecond: -1, burst: 1 } } },
      /accountThrottling: requests must have a rate and a burst of at least 0\. Write/,
    ],
    [
      "an account's burst that is no number",
      { accountThrottling: { connections: { ratePerSecond: 1, burst: Number.NaN } } },
      /accountThrottling: connections: burst must be a number/,
    ],
    [
      "a Management API's without a burst",
      { managementThrottling: { ratePerSecond: 1 } },
      /managementThrottling must have a rate and a burst of at least 0/,
    ],
  ] as const) {
    onDesk(`4 ${what} is refused at the start`, "a gateway of one's own", async () => {
      await expect(limited(undefined, options as never)).rejects.toThrow(words);
    });
  }

  onDesk("4 a stage's is refused as well", "a gateway of one's own", async () => {
    const routes = { $default: route("http://127.0.0.1:9", "default") };
    const throttling = { ...PLENTY, burst: -1 };
    const apis = [{ routes, stages: { dev: { throttling } } }];
    await expect(openDesk({ apis })).rejects.toThrow(
      /stage "dev": throttling must have a rate and a burst of at least 0/,
    );
  });
});
