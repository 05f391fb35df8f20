import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { definePermissions } from "../../src/permissions/define.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { type Handler, handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { type HandshakeRejected, ORIGIN, World, type WorldOptions } from "./world.ts";

const shop = definePermissions("shop", { enter: "Enter", moderate: "Moderate", ship: "Ship" });
const owners = new Map([[1, "ann"]]);
const OrderRef = z.object({ order: z.int() });

class BaseView extends WebSocketView {
  static override permissionsRequired = [shop.enter];
  remove: Handler = handler({ permissionsRequired: [shop.moderate] }, () => "base") as never;
  ship: Handler = handler(
    { body: OrderRef, authorize: ({ body, user }) => owners.get(body.order) === user.id },
    () => "base",
  ) as never;
  look = handler(() => "seen");
}

class ShopView extends BaseView {
  static override permissionsRequired = [shop.enter, shop.ship];
  override remove = handler(() => "removed") as never;
  override ship = handler({ body: OrderRef, allPermissionsRequired: [shop.ship] }, () => "shipped") as never;
}

let world: World | undefined;
afterEach(async () => {
  const errors = world?.errors ?? [];
  await world?.close();
  world = undefined;
  expect(errors.map(String)).toEqual([]);
});

async function open(options: Partial<WorldOptions> = {}): Promise<World> {
  world = await World.open({ permissions: [shop], views: { "/ws/shop": ShopView }, ...options });
  return world;
}

const denied = (status = 403) => expect.objectContaining({ status }) as HandshakeRejected;

describe("a view with rules in static fields and a parent class", () => {
  test("denies a connection that does not satisfy the rule of the parent class", async () => {
    const { sallyport, connect } = bound(await open());
    await sallyport.access.grant("ann", shop.ship);
    await expect(connect("ann")).rejects.toEqual(denied());
    await sallyport.access.grant("ann", shop.enter);
    const ann = await connect("ann");
    expect(await ann.result("look")).toBe("seen");
  });

  test("denies an overriding handler if the user does not satisfy the rule of the parent's handler", async () => {
    const { sallyport, connect, decisions } = bound(await open());
    await sallyport.access.grant("ann", shop.enter);
    const ann = await connect("ann");
    expect(await ann.call("remove")).toMatchObject({ ok: false, error: "Permission denied." });
    expect(decisions.at(-1)).toMatchObject({ reason: "permission", missing: ["shop.moderate"] });
    await sallyport.access.grant("ann", shop.moderate);
    expect(await ann.result("remove")).toBe("removed");
    await sallyport.access.revoke("ann", shop.moderate);
    expect(await ann.call("remove")).toMatchObject({ ok: false, status: 403 });
  });

  test("calls the authorize of an overridden handler, and checks the rules of both", async () => {
    const { sallyport, connect, decisions } = bound(await open());
    for (const user of ["ann", "bob"]) {
      await sallyport.access.grant(user, shop.enter);
      await sallyport.access.grant(user, shop.ship);
    }
    const ann = await connect("ann");
    const bob = await connect("bob");
    expect(await ann.result("ship", { order: 1 })).toBe("shipped");
    expect(await bob.call("ship", { order: 1 })).toMatchObject({ ok: false, status: 403 });
    expect(decisions.at(-1)).toMatchObject({ reason: "authorize" });
    await sallyport.access.revoke("ann", shop.ship);
    expect(await ann.call("ship", { order: 1 })).toMatchObject({ ok: false, status: 403 });
  });
});

describe("the session of a token", () => {
  test("must match the session of the connect, so another user's cookie is denied", async () => {
    const { sallyport, connect, token, decisions } = bound(await open());
    await sallyport.access.grant("ann", shop.enter);
    await sallyport.access.grant("mallory", shop.enter);
    await expect(connect("mallory", { token: await token("ann") })).rejects.toEqual(denied());
    expect(decisions.at(-1)).toMatchObject({ reason: "session" });
    await expect(connect(null, { token: await token("ann") })).rejects.toEqual(denied());
    await connect("ann", { token: await token("ann") });
  });
});

test.each([
  { sessionID: "s1" },
  { session_id: "s1" },
  { sessionId: undefined },
  { id: "s1" },
  { sessionId: " " },
])("rejects the session %j from authenticate(), which endSession() could not find", async (session) => {
  const opened = await open({ authenticate: () => ({ userId: "ann", ...session }) });
  expect((await opened.requestToken("ann")).status).toBe(500);
  expect(opened.errors.splice(0).map(String)).toEqual([
    expect.stringMatching(/the result of authenticate\(\): (session|id)/),
  ]);
});

test.each([null, undefined])(
  "answers a token request with 401 if authenticate() returns %s",
  async (user) => {
    const opened = await open({ authenticate: () => user as null });
    expect((await opened.requestToken("ann")).status).toBe(401);
  },
);

test("rejects a result of authenticate() that is not a plain object", async () => {
  class Account {
    userId = "ann";
  }
  const opened = await open({ authenticate: () => new Account() });
  expect((await opened.requestToken("ann")).status).toBe(500);
  expect(opened.errors.splice(0).map(String)).toEqual([
    expect.stringMatching(
      /must return \{ userId, sessionId \} or null, but returned an object of class Account/,
    ),
  ]);
});

test("rejects a send with an undefined requirement instead of sending to everyone", async () => {
  class SendingView extends WebSocketView {
    static override signedIn = true;
    shout = handler(({ to }) => to("everyone", undefined).send("x"));
  }
  const opened = await open({ views: { "/ws/sending": SendingView } });
  expect(() => opened.sallyport.to("everyone", undefined)).toThrow(
    /must be a plain object, but received undefined/,
  );
  const ann = await opened.connect("ann");
  expect(await ann.call("shout")).toMatchObject({ ok: false, status: 500 });
  expect(opened.errors.splice(0).map(String)).toEqual([expect.stringMatching(/to\(…\)/)]);
  const { access } = opened.sallyport;
  await expect(access.users.hasPermission("ann", shop.enter, undefined)).rejects.toThrow(
    /must be a plain object/,
  );
  await expect(access.users.withPermission(shop.enter, { object: undefined })).rejects.toThrow(
    /object must be a plain object, but received undefined/,
  );
});

test("rejects a gateway registration with an undefined secret, both kinds of secret, or a short secret", async () => {
  const { sallyport, gateway } = await open();
  const registration = { name: "local", endpoint: gateway.endpoint };
  await expect(sallyport.registerGateway({ ...registration, secret: undefined as never })).rejects.toThrow(
    /registerGateway\(\): secret/,
  );
  await expect(
    sallyport.registerGateway({ ...registration, secret: "x".repeat(32), secretHashes: ["a".repeat(64)] }),
  ).rejects.toThrow(/has both secret and secretHashes/);
  await expect(sallyport.registerGateway({ ...registration, secret: "short" })).rejects.not.toThrow(/short/);
});

describe("a page", () => {
  test("B30 of a subdomain is accepted by a wildcard in origins, and one of a similar domain is not", async () => {
    const { sallyport, connect, requestToken } = bound(await open({ origins: ["https://*.example.com"] }));
    await sallyport.access.grant("ann", shop.enter);
    await connect("ann", { origin: "https://chat.example.com" });
    const allowed = await requestToken("ann", undefined, "https://chat.example.com");
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://chat.example.com");
    for (const origin of [
      "https://example.com",
      "https://example.com.evil.test",
      "https://evilexample.com",
    ]) {
      const response = await requestToken("ann", undefined, origin);
      expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([403, null]);
    }
  });

  test("is accepted only if the function origins returns true", async () => {
    const answers: Record<string, unknown> = { [ORIGIN]: true, "https://a.test": "yes", "https://b.test": 1 };
    const { sallyport, connect } = bound(
      await open({ origins: async (origin) => answers[origin] as boolean }),
    );
    await sallyport.access.grant("ann", shop.enter);
    await connect("ann");
    for (const origin of ["https://a.test", "https://b.test", "https://c.test"]) {
      const token = await (world as World).token("ann");
      await expect(connect("ann", { origin, token }), origin).rejects.toEqual(denied());
    }
    expect((world as World).decisions.at(-1)).toMatchObject({
      reason: "origin",
      message:
        'origins() did not return true for "https://c.test". Return true if its pages are allowed to connect.',
    });
  });

  test("is rejected with 500 if the function origins throws, and the error is reported", async () => {
    const opened = await open({
      origins: () => {
        throw new Error("no database");
      },
    });
    const response = await opened.requestToken("ann");
    expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([500, null]);
    expect(opened.errors.splice(0).map(String)).toContain("Error: no database");
  });

  test("without an Origin header is accepted with allowMissingOrigin, and an unknown origin is denied", async () => {
    const { sallyport, connect } = bound(await open({ origins: undefined, allowMissingOrigin: true }));
    await sallyport.access.grant("ann", shop.enter);
    const token = () => (world as World).token("ann", undefined, null);
    await connect("ann", { origin: null, token: await token() });
    await expect(connect("ann", { origin: ORIGIN, token: await token() })).rejects.toEqual(denied());
  });
});

test.each(["", " ", "\t", "a\nb", "a\u0000", "\u001b[31mann", "a\u009b"])(
  "rejects the user id %j in authenticate() and in changes",
  async (userId) => {
    const { sallyport, requestToken } = bound(await open({ authenticate: () => ({ userId }) }));
    expect((await requestToken("ann")).status).toBe(500);
    expect((world as World).errors.splice(0).map(String)).toEqual([
      expect.stringMatching(/the result of authenticate\(\): userId must be a string of 1 to 255 characters/),
    ]);
    for (const change of [
      () => sallyport.access.grant(userId, shop.enter),
      () => sallyport.access.users.addToGroup(userId, "Staff"),
      () => sallyport.access.users.setActive(userId, true),
    ]) {
      await expect(change()).rejects.toThrow(
        /A user id must be a string of 1 to 255 characters that is not blank/,
      );
    }
    expect(await sallyport.access.users.withPermission(shop.enter)).toEqual([]);
  },
);

describe("a change", () => {
  test("with a misspelled or invalid option is rejected, and nothing is written", async () => {
    const { access } = (await open()).sallyport;
    const wrong: [RegExp, () => Promise<unknown>][] = [
      [/untill is not an option/, () => access.grant("ann", shop.enter, { untill: 1 } as never)],
      [/until is undefined/, () => access.grant("ann", shop.enter, { until: undefined })],
      [/until must be a Date/, () => access.users.addToGroup("ann", "Staff", { until: null } as never)],
      [
        /untl is not an option/,
        () => access.change({ kind: "grant", holder: "ann", permission: shop.enter, untl: 5 } as never),
      ],
      [
        /until is undefined/,
        () => access.change({ kind: "grant", holder: "ann", permission: shop.enter, until: undefined }),
      ],
      [
        /superuser must be true or false/,
        () => access.change({ kind: "set-superuser", user: "ann", superuser: "no" } as never),
      ],
      [
        /permission is not an option/,
        () => access.change({ kind: "prune-permissions", permission: ["shop.ship"] } as never),
      ],
    ];
    for (const [words, change] of wrong) await expect(change(), String(words)).rejects.toThrow(words);
    expect(await access.users.get("ann")).toBeUndefined();
  });
});

test("a view denies connections without the permission of its default channel", async () => {
  class LobbyView extends WebSocketView {
    static override signedIn = true;
    static override defaultChannel = "lobby";
    where = handler(({ connection }) => connection.channels);
  }
  const lobby = defineChannel("lobby", { permissionsRequired: [shop.enter] });
  const { sallyport, connect } = bound(await open({ views: { "/ws/lobby": LobbyView }, channels: [lobby] }));
  await expect(connect("ann")).rejects.toEqual(denied());
  await sallyport.access.grant("ann", shop.enter);
  expect(await (await connect("ann")).result("where")).toEqual(["lobby"]);
});

/** Returns functions of a world that can be called without it. */
function bound(opened: World) {
  return {
    sallyport: opened.sallyport,
    decisions: opened.decisions,
    connect: opened.connect.bind(opened),
    token: opened.token.bind(opened),
    requestToken: opened.requestToken.bind(opened),
  };
}
