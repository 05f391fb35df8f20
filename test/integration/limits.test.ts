import { afterEach, describe, expect, test } from "vitest";
import { handler, WebSocketView } from "../../src/index.ts";
import { LobbyView, openChat } from "./chat.ts";
import { ORIGIN, statusOf, type World, type WorldOptions } from "./world.ts";

let world: World;

async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await openChat(["ann", "bob"], options);
}

afterEach(() => world.close());

const BAD_TOKEN = "0".repeat(64);

/** Returns the status of a connect with a token that was never issued. */
const guess = () => statusOf(world.connect("ann", { token: BAD_TOKEN }));

/** Returns the windows of the limits of connects, each with its count. */
const counted = async () =>
  (
    (await world.sql("select key, count from sallyport_counters where key like '[%'")) as {
      key: string;
      count: number | string;
    }[]
  )
    .map(({ key, count }) => [...(JSON.parse(key) as string[]).slice(0, 2), Number(count)].join(" "))
    .filter((line) => !line.startsWith("tokensPerUser"))
    .sort();

/** Moves the start of every window back by `ms` milliseconds. */
const age = (ms: number) =>
  world.sql(`update sallyport_counters set window_started_at = window_started_at - ${ms}`);

/** Sends a `$connect` event as the gateway does, for tests that read the response headers. */
const connectEvent = (token: string, user: string, connectionId: string, address = "203.0.113.5") =>
  world.event(`/ws/chat/connect?ws_token=${token}`, {
    connectionId,
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": address,
    origin: ORIGIN,
    cookie: `login=${user}:login-of-${user}`,
  });

describe("Retry-After", () => {
  test("is the time until the window of tokensPerUser ends", async () => {
    await open({ limits: { tokensPerUser: 1 } });
    await world.token("ann");
    await age(20_000);
    const response = await world.requestToken("ann");
    expect(response.status).toBe(429);
    const seconds = Number(response.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(1);
    expect(seconds).toBeLessThanOrEqual(40);
  });

  test("B27 is the time until the window of connectsPerUser ends", async () => {
    await open({ limits: { connectsPerUser: 1 } });
    expect((await connectEvent(await world.token("ann"), "ann", "AAAAAAAAAAAAAAA=")).status).toBe(200);
    await age(20_000);
    const response = await connectEvent(await world.token("ann"), "ann", "BBBBBBBBBBBBBBB=");
    expect(response.status).toBe(429);
    const seconds = Number(response.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(1);
    expect(seconds).toBeLessThanOrEqual(40);
  });

  test("can be read by a page on another allowed origin, on success and on rejection", async () => {
    await open({ limits: { tokensPerUser: 1 } });
    for (const status of [200, 429]) {
      const response = await world.requestToken("ann");
      expect(response.status).toBe(status);
      expect(response.headers.get("access-control-expose-headers")).toBe("retry-after");
    }
    const foreign = await world.requestToken("ann", undefined, "https://evil.test");
    expect(foreign.status).toBe(403);
    expect(foreign.headers.get("access-control-expose-headers")).toBeNull();
  });
});

describe("bad tokens", () => {
  test("do not block connects with valid tokens at the same address", async () => {
    await open();
    for (let attempt = 0; attempt < 25; attempt++) await guess();
    expect(world.decisions.at(-1)).toMatchObject({ reason: "limit", status: 429 });
    expect(await statusOf(world.connect("ann"))).toBe(101);
    expect(await statusOf(world.connect("bob"))).toBe(101);
  });

  test("are limited by the number of bad tokens, not of valid ones", async () => {
    await open({ limits: { failedConnectsPerIp: 3, connectsPerUser: false } });
    for (let attempt = 0; attempt < 5; attempt++) await world.connect("ann");
    expect([await guess(), await guess(), await guess(), await guess()]).toEqual([403, 403, 403, 429]);
    expect(await statusOf(world.connect("ann"))).toBe(101);
  });

  test("B29 do not count towards connectsPerIp", async () => {
    await open({ limits: { connectsPerIp: 2, failedConnectsPerIp: 10 } });
    for (let attempt = 0; attempt < 4; attempt++) expect(await guess()).toBe(403);
    expect(await statusOf(world.connect("ann"))).toBe(101);
    expect(await counted()).toEqual([
      "connectsPerIp 127.0.0.1 1",
      "connectsPerUser ann 1",
      "failedConnectsPerIp 127.0.0.1 4",
    ]);
  });

  test("cause no write at the limit, and the 429 response has a Retry-After header", async () => {
    await open({ limits: { failedConnectsPerIp: 1 } });
    await guess();
    await age(20_000);
    const before = await world.sql("select * from sallyport_counters order by key");
    const response = await connectEvent(BAD_TOKEN, "ann", "AAAAAAAAAAAAAAA=", "127.0.0.1");
    expect(response.status).toBe(429);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(1);
    expect(Number(response.headers.get("retry-after"))).toBeLessThanOrEqual(40);
    expect(await world.sql("select * from sallyport_counters order by key")).toEqual(before);
  });

  test("do not call authenticate()", async () => {
    let calls = 0;
    await open({
      authenticate: () => {
        calls++;
        return null;
      },
    });
    await guess();
    expect(calls).toBe(0);
  });
});

describe("connects", () => {
  test("over the limit of the user are not counted for the address", async () => {
    await open({ limits: { connectsPerUser: 1, connectsPerIp: 3 } });
    await world.connect("ann");
    for (let attempt = 0; attempt < 4; attempt++) expect(await statusOf(world.connect("ann"))).toBe(429);
    expect(await counted()).toEqual(["connectsPerIp 127.0.0.1 1", "connectsPerUser ann 1"]);
    expect(await statusOf(world.connect("bob"))).toBe(101);
  });

  test("that race at the limit of the user are not counted for the address", async () => {
    await open({ limits: { connectsPerUser: 3, tokensPerUser: false } });
    const tokens = await Promise.all(Array.from({ length: 20 }, () => world.token("ann")));
    const statuses = await Promise.all(tokens.map((token) => statusOf(world.connect("ann", { token }))));
    expect(statuses.filter((status) => status === 101)).toHaveLength(3);
    expect(await counted()).toEqual(["connectsPerIp 127.0.0.1 3", "connectsPerUser ann 3"]);
  });

  test("over connectionsPerUser are not counted for the address", async () => {
    await open({ limits: { connectionsPerUser: 1, connectsPerIp: 3 } });
    await world.connect("ann");
    for (let attempt = 0; attempt < 4; attempt++) expect(await statusOf(world.connect("ann"))).toBe(429);
    expect(await counted()).toEqual(["connectsPerIp 127.0.0.1 1", "connectsPerUser ann 5"]);
    expect(await statusOf(world.connect("bob"))).toBe(101);
  });

  test("over the limit of the address are not counted for the user", async () => {
    await open({ limits: { connectsPerIp: 1 } });
    await world.connect("bob");
    expect(await statusOf(world.connect("ann"))).toBe(429);
    expect(await counted()).toEqual(["connectsPerIp 127.0.0.1 1", "connectsPerUser bob 1"]);
  });

  test("without a token count for the address at a view that allows anonymous users", async () => {
    await open({ views: { "/ws/lobby": LobbyView }, limits: { connectsPerIp: 1 } });
    expect([await statusOf(world.connect(null)), await statusOf(world.connect(null))]).toEqual([101, 429]);
    expect(await counted()).toEqual(["connectsPerIp 127.0.0.1 1"]);
  });
});

describe("messages", () => {
  test("of one user are counted across connections", async () => {
    // Each process counts separately.
    await open({ limits: { messagesPerUser: 5 }, instances: 1 });
    const [first, second, bob] = [
      await world.connect("ann"),
      await world.connect("ann"),
      await world.connect("bob"),
    ];
    for (let index = 0; index < 5; index++) await (index % 2 ? first : second).result("whoami");
    for (const socket of [first, second])
      expect(await socket.call("whoami")).toMatchObject({ ok: false, status: 429 });
    expect(world.decisions.at(-1)).toMatchObject({ reason: "limit", userId: "ann" });
    await bob.result("whoami");
  });
});

/** A view with its own limits, and a handler with its own limit. */
class LimitedView extends WebSocketView {
  static override signedIn = true;
  static override limits = { messagesPerUser: 4, connectsPerUser: 2, connectsPerIp: false };
  ping = handler(() => "pong");
  search = handler({ limits: { messagesPerConnection: 1 } }, () => "found");
}

/** Uses the limits of the app. */
class PlainView extends WebSocketView {
  static override signedIn = true;
  ping = handler(() => "pong");
}

describe("a view with its own limits", () => {
  const both = { "/ws/limited": LimitedView, "/ws/plain": PlainView };
  const limits = { connectsPerUser: 3, connectsPerIp: 4, messagesPerUser: 3 };
  /** Connects a user to a view several times and returns the statuses. */
  const connects = async (view: string, count: number, user = "ann") => {
    const statuses: number[] = [];
    for (let index = 0; index < count; index++) {
      const response = await world.event(`${view}/connect?ws_token=${await world.token(user)}`, {
        connectionId: `${view.slice(-5)}${user}${index}AAAAAAA=`.replaceAll("/", "a"),
        "x-sallyport-secret": world.secret,
        "x-sallyport-source-ip": "203.0.113.5",
        origin: ORIGIN,
        cookie: `login=${user}:login-of-${user}`,
      });
      statuses.push(response.status);
    }
    return statuses;
  };

  test("B29 counts only its own connects, against its own values", async () => {
    await open({ views: both, limits });
    expect(await connects("/ws/limited", 3)).toEqual([200, 200, 429]);
    expect(world.decisions.at(-1)?.message).toMatch(
      /^User ann has reached connectsPerUser of view \/ws\/limited/,
    );
    expect(await connects("/ws/plain", 4)).toEqual([200, 200, 200, 429]);
    expect(await connects("/ws/plain", 2, "bob")).toEqual([200, 429]);
    expect(world.decisions.at(-1)?.message).toMatch(
      /^Address 203\.0\.113\.5 has reached connectsPerIp, which/,
    );
    expect(await connects("/ws/limited", 2, "bob")).toEqual([200, 200]);
  });

  test("counts only its own failed connects, against its own value", async () => {
    class GuardedView extends WebSocketView {
      static override signedIn = true;
      static override limits = { failedConnectsPerIp: 1 };
      ping = handler(() => "pong");
    }
    class OpenView extends WebSocketView {
      static override signedIn = true;
      static override limits = { failedConnectsPerIp: false };
      ping = handler(() => "pong");
    }
    const views = { "/ws/guarded": GuardedView, "/ws/plain": PlainView, "/ws/open": OpenView };
    await open({ views, limits: { failedConnectsPerIp: 2 } });
    const guesses = async (view: string, count: number) => {
      const statuses: number[] = [];
      for (let index = 0; index < count; index++) {
        const response = await world.event(`${view}/connect?ws_token=${BAD_TOKEN}`, {
          connectionId: `${view.slice(-4)}${index}AAAAAAAAAA=`,
          "x-sallyport-secret": world.secret,
          "x-sallyport-source-ip": "203.0.113.5",
          origin: ORIGIN,
        });
        statuses.push(response.status);
      }
      return statuses;
    };
    expect(await guesses("/ws/guarded", 2)).toEqual([403, 429]);
    expect(world.decisions.at(-1)?.message).toMatch(
      /^Address 203\.0\.113\.5 has reached failedConnectsPerIp of view \/ws\/guarded, which allows 1/,
    );
    expect(await guesses("/ws/plain", 3)).toEqual([403, 403, 429]);
    expect(await guesses("/ws/open", 5)).toEqual([403, 403, 403, 403, 403]);
    // A valid token is accepted, no matter how many connects failed at its address.
    expect(await connects("/ws/guarded", 1)).toEqual([200]);
    expect(await counted()).toEqual(
      expect.arrayContaining(["failedConnectsPerIp 203.0.113.5 1", "failedConnectsPerIp 203.0.113.5 2"]),
    );
  });

  test("counts only the tokens that were requested with its path", async () => {
    class TokenView extends WebSocketView {
      static override signedIn = true;
      static override limits = { tokensPerUser: 2 };
      ping = handler(() => "pong");
    }
    class OpenView extends WebSocketView {
      static override signedIn = true;
      static override limits = { tokensPerUser: false };
      ping = handler(() => "pong");
    }
    const tokens = async (body: object | undefined, count: number, user = "ann") => {
      const statuses: number[] = [];
      for (let index = 0; index < count; index++)
        statuses.push((await world.requestToken(user, body)).status);
      return statuses;
    };
    await open({
      views: { "/ws/plain": PlainView, "/ws/token": TokenView, "/ws/open": OpenView },
      limits: { tokensPerUser: 3 },
    });
    expect(await tokens({ view: "/ws/token" }, 3)).toEqual([200, 200, 429]);
    expect(world.decisions.at(-1)?.message).toMatch(
      /^User ann has reached tokensPerUser of view \/ws\/token, which allows 2 per minute/,
    );
    expect(await tokens({ view: "/ws/token" }, 1, "bob")).toEqual([200]);
    expect(await tokens({ view: "/ws/open" }, 5)).toEqual([200, 200, 200, 200, 200]);
    // Views without their own value, unknown views and requests without a view share the value of the app.
    expect(await tokens({ view: "/ws/plain" }, 1)).toEqual([200]);
    expect(await tokens({ view: "/ws/unknown" }, 1)).toEqual([403]);
    expect(await tokens(undefined, 2)).toEqual([200, 429]);
    for (const view of ["/ws/plain", "/ws/unknown", "/ws/token/", "constructor", 7, null])
      expect([view, await tokens({ view }, 1)]).toEqual([view, [429]]);
    expect(world.decisions.at(-1)?.message).toMatch(/^User ann has reached tokensPerUser, which allows 3/);
    expect(await tokens({ view: "/ws/open" }, 1)).toEqual([200]);

    expect(await world.sallyport.access.limits.list({ user: "ann" })).toMatchObject([
      { limit: "tokensPerUser", view: null, count: 3, max: 3 },
      { limit: "tokensPerUser", view: "/ws/token", count: 2, max: 2 },
    ]);
    expect(await world.sallyport.access.limits.clear({ user: "ann" })).toBe(2);
    expect(await tokens({ view: "/ws/token" }, 1)).toEqual([200]);
  });

  test("counts only its own messages, and the calls of a handler in addition", async () => {
    await open({ views: both, limits, instances: 1 });
    const ann = await world.connect("ann");
    const second = await world.connect("ann");
    expect(await ann.result("search")).toBe("found");
    expect(await ann.call("search")).toMatchObject({ status: 429 });
    expect(world.decisions.at(-1)?.message).toMatch(
      /messagesPerConnection of handler search of view \/ws\/limited/,
    );
    expect(await second.result("search")).toBe("found");
    expect(await second.result("ping")).toBe("pong");
    expect(await second.call("ping")).toMatchObject({ status: 429 });
    expect(world.decisions.at(-1)?.message).toMatch(/messagesPerUser of view \/ws\/limited, which allows 4/);
    const bob = await world.connect("bob");
    expect(await bob.result("ping")).toBe("pong");
  });
});
