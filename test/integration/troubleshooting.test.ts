import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { defineGateway, gatewaySecret } from "../../src/aws.ts";
import { run } from "../../src/cli/main.ts";
import { DeliveryError } from "../../src/errors.ts";
import { startLocalGateway } from "../../src/local/emulator.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { HandshakeRejected, Socket, World } from "./world.ts";

class OpenView extends WebSocketView {
  static override allowAnonymous = true;
  whoami = handler(({ user }) => ({ user: user.id }));
}

let world: World;
beforeEach(async () => {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView, "/ws/open": OpenView },
    limits: { tokensPerUser: 2, connectsPerUser: false, connectsPerIp: false },
    gatewayView: "/ws/chat",
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(() => world.close());

/** Returns the status of a rejected handshake, or 0 if it was not rejected. */
async function statusOf(connecting: Promise<unknown>): Promise<number> {
  const failure = await connecting.then(
    () => undefined,
    (error: unknown) => error,
  );
  return failure instanceof HandshakeRejected ? failure.status : 0;
}

const last = () => world.decisions.at(-1);

test("T1 a failed handshake has a status and a decision that identify the cause", async () => {
  const url = new URL(world.gateway.url);
  expect(await statusOf(Socket.open(new URL("/nowhere", url), {}))).toBe(403);
  expect(world.decisions).toEqual([]);
  const dead = await startLocalGateway({ target: "http://127.0.0.1:9/ws/chat/", port: 0 });
  expect(await statusOf(Socket.open(new URL(dead.url), {}))).toBe(500);
  await dead.close();
  expect(await statusOf(world.connect("ann", { origin: "https://elsewhere.example.com" }))).toBe(403);
  expect(last()).toMatchObject({ event: "connect", reason: "origin" });
});

test("T2 an event without the mapped headers is rejected with 400 and reason malformed", async () => {
  const answered = await world.event("/ws/chat/default", { "x-sallyport-secret": world.secret }, "{}");
  expect(answered.status).toBe(400);
  expect(last()).toMatchObject({ reason: "malformed", message: expect.stringMatching(/connectionId/i) });
});

test("T3 a message without a handler is rejected, and one with an unknown handler denied", async () => {
  const socket = await world.connect("ann");
  await socket.call("made_up");
  expect(last()).toMatchObject({
    reason: "handler",
    message: expect.stringMatching(/Call one of: send_message, /),
  });
  socket.send({ id: "1", message: "hello" });
  expect(await socket.next(({ id }) => id === "1")).toMatchObject({ status: 400 });
  expect(last()?.message).toBe(
    'The message must contain "handler" or "action" with the name of a handler. Add one of them.',
  );
});

test("T4 a message for a missing route reaches the view of $default", async () => {
  const socket = await world.connect("ann");
  socket.send({ id: "1", action: "moderate" });
  expect(await socket.next(({ id }) => id === "1")).toMatchObject({ ok: false });
  expect(last()).toMatchObject({ view: "/ws/chat", handler: "moderate", reason: "handler" });
});

test("T5 a token request fails without a signed-in user and from another origin", async () => {
  const anonymous = await world.requestToken(null);
  expect(anonymous.status).toBe(401);
  expect(last()).toMatchObject({ event: "token", reason: "anonymous" });
  expect((await world.requestToken("ann", undefined, "https://elsewhere.example.com")).status).toBe(403);
  expect(last()).toMatchObject({ event: "token", reason: "origin" });
});

test("T6 a connect with a used, an unknown or another session's token is denied", async () => {
  const token = await world.token("ann");
  await world.connect("ann", { token });
  expect(await statusOf(world.connect("ann", { token }))).toBe(403);
  expect(last()).toMatchObject({ reason: "token-replayed" });
  expect(await statusOf(world.connect("ann", { token: "0".repeat(64) }))).toBe(403);
  expect(last()).toMatchObject({ reason: "token-unknown" });
  const another = await world.token("ann");
  expect(await statusOf(world.connect("ann", { token: another, cookie: "login=ann:another-login" }))).toBe(
    403,
  );
  expect(last()).toMatchObject({ reason: "session" });
});

test("T7 a 429 response contains Retry-After", async () => {
  await world.token("ann");
  await world.token("ann");
  const limited = await world.requestToken("ann");
  expect([limited.status, Number(limited.headers.get("retry-after")) > 0]).toEqual([429, true]);
  expect(last()).toMatchObject({ reason: "limit" });
});

/** Connects ann without a token to a view that allows anonymous users. */
async function connectOpenly(): Promise<Socket> {
  const secret = gatewaySecret();
  const open = await startLocalGateway({ target: `${world.appUrl}/ws/open/`, port: 0, secret });
  const { apiId, endpoint } = open;
  await world.sallyport.registerGateway({ name: "open", apiId, endpoint, secret });
  onTestFinished(() => open.close());
  return Socket.open(new URL(open.url), {
    origin: "https://www.example.com",
    cookie: "login=ann:login-of-ann",
  });
}

test("T8 a connection without a token has no user on a view that allows anonymous users", async () => {
  const socket = await connectOpenly();
  expect(await socket.result("whoami")).toEqual({});
});

test("T9 the reference of a denial returns the missing permissions", async () => {
  const socket = await world.connect("ann");
  const { reference } = await socket.call("delete_message", { id_of: 1 });
  expect(await world.sallyport.access.explain(reference as string)).toMatchObject({
    reason: "permission",
    missing: ["chat.can_moderate_chat"],
    handler: "delete_message",
  });
});

test("T10 the report of a send counts the recipients and those that were denied", async () => {
  await world.connect("ann", { channel: "rooms/general" });
  const { sallyport } = world;
  expect(await sallyport.to({ channel: "rooms/other" }).send({ type: "x" })).toMatchObject({ recipients: 0 });
  const needed = { permissionsRequired: [chat.can_broadcast_chat] };
  expect(await sallyport.to({ channel: "rooms/general" }, needed).send({ type: "x" })).toMatchObject({
    recipients: 1,
    sent: 0,
    denied: 1,
  });
});

test("T11 B42 the next send closes a connection that was lost without a $disconnect", async () => {
  world.gateway.setFaults({ drop: ({ kind }) => kind === "disconnect" });
  const socket = await world.connect("ann");
  // Older than a $connect can be in progress.
  await world.sql("update sallyport_connections set connected_at = connected_at - 60000");
  socket.terminate();
  await expect.poll(() => world.gateway.connectionCount).toBe(0);
  const { sallyport } = world;
  expect(await sallyport.to({ user: "ann" }).send({ type: "x" })).toMatchObject({ recipients: 1, gone: 1 });
  expect(await sallyport.to({ user: "ann" }).send({ type: "x" })).toMatchObject({ recipients: 0 });
});

test("T12 B40 a send of a message that is too large rejects with SALLYPORT_TOO_LARGE, and sends nothing", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  for (const audience of ["everyone", { user: "ann" }, { channel: "rooms/general" }] as const) {
    const sending = world.sallyport.to(audience).send({ type: "x", text: "x".repeat(131_072) });
    await expect(sending).rejects.toMatchObject({ code: "SALLYPORT_TOO_LARGE" });
    await expect(sending).rejects.toBeInstanceOf(DeliveryError);
  }
  await ann.result("whoami");
  expect(ann.received.filter((frame) => frame.type === "x")).toEqual([]);
});

test("T13 the local gateway rejects a port in use and an invalid target", async () => {
  const { port } = world.gateway;
  await expect(startLocalGateway({ target: world.appUrl, port })).rejects.toThrow(/^Port \d+ is in use\./);
  await expect(startLocalGateway({ target: "www.example.com", port: 0 })).rejects.toThrow(
    /is not an http or https URL/,
  );
});

test("T14 a custom domain with a certificate in another region is rejected at startup", () => {
  const certificateArn = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d";
  const define = () =>
    defineGateway({
      name: "chat",
      region: "eu-west-1",
      target: "https://www.example.com/ws/chat",
      domain: { name: "ws.example.com", certificateArn },
    });
  expect(define).toThrow(/certificateArn is in us-east-1, but the certificate must be in eu-west-1/);
});

test("T16 a command without an app lists the three ways to specify it", async () => {
  const complaints: string[] = [];
  const before = process.env.SALLYPORT_APP;
  process.env.SALLYPORT_APP = "/nowhere/app.ts";
  const code = await run(
    ["migrate"],
    () => undefined,
    (line) => complaints.push(line),
  );
  if (before === undefined) delete process.env.SALLYPORT_APP;
  else process.env.SALLYPORT_APP = before;
  expect(code).toBe(1);
  expect(complaints).toEqual([
    expect.stringMatching(/does not exist\. Build it first.*package\.json, --app FILE, or SALLYPORT_APP/),
  ]);
});

test("T17 cleanup() deletes a connection that was closed long ago", async () => {
  const socket = await world.connect("ann");
  socket.close();
  await socket.closed;
  await expect
    .poll(() => world.sql("select 1 from sallyport_connections where disconnected_at is not null"))
    .toHaveLength(1);
  await world.sql(
    "update sallyport_connections set connected_at = connected_at - 200000000, disconnected_at = disconnected_at - 200000000",
  );
  expect(await world.sallyport.cleanup()).toMatchObject({ connections: 1 });
});

test("T18 a connect through an unknown gateway is denied and opens no connection", async () => {
  const foreign = await startLocalGateway({
    target: `${world.appUrl}/ws/chat/`,
    port: 0,
    secret: gatewaySecret(),
  });
  expect(await statusOf(Socket.open(new URL(foreign.url), { origin: "https://www.example.com" }))).toBe(403);
  expect(last()).toMatchObject({ event: "connect", reason: "caller" });
  expect(await world.sallyport.listConnections()).toEqual([]);
  await foreign.close();
});

test("T19 a connection without a token is listed without a user", async () => {
  await connectOpenly();
  expect(await world.sallyport.listConnections({ view: "/ws/open" })).toMatchObject([{ user: null }]);
});

test("T20 an invalid channel name is rejected, and an undefined one denied", async () => {
  expect(await statusOf(world.connect("ann", { channel: "rooms/../general" }))).toBe(400);
  expect(last()).toMatchObject({ reason: "malformed" });
  expect(await statusOf(world.connect("ann", { channel: "romms/general" }))).toBe(403);
  expect(last()).toMatchObject({ reason: "channel" });
});

test("T21 the report of a send contains the reason of a failed delivery", async () => {
  await world.connect("ann");
  const gateway = await world.sallyport.registerGateway({
    name: "local",
    endpoint: "https://abc.execute-api.eu-west-1.amazonaws.com/dev",
  });
  expect(gateway.endpoint).toContain("amazonaws.com");
  const keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"] as const;
  const before = keys.map((key) => process.env[key]);
  for (const key of keys) delete process.env[key];
  process.env.AWS_EC2_METADATA_DISABLED = "true";
  const report = await world.sallyport.to({ user: "ann" }).send({ type: "x" });
  for (const [index, key] of keys.entries())
    if (before[index] !== undefined) process.env[key] = before[index];
  expect(report).toMatchObject({ recipients: 1, failed: 1 });
  expect(Object.keys(report.failures)).toEqual([expect.stringMatching(/credentials/i)]);
});

test("T22 the decision of a reference and health() contain the request id and no secret", async () => {
  const token = await world.token("ann");
  const ann = await world.connect("ann", { token });
  const { reference } = await ann.call("delete_message", { message_id: 1 });
  const decision = await world.sallyport.access.explain(reference as string);
  expect(decision).toMatchObject({ reason: "permission", requestId: expect.stringMatching(/./) });
  const health = await world.sallyport.health();
  expect(health).toMatchObject({ isHealthy: true });
  const included = JSON.stringify([decision, health]);
  for (const secret of [token, world.secret, "login-of-ann"]) expect(included).not.toContain(secret);
});

test("docs/guides/troubleshooting.md and these tests have the same numbers", () => {
  const root = resolve(import.meta.dirname, "../..");
  const page = readFileSync(resolve(root, "docs/guides/troubleshooting.md"), "utf8");
  const documented = [...page.matchAll(/^## (T\d+) /gm)].map(([, number]) => number);
  expect(documented).toEqual(Array.from({ length: 22 }, (_, index) => `T${index + 1}`));
  const tested = [...readFileSync(import.meta.filename, "utf8").matchAll(/test\("(T\d+) /g)].map(
    ([, number]) => number,
  );
  // T15 needs the control plane of AWS, and is tested in test/aws/provisioning.test.ts.
  expect(documented.filter((number) => !tested.includes(number))).toEqual(["T15"]);
});
