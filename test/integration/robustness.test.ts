import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import { badRequest, ConfigurationError, StorageError } from "../../src/errors.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "./chat.ts";
import { ORIGIN, Socket, World } from "./world.ts";

const circular: Record<string, unknown> = {};
circular.self = circular;

class OddView extends WebSocketView {
  static override signedIn = true;
  bigint = handler(() => ({ n: 1n }));
  circle = handler(() => circular);
  huge = handler(() => "x".repeat(130 * 1024));
  nothing = handler(() => undefined);
  nul = handler(() => null);
  echo = handler({ body: z.object({ text: z.string() }) }, ({ body }) => ({
    wrapped: `${body.text}${body.text}`,
  }));
  forward = handler({ body: z.object({ text: z.string() }) }, async ({ body, to }) => {
    await to("everyone").send({ twice: [body.text, body.text] });
  });
  many = handler({ body: z.object({ items: z.array(z.number()) }) }, () => 1);
  join = handler({ body: z.object({ channel: z.string() }) }, async ({ body, join }) => join(body.channel));
  throws_text = handler(() => {
    throw "a text";
  });
  rejects = handler(async () => Promise.reject(new Error("later")));
}

class GuardedView extends WebSocketView {
  static override signedIn = true;
  ping = handler(() => 1);
  override connect({ user }: { user: { id: string | undefined } }) {
    if (user.id === "bug") throw new Error("a bug in connect()");
    if (user.id === "pest") throw badRequest("Not you.");
  }
}

class OpenView extends WebSocketView {
  static override allowAnonymous = true;
  /** The object has no owner and an anonymous user has no id. Both are undefined. */
  read = handler(
    { body: z.object({ n: z.int() }), authorize: ({ user }) => user.signedIn && user.id === undefined },
    () => "secret",
  );
}

const views = { "/ws/odd": OddView, "/ws/guarded": GuardedView, "/ws/open": OpenView };
const room = defineChannel("rooms/:slug", { signedIn: true });
let world: World;
const open = (options: Partial<Parameters<typeof World.open>[0]> = {}) =>
  World.open({ permissions: [chat], channels: [room], views, ...options });
beforeEach(async () => {
  world = await open();
});
afterEach(() => world.close());

describe("a handler result", () => {
  test("B71 that cannot be sent is answered with 500 or 413, and onError receives the reason", async () => {
    const ann = await world.connect("ann");
    for (const name of ["bigint", "circle", "huge", "throws_text", "rejects"]) {
      expect(await ann.call(name), name).toMatchObject({ ok: false, status: name === "huge" ? 413 : 500 });
      ann.send({ handler: name });
      await ann.next((frame) => frame.ok === false && !("id" in frame));
      ann.received.length = 0;
    }
    expect(world.errors.splice(0).map(String)).toContainEqual(
      expect.stringContaining("cannot be written as JSON"),
    );
    expect(await ann.call("nothing")).toEqual({ id: expect.any(String), ok: true, status: 200 });
    expect(await ann.call("nul")).toEqual({ id: expect.any(String), ok: true, status: 200, result: null });
  });

  test("or send that client input made too large causes 413 and a decision, but no error", async () => {
    const ann = await world.connect("ann");
    expect(await ann.call("echo", { text: "x".repeat(30 * 1024) })).toMatchObject({ ok: true });
    const connectionId = (
      (await world.sql("select connection_id c from sallyport_connections")) as { c: string }[]
    )[0]?.c;
    const headers = { connectionId: connectionId as string, "x-sallyport-secret": world.secret };
    for (const name of ["echo", "forward"]) {
      const body = JSON.stringify({ handler: name, text: "x".repeat(100 * 1024) });
      expect((await world.event("/ws/odd/default", headers, body)).status, name).toBe(413);
      expect(world.decisions.at(-1)).toMatchObject({ reason: "too-large", handler: name });
    }
    expect(world.errors).toEqual([]);
  });
});

test("a long list of schema errors is truncated in the answer and in the decision", async () => {
  const ann = await world.connect("ann");
  const answer = await ann.call("many", { items: Array(5000).fill("x") });
  expect(answer).toMatchObject({ ok: false, status: 400 });
  expect(JSON.stringify(answer).length).toBeLessThan(1500);
  expect(JSON.stringify(world.decisions.at(-1)).length).toBeLessThan(3000);
});

test("a connection can join at most 100 channels", async () => {
  const ann = await world.connect("ann");
  for (let n = 0; n < 100; n++) await ann.result("join", { channel: `rooms/${n}` });
  expect(await ann.call("join", { channel: "rooms/100" })).toMatchObject({ ok: false, status: 429 });
  await ann.result("join", { channel: "rooms/7" });
});

describe("app code", () => {
  test("B66 in connect() can reject or throw, which spends the token and opens no connection", async () => {
    await world.close();
    world = await open({ gatewayView: "/ws/guarded" });
    await expect(world.connect("bug")).rejects.toMatchObject({ status: 500 });
    expect(world.errors.splice(0).map(String)).toEqual(["Error: a bug in connect()"]);
    await expect(world.connect("pest")).rejects.toMatchObject({ status: 400 });
    expect(world.decisions.at(-1)).toMatchObject({ event: "connect", userId: "pest", message: "Not you." });
    expect(await world.sql("select * from sallyport_connections")).toEqual([]);
    expect(await world.sql("select * from sallyport_tokens where spent_at is null")).toEqual([]);
  });

  test("in onDecision and onError can throw without an effect on requests", async () => {
    await world.close();
    world = await open({
      onDecision: (async () => {
        throw new Error("the log is full");
      }) as () => void,
      onError: () => {
        throw new Error("this one too");
      },
    });
    expect((await world.requestToken(null)).status).toBe(401);
    const ann = await world.connect("ann");
    expect(await ann.call("bigint")).toMatchObject({ status: 500 });
    expect(await ann.call("nothing")).toMatchObject({ ok: true });
  });

  test("in authorize can deny an anonymous user by signedIn", async () => {
    await world.close();
    world = await open({ gatewayView: "/ws/open" });
    const guest = await world.connect(null);
    expect(await guest.call("read", { n: 1 })).toMatchObject({ ok: false, status: 403 });
  });

  test("that grants a permission before it is migrated receives the command to run", async () => {
    await world.sql("delete from sallyport_permissions");
    const granting = world.sallyport.access.grant("ann", chat.can_use_chat);
    await expect(granting).rejects.toThrow(/Run: npx sallyport migrate/);
    await expect(granting).rejects.toBeInstanceOf(StorageError);
  });
});

describe("the token endpoint", () => {
  test("rejects invalid bodies with 4xx and one decision, and issues no token", async () => {
    const bodies: [string, number][] = [
      ['{"view":{"toString":1}}', 400],
      ['{"view":["/ws/odd"]}', 400],
      ['{"view":null}', 400],
      ['{"view":"/ws/nowhere"}', 403],
      ['{"channel":7}', 400],
      ['{"channel":"a b"}', 400],
      ['{"channel":"nowhere"}', 403],
      ["[]", 400],
      ["null", 400],
      ["{", 400],
      [`{"a":"${"x".repeat(5000)}"}`, 413],
    ];
    for (const [body, status] of bodies) {
      const before = world.decisions.length;
      const response = await fetch(`${world.appUrl}/api/ws-token`, {
        method: "POST",
        headers: { origin: ORIGIN, cookie: "login=ann:login-of-ann" },
        body,
      });
      expect(response.status, body.slice(0, 40)).toBe(status);
      expect(world.decisions.length, body.slice(0, 40)).toBe(before + 1);
    }
    expect(world.errors).toEqual([]);
    expect(await world.sql("select * from sallyport_tokens")).toEqual([]);
  });

  test("cannot be reached by a Host header that contains its path", async () => {
    const { port } = new URL(world.appUrl);
    const status = await new Promise<number | undefined>((resolve) => {
      const headers = { host: "x/api/ws-token?", origin: ORIGIN, cookie: "login=ann:login-of-ann" };
      request({ port, host: "127.0.0.1", path: "/harmless.png", method: "POST", headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).end();
    });
    expect(status).toBe(400);
    expect(await world.sql("select * from sallyport_tokens")).toEqual([]);
  });
});

describe("registering a gateway", () => {
  test("with the secret of another gateway is rejected", async () => {
    const again = world.sallyport.registerGateway({
      name: "twin",
      endpoint: "http://127.0.0.1:9/dev",
      secret: world.secret,
    });
    await expect(again).rejects.toBeInstanceOf(ConfigurationError);
  });

  test("without a secret keeps the current one, and a repeated rotation keeps the previous one", async () => {
    const { apiId, endpoint } = world.gateway;
    const works = async (secret: string) => {
      const headers = { connectionId: "AAAAAAAAAAAAAAA=", "x-sallyport-secret": secret };
      return (await world.event("/ws/odd/disconnect", headers)).status === 200;
    };
    await world.sallyport.registerGateway({ name: "local", apiId, endpoint });
    expect(await works(world.secret)).toBe(true);
    const next = gatewaySecret();
    const rotation = { name: "local", apiId, endpoint, secret: next, keepPreviousSecret: true };
    await world.sallyport.registerGateway(rotation);
    await world.sallyport.registerGateway(rotation);
    expect([await works(next), await works(world.secret)]).toEqual([true, true]);
  });

  test("with an invalid endpoint or secret is rejected", async () => {
    for (const endpoint of ["", "abc", "http://example.com/dev", "ftp://127.0.0.1/dev"]) {
      await expect(world.sallyport.registerGateway({ name: "x", endpoint }), endpoint).rejects.toThrow(
        /ndpoint/,
      );
    }
    for (const secret of ["", "short", "a,b".repeat(20), "x y".repeat(20)]) {
      const registration = { name: "x", endpoint: "http://127.0.0.1:9/dev", secret };
      await expect(world.sallyport.registerGateway(registration), secret).rejects.toThrow(/secret/);
    }
  });
});

test("a body that lacks a field which the message itself uses is explained to the developer", async () => {
  class ActionView extends WebSocketView {
    static override signedIn = true;
    move = handler({ body: z.object({ action: z.string(), to: z.number() }) }, () => 1);
  }
  await world.close();
  world = await open({ views: { "/ws/action": ActionView } });
  const ann = await world.connect("ann");
  expect(await ann.call("move", { action: "left", to: 1 })).toMatchObject({ status: 400 });
  expect(world.decisions.at(-1)?.message).toMatch(
    /^The message does not match the schema of move at action: .* The message itself uses the field "action", so it is not part of the body\. Rename the field in the schema\.$/,
  );
  expect(await ann.call("move", { action: "left", to: "x" })).toMatchObject({ status: 400 });
  expect(world.decisions.at(-1)?.message).toContain('uses the field "action"');
});

describe("a token without a session", () => {
  let other: LocalGateway;
  beforeEach(async () => {
    await world.close();
    world = await open({ token: { binding: "token" } });
    const secret = gatewaySecret();
    other = await startLocalGateway({ target: `${world.appUrl}/ws/odd/`, port: 0, secret });
    const { apiId, endpoint } = other;
    await world.sallyport.registerGateway({ name: "other", apiId, endpoint, secret });
  });
  afterEach(() => other.close());

  /** Connects through a gateway, by default "other", which leads to /ws/odd. */
  const connect = async (
    request: { readonly gateway?: string; readonly view?: string },
    gateway: LocalGateway = other,
  ) => {
    const url = new URL(gateway.url);
    url.searchParams.set("ws_token", await world.token("ann", request));
    return Socket.open(url, { origin: ORIGIN });
  };

  test("B12 is accepted only by the gateway it was requested for", async () => {
    await expect(connect({ gateway: "local" })).rejects.toMatchObject({ status: 403 });
    expect(world.decisions.at(-1)).toMatchObject({ reason: "session" });
    (await connect({ gateway: "other" })).close();
    await expect(connect({ gateway: "local", view: "/ws/odd" })).rejects.toMatchObject({ status: 403 });
  });

  test("is accepted only by the view it was requested for, at each gateway of that view", async () => {
    await expect(connect({ view: "/ws/guarded" })).rejects.toMatchObject({ status: 403 });
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-scope" });
    (await connect({ view: "/ws/odd" })).close();
    const secret = gatewaySecret();
    const third = await startLocalGateway({ target: `${world.appUrl}/ws/odd/`, port: 0, secret });
    onTestFinished(() => third.close());
    const { apiId, endpoint } = third;
    await world.sallyport.registerGateway({ name: "third", apiId, endpoint, secret });
    (await connect({ view: "/ws/odd" }, third)).close();
  });

  test("is not issued for no view and no gateway if there are several gateways", async () => {
    for (const request of [{}, { view: null }, { gateway: "nowhere" }, { gateway: null, view: "/ws/odd" }])
      expect((await world.requestToken("ann", request)).status).toBe(400);
  });
});
