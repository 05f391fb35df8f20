import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { gatewaySecret } from "../../src/auth/gateways.ts";
import type { Limits } from "../../src/auth/limits.ts";
import { type LocalGateway, startLocalGateway } from "../../src/local/emulator.ts";
import { ChatView, channels, chat, LobbyView, ran } from "./chat.ts";
import { ORIGIN, Socket, statusOf, World } from "./world.ts";

const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };
const CONNECTION = "AAAAAAAAAAAAAAA=";

let world: World;
const open = (options: Partial<Parameters<typeof World.open>[0]> = {}) =>
  World.open({ permissions: [chat], channels, views, ...options });

beforeEach(async () => {
  ran.length = 0;
  world = await open();
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await world.sallyport.access.grant("bob", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Returns the connection id of the only open connection of a user. */
const connectionOf = async (user: string) => {
  const rows = (await world.sql(
    `select connection_id from sallyport_connections where user_id = '${user}' and closed_at is null`,
  )) as { connection_id: string }[];
  return rows[0]?.connection_id as string;
};

describe("B1 an event", () => {
  test("without the correct secret of a gateway is denied and has no effect", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const connectionId = await connectionOf("ann");
    const asGateway = {
      connectionId,
      "user-agent": `AmazonAPIGateway_${world.gateway.apiId}`,
      "x-amzn-apigateway-api-id": world.gateway.apiId,
      "x-sallyport-source-ip": "203.0.113.7",
      "x-sallyport-stage": "dev",
    };
    const message = JSON.stringify({ handler: "send_message", message: "forged" });
    const secrets = [
      undefined,
      "",
      gatewaySecret(),
      world.secret.toUpperCase(),
      world.secret.slice(1),
      `${world.secret}x`,
      `${world.secret}, ${world.secret}`,
      `x, ${world.secret}`,
      "0".repeat(64),
    ];
    for (const secret of secrets) {
      const headers = { ...asGateway, ...(secret === undefined ? {} : { "x-sallyport-secret": secret }) };
      for (const route of ["connect", "default", "disconnect"]) {
        const response = await world.event(`/ws/chat/${route}`, headers, message);
        expect(response.status, `${route} ${secret}`).toBe(403);
        expect(await response.json()).toEqual({
          ok: false,
          error: "Permission denied.",
          reference: expect.stringMatching(/^[0-9a-f]{12}\+?$/),
        });
        expect(world.decisions.at(-1)).toMatchObject({ reason: "caller" });
      }
    }
    expect(ran).toEqual([]);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    expect(ann.received.some((frame) => frame.type === "chat_message")).toBe(false);
  });

  test("B5 with the secret of another gateway cannot affect connections of this gateway", async () => {
    await world.connect("ann", { channel: "rooms/general" });
    const connectionId = await connectionOf("ann");
    const secret = gatewaySecret();
    await world.sallyport.registerGateway({ name: "other", endpoint: "http://127.0.0.1:9/dev", secret });
    const headers = { connectionId, "x-sallyport-secret": secret };
    const message = JSON.stringify({ handler: "send_message", message: "forged" });
    // Each instance finds a new gateway within one second of its first event.
    const fromOther = async () => {
      expect((await world.event("/ws/chat/default", headers, message)).status).toBe(403);
      return world.decisions.slice(-3);
    };
    const known = [1, 2, 3].map(() => expect.objectContaining({ gateway: "other", reason: "connection" }));
    await expect.poll(fromOther).toEqual(known);
    expect((await world.event("/ws/chat/disconnect", headers)).status).toBe(200);
    expect(await connectionOf("ann")).toBe(connectionId);
    expect(ran).toEqual([]);
  });

  test("B2 B3 B4 with the correct secret and another API id or stage is denied", async () => {
    const headers = { connectionId: CONNECTION, "x-sallyport-secret": world.secret };
    const mismatches: Record<string, string>[] = [
      { "x-amzn-apigateway-api-id": "zzzzzzzzzz" },
      { "x-amzn-apigateway-api-id": "" },
      { "x-sallyport-stage": "prod" },
    ];
    for (const wrong of mismatches) {
      expect((await world.event("/ws/chat/default", { ...headers, ...wrong }, "{}")).status).toBe(403);
      expect(world.decisions.at(-1)).toMatchObject({ reason: "caller" });
    }
    // The User-Agent header has no effect.
    const { apiId } = world.gateway;
    for (const agent of [`AmazonAPIGateway_${apiId}`, "AmazonAPIGateway_zzzzzzzzzz", "curl/8.5.0"]) {
      const correct = { ...headers, "x-amzn-apigateway-api-id": apiId, "x-sallyport-stage": "dev" };
      const response = await world.event("/ws/chat/disconnect", { ...correct, "user-agent": agent });
      expect(response.status, agent).toBe(200);
    }
  });

  test("B6 with a malformed connection id is rejected with 400 on every route", async () => {
    for (const connectionId of ["", "<script>", "a b", "AAAA, BBBB", "x".repeat(300), "../../etc"]) {
      for (const route of ["connect", "default", "disconnect"]) {
        const headers = { "x-sallyport-secret": world.secret, ...(connectionId ? { connectionId } : {}) };
        expect(
          (await world.event(`/ws/chat/${route}`, headers, "{}")).status,
          `${route} ${connectionId}`,
        ).toBe(400);
      }
    }
  });

  test("after a rotation is accepted with the new secret, and with the old one while kept", async () => {
    const { endpoint, apiId } = world.gateway;
    const headers = (secret: string) => ({ connectionId: CONNECTION, "x-sallyport-secret": secret });
    const next = gatewaySecret();
    await world.sallyport.registerGateway({
      name: "local",
      apiId,
      endpoint,
      secret: next,
      keepPreviousSecret: true,
    });
    expect((await world.event("/ws/chat/disconnect", headers(next))).status).toBe(200);
    expect((await world.event("/ws/chat/disconnect", headers(world.secret))).status).toBe(200);
    await world.sallyport.registerGateway({ name: "local", apiId, endpoint, secret: next });
    expect((await world.event("/ws/chat/disconnect", headers(next))).status).toBe(200);
    expect((await world.event("/ws/chat/disconnect", headers(world.secret))).status).toBe(403);
  });

  test("is verified against a hash, and the secret itself is not stored", async () => {
    expect(JSON.stringify(await world.sql("select * from sallyport_gateways"))).not.toContain(world.secret);
  });
});

describe("a client on $connect", () => {
  test("cannot override the headers that the gateway sets", async () => {
    const victim = await world.connect("bob", { channel: "rooms/general" });
    const victimId = await connectionOf("bob");
    const ann = await world.connect("ann", {
      headers: {
        connectionId: victimId,
        "x-sallyport-secret": "f".repeat(64),
        "x-sallyport-event-type": "DISCONNECT",
        "x-sallyport-source-ip": "1.2.3.4",
        "x-sallyport-stage": "prod",
      },
    });
    expect(await connectionOf("ann")).not.toBe(victimId);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    expect(await victim.result("whoami")).toMatchObject({ user: "bob" });
    const [row] = (await world.sql("select source_ip from sallyport_connections where user_id = 'ann'")) as [
      { source_ip: string },
    ];
    expect(row.source_ip).toBe("127.0.0.1");
  });

  test("is denied through a gateway that does not map the secret, also with a secret header", async () => {
    const bare: LocalGateway = await startLocalGateway({ target: `${world.appUrl}/ws/chat/`, port: 0 });
    try {
      const url = new URL(bare.url);
      url.searchParams.set("ws_token", await world.token("ann"));
      const headers = { origin: ORIGIN, cookie: "login=ann:login-of-ann" };
      expect(await statusOf(Socket.open(url, headers))).toBe(403);
      expect(await statusOf(Socket.open(url, { ...headers, "x-sallyport-secret": "guess" }))).toBe(403);
    } finally {
      await bare.close();
    }
  });

  test("B25 cannot change its source address with X-Forwarded-For", async () => {
    await world.close();
    world = await open({ limits: { failedConnectsPerIp: 5 } });
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      const headers = { "x-forwarded-for": `198.51.100.${attempt}`, "x-real-ip": `198.51.100.${attempt}` };
      statuses.push(await statusOf(world.connect(null, { token: "0".repeat(64), headers })));
    }
    expect(statuses).toEqual([403, 403, 403, 403, 403, 429, 429, 429]);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "limit", sourceIp: "127.0.0.1" });
  });

  test("B25 behind a trusted proxy has the address that this proxy received", async () => {
    await world.close();
    world = await open({ trustProxy: 1, limits: { failedConnectsPerIp: 1 } });
    const from = (forwarded: string) =>
      statusOf(world.connect(null, { token: "0".repeat(64), headers: { "x-forwarded-for": forwarded } }));
    // The local gateway appends the address of its client, as API Gateway appends that of the CDN.
    expect(await from("203.0.113.1")).toBe(403);
    expect(await from("198.51.100.9, 203.0.113.1")).toBe(429);
    expect(await from("203.0.113.2")).toBe(403);
  });
});

describe("B30 origins", () => {
  test("B11 that only look similar, have another scheme or port, or are missing are denied", async () => {
    const lookalikes = [
      "https://www.example.com.evil.test",
      "https://evilwww.example.com",
      "https://evil.test/?www.example.com",
      "http://www.example.com",
      "https://www.example.com:8443",
      "https://WWW.example.com",
      "https://www.example.com/",
      "https://example.com",
      "null",
      "https://www.example.com, https://www.example.com",
      null,
    ];
    for (const origin of lookalikes) {
      expect(
        await statusOf(world.connect("ann", { token: await world.token("ann"), origin })),
        `${origin}`,
      ).toBe(403);
      expect(world.decisions.at(-1)).toMatchObject({ event: "connect", reason: "origin" });
      expect((await world.requestToken("ann", undefined, origin)).status, `token ${origin}`).toBe(403);
      expect(world.decisions.at(-1)).toMatchObject({ event: "token", reason: "origin" });
    }
  });

  test('can be missing with allowMissingOrigin, and "null" is still denied', async () => {
    await world.close();
    world = await open({ origins: [ORIGIN], allowMissingOrigin: true });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", {
      token: await world.token("ann", undefined, null),
      origin: null,
    });
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
    expect(await statusOf(world.connect("ann", { origin: "null" }))).toBe(403);
  });
});

describe("tokens", () => {
  test("are accepted once, and a replay is denied with its own reason", async () => {
    const token = await world.token("ann");
    await world.connect("ann", { token });
    expect(await statusOf(world.connect("ann", { token }))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({
      reason: "token-replayed",
      message: expect.stringContaining("ann"),
    });
  });

  test("stay spent after a connect that was denied for another reason", async () => {
    const token = await world.token("ann");
    expect(await statusOf(world.connect("ann", { token, channel: "rooms/moderators" }))).toBe(403);
    expect(await statusOf(world.connect("ann", { token }))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-replayed" });
  });

  test("B22 are not spent by a connect that fails before the token check", async () => {
    const token = await world.token("ann");
    expect(await statusOf(world.connect("ann", { token, origin: "https://evil.test" }))).toBe(403);
    expect(await statusOf(world.connect("ann", { token, channel: "bad name" }))).toBe(400);
    await world.connect("ann", { token });
  });

  test("B7 expire after the returned expires_in seconds", async () => {
    await world.close();
    world = await open({ token: { expiresInSeconds: 30 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const response = await world.requestToken("ann");
    const { token, expires_in } = (await response.json()) as { token: string; expires_in: number };
    expect(expires_in).toBe(30);
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    await world.sql("update sallyport_tokens set expires_at = expires_at - 30000");
    expect(await statusOf(world.connect("ann", { token }))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-expired" });
    await world.connect("ann");
  });

  test("B12 are denied for another user, for another session of the user and without a session", async () => {
    for (const cookie of ["login=bob:login-of-bob", "login=ann:another", null]) {
      const token = await world.token("ann");
      expect(await statusOf(world.connect("ann", { token, cookie })), `${cookie}`).toBe(403);
      expect(world.decisions.at(-1)).toMatchObject({ reason: "session", userId: "ann" });
    }
  });

  test("B8 are stored as hashes", async () => {
    const token = await world.token("ann");
    expect(JSON.stringify(await world.sql("select * from sallyport_tokens"))).not.toContain(token);
  });

  test("that are malformed are denied like unknown tokens", async () => {
    for (const token of ["", "x", "0".repeat(63), "0".repeat(64), "F".repeat(64), "' or 1=1 --", "%00"]) {
      expect(await statusOf(world.connect("ann", { token })), token).toBe(403);
    }
    const status = new Set(world.decisions.map((decision) => decision.reason));
    expect([...status]).toEqual(["token-unknown"]);
  });

  test("are accepted for exactly one of 100 concurrent connects", async () => {
    await world.close();
    world = await open({ limits: { failedConnectsPerIp: false } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const token = await world.token("ann");
    const statuses = await Promise.all(
      Array.from({ length: 100 }, () => statusOf(world.connect("ann", { token }))),
    );
    expect(statuses.filter((status) => status === 101)).toHaveLength(1);
    expect(statuses.filter((status) => status === 403)).toHaveLength(99);
  });

  test("B12 without a session are bound to the origin of the request", async () => {
    await world.close();
    world = await open({ token: { binding: "token" }, origins: [ORIGIN, "https://app.example.com"] });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.connect("ann", { cookie: null });
    const token = await world.token("ann");
    expect(
      await statusOf(world.connect("ann", { token, cookie: null, origin: "https://app.example.com" })),
    ).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "session" });
  });
});

describe("limits", () => {
  test("B28 allow exactly 20 of 40 concurrent token requests at a limit of 20", async () => {
    await world.close();
    world = await open({ limits: { tokensPerUser: 20 } });
    const responses = await Promise.all(Array.from({ length: 40 }, () => world.requestToken("ann")));
    expect(responses.filter(({ status }) => status === 200)).toHaveLength(20);
    expect(responses.filter(({ status }) => status === 429)).toHaveLength(20);
  });

  test("B28 allow exactly 20 of 40 concurrent connects at a limit of 20", async () => {
    await world.close();
    world = await open({ limits: { tokensPerUser: false, connectsPerUser: 20 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const tokens = await Promise.all(Array.from({ length: 40 }, () => world.token("ann")));
    const statuses = await Promise.all(tokens.map((token) => statusOf(world.connect("ann", { token }))));
    expect(statuses.filter((status) => status === 101)).toHaveLength(20);
    expect(statuses.filter((status) => status === 429)).toHaveLength(20);
  });

  test("B27 are not extended by rejected requests", async () => {
    await world.close();
    world = await open({ limits: { tokensPerUser: 3 } });
    for (let attempt = 0; attempt < 3; attempt++) expect((await world.requestToken("ann")).status).toBe(200);
    const waits: number[] = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      const response = await world.requestToken("ann");
      expect(response.status).toBe(429);
      waits.push(Number(response.headers.get("retry-after")));
    }
    expect(Math.max(...waits)).toBeLessThanOrEqual(60);
    expect(Math.min(...waits)).toBeGreaterThan(0);
    await world.sql("update sallyport_counters set window_started_at = window_started_at - 60000");
    expect((await world.requestToken("ann")).status).toBe(200);
  });

  test("B26 count bad tokens by address, but not valid ones", async () => {
    await world.close();
    world = await open({ limits: { failedConnectsPerIp: 4 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    for (let attempt = 0; attempt < 6; attempt++) await world.connect("ann");
    const guesses = await Promise.all(
      Array.from({ length: 12 }, () => statusOf(world.connect("ann", { token: "0".repeat(64) }))),
    );
    expect(guesses.filter((status) => status === 403)).toHaveLength(4);
    expect(guesses.filter((status) => status === 429)).toHaveLength(8);
  });

  test.for<[limits: Partial<Limits>, statuses: number[], reached: string]>([
    [{ connectsPerUser: 1 }, [101, 429], "User ann has reached connectsPerUser, which allows 1 per"],
    [{ connectsPerUser: 0 }, [429, 429], "User ann has reached connectsPerUser, which allows 0 per"],
    [{ connectsPerIp: 1 }, [101, 429], "Address 127.0.0.1 has reached connectsPerIp, which allows 1 per"],
    [{ connectsPerIp: 0 }, [429, 429], "Address 127.0.0.1 has reached connectsPerIp, which allows 0 per"],
    [{ failedConnectsPerIp: 0 }, [101, 101], ""],
    [{ connectsPerIp: false, connectsPerUser: 1 }, [101, 429], "User ann has reached connectsPerUser"],
    [
      { connectsPerIp: false, failedConnectsPerIp: false, connectsPerUser: 1 },
      [101, 429],
      "User ann has reached connectsPerUser",
    ],
    [{ connectsPerUser: false, connectsPerIp: 1 }, [101, 429], "Address 127.0.0.1 has reached connectsPerIp"],
    [{ connectsPerUser: false, connectsPerIp: false }, [101, 101], ""],
    [{ connectsPerUser: false, connectsPerIp: false, failedConnectsPerIp: false }, [101, 101], ""],
  ])("B35 of %j answer two connects with %j", async ([limits, statuses, reached]) => {
    await world.close();
    world = await open({ limits });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const answered = [await statusOf(world.connect("ann")), await statusOf(world.connect("ann"))];
    expect(answered).toEqual(statuses);
    expect(world.decisions.at(-1)?.message ?? "").toContain(reached);
  });

  test("reject bad tokens by address when connects are not limited", async () => {
    await world.close();
    world = await open({ limits: { connectsPerIp: false, failedConnectsPerIp: 1 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const guess = () => statusOf(world.connect("ann", { token: "0".repeat(64) }));
    expect([await guess(), await guess()]).toEqual([403, 429]);
    expect(await statusOf(world.connect("ann"))).toBe(101);
  });

  test("of messagesPerConnection reject further messages of this connection only", async () => {
    await world.close();
    // Each process counts separately.
    world = await open({ limits: { messagesPerConnection: 3 }, instances: 1 });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    for (let n = 0; n < 3; n++) await ann.result("whoami");
    expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 429, error: "Too many requests." });
    const again = await world.connect("ann");
    await again.result("whoami");
  });
});

describe("invalid input", () => {
  test("B16 in a message is rejected with 4xx and one decision, and changes nothing", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const connectionId = await connectionOf("ann");
    const before = await world.sql("select * from sallyport_memberships");
    const bodies: [string | Uint8Array<ArrayBuffer>, number][] = [
      ["", 400],
      ["not json", 400],
      ["null", 400],
      ["[]", 400],
      ["7", 400],
      ['"text"', 400],
      ["{}", 400],
      ['{"handler":null}', 400],
      ['{"handler":["send_message"]}', 400],
      ['{"handler":{"a":1}}', 400],
      ['{"id":{},"handler":"whoami"}', 400],
      ['{"id":null,"handler":"whoami"}', 400],
      [`{"id":"${"x".repeat(200)}","handler":"whoami"}`, 400],
      ["[".repeat(100_000), 400],
      [`{"handler":"whoami","a":${"[".repeat(100)}${"]".repeat(100)}}`, 400],
      [new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]), 400],
      [new Uint8Array([0xed, 0xa0, 0x80]), 400],
      [`{"handler":"whoami","a":"${"x".repeat(200_000)}"}`, 413],
      ['{"handler":"send_message","message":5}', 400],
      ['{"__proto__":{"handler":"whoami"}}', 400],
      ['{"handler":"whoami","a":[{"b":"x\\u0000y"}]}', 400],
    ];
    for (const [body, status] of bodies) {
      const count = world.decisions.length;
      const response = await fetch(`${world.appUrl}/ws/chat/default`, {
        method: "POST",
        headers: { connectionId, "x-sallyport-secret": world.secret },
        body,
      });
      const text = `${typeof body === "string" ? body.slice(0, 60) : body}`;
      expect(response.status, text).toBe(status);
      expect(((await response.json()) as { ok: boolean }).ok, text).toBe(false);
      expect(world.decisions.length, text).toBe(count + 1);
    }
    expect(ran).toEqual([]);
    expect(await world.sql("select * from sallyport_memberships")).toEqual(before);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  });

  test("with invisible characters is escaped in decisions", async () => {
    const ann = await world.connect("ann");
    const handler = "\u202egnp\u009b31m\u2028\ud800\u200b";
    const written = "\\u202egnp\\u009b31m\\u2028\\ud800\\u200b";
    ann.send({ handler, id: "\u202ecall" });
    await ann.next((frame) => frame.ok === false);
    const origin = "https://a\u009b31m.example";
    await world.requestToken("ann", { view: "/ws/\u202egnp", channel: "\u2028" }, origin);
    const view = await world.requestToken("ann", { view: "/ws/\u202egnp" });
    expect(view.status).toBe(403);
    expect(world.decisions).toMatchObject([
      { handler: written, callId: "\\u202ecall", message: expect.stringContaining(`"${written}"`) },
      { origin: "https://a\\u009b31m.example", message: expect.stringContaining("\\u009b31m") },
      { view: "/ws/\\u202egnp", message: expect.stringContaining("/ws/\\u202egnp") },
    ]);
    expect(JSON.stringify(world.decisions)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    const kept = await world.sallyport.access.audit.decisions();
    expect(JSON.stringify(kept)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  });

  test("B60 for an unknown or expired connection is denied, but its disconnect is accepted", async () => {
    const headers = { connectionId: CONNECTION, "x-sallyport-secret": world.secret };
    const message = JSON.stringify({ handler: "whoami" });
    expect((await world.event("/ws/chat/default", headers, message)).status).toBe(403);
    expect((await world.event("/ws/chat/disconnect", headers)).status).toBe(200);
    const ann = await world.connect("ann");
    const connectionId = await connectionOf("ann");
    await world.sql("update sallyport_connections set connected_at = connected_at - 7500001");
    expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
    expect(await world.sallyport.to("everyone").send({ type: "x" })).toMatchObject({ recipients: 0 });
    const known = { connectionId, "x-sallyport-secret": world.secret };
    expect((await world.event("/ws/chat/disconnect", known)).status).toBe(200);
    expect((await world.event("/ws/chat/disconnect", known)).status).toBe(200);
  });

  test("with another method or path is rejected without revealing that a view exists", async () => {
    for (const method of ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]) {
      const [view, nowhere] = await Promise.all(
        ["chat", "nowhere"].map(async (name) => {
          const response = await fetch(`${world.appUrl}/ws/${name}/default`, { method });
          const headers = [...response.headers].filter(([header]) => header !== "date");
          return { status: response.status, headers, body: await response.text() };
        }),
      );
      expect(view, method).toEqual(nowhere);
      expect(view?.status).toBe(404);
    }
    const token = await fetch(`${world.appUrl}/api/ws-token`);
    expect([token.status, token.headers.get("allow")]).toEqual([405, "POST, OPTIONS"]);
    expect((await fetch(`${world.appUrl}/ws/nowhere/default`, { method: "POST" })).status).toBe(404);
    expect((await fetch(`${world.appUrl}/ws/chat`, { method: "POST" })).status).toBe(404);
    const bad = await fetch(`${world.appUrl}/api/ws-token`, {
      method: "POST",
      headers: { origin: ORIGIN, cookie: "login=ann:login-of-ann" },
      body: "[1",
    });
    expect(bad.status).toBe(400);
  });

  test("in a second $connect with the same connection id is rejected without affecting the first", async () => {
    const ann = await world.connect("ann");
    const connectionId = await connectionOf("ann");
    const token = await world.token("bob");
    const response = await world.event(`/ws/chat/connect?ws_token=${token}`, {
      connectionId,
      "x-sallyport-secret": world.secret,
      "x-sallyport-source-ip": "203.0.113.7",
      origin: ORIGIN,
      cookie: "login=bob:login-of-bob",
    });
    expect(response.status).toBe(400);
    expect(await ann.result("whoami")).toMatchObject({ user: "ann" });
  });
});
