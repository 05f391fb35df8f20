import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { ConfigurationError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/view/channel.ts";
import type { ConnectContext, DisconnectContext, User } from "../../src/view/context.ts";
import { handler } from "../../src/view/handlers.ts";
import { WebSocketView } from "../../src/view/view.ts";
import { storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { ORIGIN, statusOf, World, type WorldOptions } from "./world.ts";

const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };
let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

async function anew(options: Partial<WorldOptions>): Promise<World> {
  await world.close();
  world = await World.open({ permissions: [chat], channels, views, ...options });
  return world;
}

test("somebody without the right who tries again and again is no guesser of tokens: nobody is locked out", async () => {
  await anew({ limits: { failedConnectsPerIp: 3 } });
  for (let attempt = 0; attempt < 6; attempt++) expect(await statusOf(world.connect("eve"))).toBe(403);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  expect(await statusOf(world.connect("ann"))).toBe(101);
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await statusOf(world.connect("ann", { token: "0".repeat(64) }))).toBe(403);
  }
  expect(await statusOf(world.connect("ann", { token: "0".repeat(64) }))).toBe(429);
});

describe("a gateway that tells no source address", () => {
  const arriving = async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const token = await world.token("ann");
    const headers = {
      connectionId: "AAAAAAAAAAAAAAA=",
      "x-sallyport-secret": world.secret,
      cookie: "login=ann:login-of-ann",
      origin: ORIGIN,
    };
    return (await world.event(`/ws/chat/connect?ws_token=${token}`, headers)).status;
  };

  test.each([
    ["with both limits by address", {}, 400],
    ["with the limit of connects alone", { failedConnectsPerIp: false as const }, 400],
    ["with the limit of failures alone", { connectsPerIp: false as const }, 400],
    ["with neither", { connectsPerIp: false as const, failedConnectsPerIp: false as const }, 200],
  ])("%s", async (_what, limits, status) => {
    await anew({ limits });
    expect(await arriving()).toBe(status);
  });

  test("or one that is none", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const headers = {
      connectionId: "AAAAAAAAAAAAAAA=",
      "x-sallyport-secret": world.secret,
      "x-sallyport-source-ip": "the moon",
      origin: ORIGIN,
    };
    expect((await world.event("/ws/chat/connect", headers)).status).toBe(400);
  });
});

test("rights that change while the author's connect() runs: authorize is asked once more, about the same user", async () => {
  const asked: (string | undefined)[] = [];
  let meanwhile: () => Promise<unknown> = async () => undefined;
  const den = defineChannel("den", {
    allowAnonymous: true,
    authorize: ({ user }: { user: User }) => {
      asked.push(user.id);
      return user.id !== "bob";
    },
  });
  class Slow extends WebSocketView {
    static override allowAnonymous = true;
    static override receiveOnly = true;
    override connect = async (_context: ConnectContext) => {
      await meanwhile();
    };
  }
  await anew({ channels: [den], views: { "/ws/lobby": Slow } });
  await world.connect("ann", { channel: "den" });
  await world.connect(null, { channel: "den" });
  expect(asked).toEqual(["ann", undefined]);
  asked.length = 0;
  let changes = 1;
  meanwhile = async () => {
    if (changes-- > 0) await world.sallyport.access.recheck({ channel: "den" });
  };
  await world.connect("ann:again", { channel: "den" });
  // The two who are in are asked about as well; the last question is about who arrives.
  expect(asked.filter((id) => id === "ann").length).toBeGreaterThanOrEqual(3);
  expect(asked.at(-1)).toBe("ann");
  asked.length = 0;
  changes = 1;
  await world.connect(null, { channel: "den" });
  // On arriving, about the one who is in, and once more about who arrives.
  expect(asked.filter((id) => id === undefined).length).toBeGreaterThanOrEqual(3);
});

test("a connection that is open already is refused, and authorize is not asked for ever", async () => {
  let asked = 0;
  const den = defineChannel("den", {
    allowAnonymous: true,
    authorize: () => {
      asked++;
      return true;
    },
  });
  await anew({ channels: [den], views: { "/ws/lobby": LobbyView } });
  const headers = {
    connectionId: "AAAAAAAAAAAAAAA=",
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "192.0.2.1",
    origin: ORIGIN,
  };
  const connecting = async () => (await world.event("/ws/lobby/connect?channel=den", headers)).status;
  expect(await connecting()).toBe(200);
  expect(await connecting()).toBe(400);
  expect(asked).toBe(2);
});

test("whoever has no id is in no list of ids, though the hook gives back what it was asked", async () => {
  const den = defineChannel("den", { allowAnonymous: true, authorizeMany: ({ userIds }) => userIds });
  await anew({ channels: [den], views: { "/ws/lobby": LobbyView } });
  expect(await statusOf(world.connect(null, { channel: "den" }))).toBe(403);
  expect(await statusOf(world.connect("ann", { channel: "den" }))).toBe(101);
  expect(await statusOf(world.connect(null))).toBe(101);
});

describe("a connect", () => {
  test("shows the author's connect() the request that opens the socket", async () => {
    let agent: string | null | undefined;
    class Curious extends WebSocketView {
      static override allowAnonymous = true;
      static override receiveOnly = true;
      override connect = ({ request }: ConnectContext) => {
        agent = request.headers.get("x-client");
      };
    }
    await anew({ views: { "/ws/lobby": Curious } });
    await world.connect(null, { headers: { "x-client": "a browser" } });
    expect(agent).toBe("a browser");
  });

  test("asks nobody for the login where the token alone says who it is", async () => {
    let asked = 0;
    await anew({
      token: { binding: "token" },
      authenticate: () => {
        asked++;
        return { userId: "ann", sessionId: "phone" };
      },
    });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const token = await world.token("ann");
    const before = asked;
    await world.connect("ann", { token });
    expect([before > 0, asked]).toEqual([true, before]);
  });

  test("that is refused tells whose it was, from where and from which page, a page's name cut where it is too long", async () => {
    expect(await statusOf(world.connect("eve:phone"))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({
      userId: "eve",
      loginId: expect.stringMatching(/^[0-9a-f]{12}$/),
      origin: ORIGIN,
      sourceIp: "127.0.0.1",
    });
    await statusOf(world.connect(null, { origin: `https://${"a".repeat(600)}.example` }));
    expect(world.decisions.at(-1)).toMatchObject({ reason: "origin" });
    expect(world.decisions.at(-1)?.origin).toHaveLength(500);
  });
});

test("an author's hook that fails has not said yes, and the failure is told", async () => {
  const failing = defineChannel("failing", {
    signedIn: true,
    authorize: () => {
      throw new Error("the app's database is down");
    },
  });
  await anew({ channels: [failing] });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  expect(await statusOf(world.connect("ann", { channel: "failing" }))).toBe(500);
  expect(await world.sallyport.listSessions()).toEqual([]);
  expect(world.errors.splice(0).map(String)).toEqual(["Error: the app's database is down"]);
});

test("a login that ends while its token is made gets none, where no login comes along with the connect", async () => {
  let logins = ["desk", "desk"];
  await world.close();
  world = await World.open({ permissions: [chat], channels, views, token: { binding: "token" } });
  const app = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    token: { binding: "token" },
    authenticate: () => {
      const sessionId = logins.shift();
      return sessionId === undefined ? null : { userId: "ann", sessionId };
    },
  });
  const asking = async () =>
    (await app.fetch(new Request("http://app/api/ws-token", { method: "POST", headers: { origin: ORIGIN } })))
      ?.status;
  const stored = () => world.sql("select hash from sallyport_tokens");
  expect(await asking()).toBe(200);
  expect(await stored()).toHaveLength(1);
  for (const then of [["desk"], ["desk", "another"]]) {
    logins = then;
    expect(await asking()).toBe(403);
    expect(await stored()).toHaveLength(1);
  }
  await app.close();
});

test("a channel that another app declares is not left because this one does not know it", async () => {
  const theirs = defineChannel("theirs", { permissionsRequired: [chat.can_use_chat] });
  await anew({ channels: [...channels, theirs] });
  for (const right of [chat.can_use_chat, chat.can_moderate_chat])
    await world.sallyport.access.grant("ann", right);
  const ann = await world.connect("ann", { channel: "theirs" });
  const errors: unknown[] = [];
  const other = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: (error) => void errors.push(error),
  });
  await other.access.revoke("ann", chat.can_moderate_chat);
  await other.access.recheck({ user: "ann" });
  expect(await world.sallyport.listSessions({ channel: "theirs" })).toMatchObject([{ user: "ann" }]);
  expect(ann.received).toEqual([]);
  expect(errors).toEqual([]);
  await other.close();
});

test("moving to another channel leaves the old one, moving to the same one stays; leaving none leaves none", async () => {
  class Mover extends WebSocketView {
    static override signedIn = true;
    go = handler(async ({ body, move, session }) => {
      await move((body as { channel: string }).channel);
      return session.channels;
    });
    out = handler(async ({ leave, session }) => {
      await leave();
      return session.channels;
    });
  }
  await anew({ views: { "/ws/mover": Mover } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  expect(await ann.result("out")).toEqual([]);
  expect(await ann.result("go", { channel: "rooms/one" })).toEqual(["rooms/one"]);
  expect(await ann.result("go", { channel: "rooms/two" })).toEqual(["rooms/two"]);
  expect(await ann.result("go", { channel: "rooms/two" })).toEqual(["rooms/two"]);
  expect(await world.sallyport.listSessions()).toMatchObject([{ channels: ["rooms/two"] }]);
  expect(await ann.result("out")).toEqual([]);
  expect(await world.sallyport.listSessions()).toMatchObject([{ channels: [] }]);
});

test("a call's id of 128 characters is an id, and one more is not; a number must be one", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  for (const [id, fits] of [
    ["x".repeat(128), true],
    ["x".repeat(129), false],
    [7, true],
    [true, false],
    [null, false],
    [{ id: 1 }, false],
  ] as const) {
    ann.send({ handler: "whoami", id });
    const last = ann.received.length;
    await expect.poll(() => ann.received.length).toBeGreaterThan(last);
    const frame = ann.received.at(-1);
    expect([id, frame?.ok, frame?.id]).toEqual(fits ? [id, true, id] : [id, false, undefined]);
  }
});

test("repeats the id of a call as it was sent, or rejects it with a sentence", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  const rule =
    "The id of a call must be text of at most 128 characters, or a number from -(2^53 - 1) to 2^53 - 1";
  for (const [id, fits] of [
    ["9007199254740991", true],
    ["-9007199254740991", true],
    ["9007199254740992", false],
    ["9007199254740993", false],
    ["12345678901234567890", false],
    ["-0", false],
    ["1.0", false],
    ["1e2", false],
    ["1E2", false],
    ["1e400", false],
    ["0.5", true],
    ["0.50", false],
    ["0.1000000000000000055511151231257827", false],
    ["0", true],
    ['"12345678901234567890"', true],
    ['"\\ud800"', true],
  ] as const) {
    ann.received.length = 0;
    ann.send(`{"handler":"whoami","id":${id}}`);
    const frame = await ann.next(() => true);
    if (fits) expect([frame.ok, JSON.stringify(frame.id)]).toEqual([true, id]);
    else
      expect([id, frame]).toEqual([
        id,
        { ok: false, error: expect.stringContaining(rule), reference: expect.any(String) },
      ]);
  }
});

describe("a message", () => {
  class Mirror extends WebSocketView {
    static override allowAnonymous = true;
    look = handler(({ body }) => {
      const own = Object.getOwnPropertyDescriptors(body as object);
      return Object.entries(own).map(([key, { value, ...kind }]) => ({ key, value, ...kind }));
    });
    strict = handler(
      { body: z.object({ list: z.array(z.object({ name: z.string("x".repeat(300)) })) }) },
      () => "it fits",
    );
    whole = handler({ body: z.custom(() => false, "Never.") }, () => "it fits");
  }
  beforeEach(() => anew({ views: { "/ws/lobby": Mirror } }));

  test("shows its handler what it says, without what only says where it goes, whatever its keys are called", async () => {
    const ann = await world.connect(null);
    ann.send(
      '{"id":"1","handler":"look","action":"look","a":1,"__proto__":2,"constructor":3,"toString":null}',
    );
    const { result } = await ann.next(({ id }) => id === "1");
    const plain = { writable: true, enumerable: true, configurable: true };
    expect(result).toEqual([
      { key: "a", value: 1, ...plain },
      { key: "__proto__", value: 2, ...plain },
      { key: "constructor", value: 3, ...plain },
      { key: "toString", value: null, ...plain },
    ]);
  });

  test("whose id is no finite number is none that could be answered", async () => {
    const ann = await world.connect(null);
    ann.send('{"id":1e999,"handler":"look"}');
    await expect.poll(() => world.decisions.at(-1)).toMatchObject({ reason: "malformed", status: 400 });
  });

  test("that does not fit is told why in few words, and the developer where", async () => {
    const ann = await world.connect(null);
    expect(await ann.call("strict", { list: [{ name: "a" }, { name: 1 }] })).toMatchObject({
      status: 400,
      error: "x".repeat(200),
    });
    expect(world.decisions.at(-1)?.message).toContain("the schema of strict at list.1.name: xxx");
    await ann.call("whole");
    expect(world.decisions.at(-1)?.message).toContain("the schema of whole at body: Never.");
    const long = { list: Array.from({ length: 500 }, () => ({})) };
    await ann.call("strict", long);
    expect(world.decisions.at(-1)?.message.length).toBeLessThan(3000);
  });

  test("names its handler in few letters, and one that is not there is told with those that are", async () => {
    const ann = await world.connect(null);
    expect(await ann.call("n".repeat(300))).toMatchObject({ ok: false, status: 403 });
    expect(world.decisions.at(-1)?.handler).toBe("n".repeat(200));
    expect(world.decisions.at(-1)?.message).toMatch(/It has: look, strict, whole\.$/);
  });

  test("from a socket in a channel that is declared no more is answered as before, and does not see that channel", async () => {
    await anew({ views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sql("insert into sallyport_memberships select id, 'gone', 1 from sallyport_sessions");
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
  });
});

describe("what is no change", () => {
  const refused: readonly (readonly [
    what: string,
    change: (access: World["sallyport"]["access"]) => Promise<unknown>,
  ])[] = [
    ["a change of an unknown kind", (access) => access.preview({ kind: "abolish" } as never)],
    ["nothing", (access) => access.preview(null as never)],
    ["a recheck of nobody", (access) => access.recheck({} as never)],
    ["a recheck of two things", (access) => access.recheck({ user: "ann", channel: "rooms/a" } as never)],
    ["a recheck of a channel that is none", (access) => access.recheck({ channel: "nowhere" })],
    ["a recheck of no name", (access) => access.recheck({ channel: 7 as never })],
    ["a grant of no name", (access) => access.grant("ann", 7 as never)],
    ["a revocation of no name", (access) => access.revoke("ann", 7 as never)],
    ["a pruning of one name", (access) => access.prunePermissions("chat.old" as never)],
    ["a pruning of no names", (access) => access.prunePermissions([7] as never)],
    [
      "a pruning of names, and of one that is none",
      (access) => access.prunePermissions(["chat.old", 7] as never),
    ],
    ["options that are none", (access) => access.revoke("ann", chat.can_use_chat, null as never)],
    [
      "a reason that cannot be kept",
      (access) => access.revoke("ann", chat.can_use_chat, { reason: 7 as never }),
    ],
    ["an end that is text", (access) => access.grant("ann", chat.can_use_chat, { until: "soon" as never })],
  ];
  test.each(refused)("%s is refused, and nothing is written", async (_what, change) => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const before = await world.sallyport.access.audit();
    const error = await change(world.sallyport.access).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(await world.sallyport.access.audit()).toEqual(before);
    expect(await world.sql("select id from sallyport_evictions")).toEqual([]);
    expect(await world.sallyport.access.hasPermission("ann", chat.can_use_chat)).toBe(true);
  });

  test.each<[what: string, names: string[]]>([
    ["no permission at all", []],
    ["one that nobody has", ["chat.forgotten"]],
  ])("pruning %s changes nothing and says so", async (_what, names) => {
    expect(await world.sallyport.access.prunePermissions(names)).toEqual([]);
    expect(await world.sallyport.access.audit()).toEqual([]);
    expect(await world.sql("select id from sallyport_evictions")).toEqual([]);
  });

  test("pruning several, of which one is not there, prunes the others", async () => {
    await world.sql(
      "insert into sallyport_permissions (name, label, created_at) values ('chat.old', 'Old', 0)",
    );
    expect(await world.sallyport.access.prunePermissions(["chat.forgotten", "chat.old"])).toEqual([
      "chat.old",
    ]);
    expect(await world.sallyport.access.audit()).toMatchObject([{ details: { permissions: ["chat.old"] } }]);
  });
});

describe("a disconnect", () => {
  interface Departure {
    readonly view: string;
    readonly user: string | undefined;
    readonly channels: readonly string[];
    readonly code: number | undefined;
    readonly reason: string | undefined;
  }
  let departures: Departure[];
  let fails = false;

  class HallView extends WebSocketView {
    static override allowAnonymous = true;
    ping = handler(async () => "pong");
    override async disconnect({ userId, session, code, reason, to }: DisconnectContext) {
      if (fails) throw new Error("a bug in the app");
      departures.push({ view: "hall", user: userId, channels: session.channels, code, reason });
      if (session.channel) await to({ channel: session.channel }).send({ type: "left", who: userId });
    }
  }
  class OtherView extends WebSocketView {
    static override allowAnonymous = true;
    ping = handler(async () => "pong");
    override disconnect({ userId, session, code, reason }: DisconnectContext) {
      departures.push({ view: "other", user: userId, channels: session.channels, code, reason });
    }
  }

  beforeEach(async () => {
    [departures, fails] = [[], false];
    await anew({
      channels: [defineChannel("open", { allowAnonymous: true })],
      views: { "/ws/hall": HallView, "/ws/other": OtherView },
    });
  });

  const connectionOf = async () =>
    (
      (await world.sql("select connection_id from sallyport_sessions order by connected_at, id")) as {
        connection_id: string;
      }[]
    )[0]?.connection_id as string;
  const gone = (path: string, connectionId: string, headers: Record<string, string> = {}) =>
    world.event(path, { connectionId, "x-sallyport-secret": world.secret, ...headers });

  test("is told once to the view that accepted the socket, with code and reason, and the others can be told", async () => {
    await world.connect("ann", { channel: "open" });
    const connection = await connectionOf();
    const bob = await world.connect("bob", { channel: "open" });
    const told = { "x-sallyport-disconnect-code": "1001", "x-sallyport-disconnect-reason": "Going away" };
    expect((await gone("/ws/other/disconnect", connection, told)).status).toBe(200);
    expect((await gone("/ws/other/disconnect", connection, told)).status).toBe(200);
    expect(departures).toEqual([
      { view: "hall", user: "ann", channels: ["open"], code: 1001, reason: "Going away" },
    ]);
    expect(await bob.message("left")).toMatchObject({ who: "ann" });
    expect((await gone("/ws/hall/disconnect", "AAAAAAAAAAAAAAA=")).status).toBe(200);
    expect(departures).toHaveLength(1);
  });

  test.each(["", "x1001", "1001x", "1.5", "-1", "1".repeat(16)])(
    "whose code is %j has none",
    async (code) => {
      await world.connect("ann");
      await gone("/ws/hall/disconnect", await connectionOf(), { "x-sallyport-disconnect-code": code });
      expect(departures).toMatchObject([{ code: undefined, channels: [] }]);
    },
  );

  test("whose hook fails is a disconnect all the same, and the failure is told", async () => {
    await world.connect("ann");
    fails = true;
    expect((await gone("/ws/hall/disconnect", await connectionOf())).status).toBe(200);
    expect(await world.sallyport.listSessions()).toEqual([]);
    expect(world.errors.splice(0).map(String)).toEqual(["Error: a bug in the app"]);
  });
});
