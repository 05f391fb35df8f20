import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { definePermissions } from "../../src/permissions/define.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { ConnectContext } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ORIGIN, type Socket, World } from "../integration/world.ts";
import { emptyDatabase } from "../postgres/database.ts";
import type { Framework, SetUp } from "./frameworks.ts";
import { hostileTargets, requestAsWritten, strippedTargets } from "./hostile-targets.ts";
import type { Report } from "./next-app.ts";

const chat = definePermissions("chat", { use: "Use" });
const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.use] });

let agent: string | null;
let left: (code: number | undefined) => void;
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  override connect = ({ request }: ConnectContext) => {
    agent = request.headers.get("x-client");
  };
  override disconnect = ({ code }: { code?: number | undefined }) => left(code);
  say = handler(async ({ body, to }) => {
    await to({ channel: "rooms/all" }).send({ type: "said", ...(body as object) });
    return body;
  });
}

let world: World;
/** Reports of an app that has its own Sallyport object. */
function report(reports: Report): void {
  if (reports.agent !== undefined) agent = reports.agent;
  if ("left" in reports) left(reports.left);
  if (reports.decision) world.decisions.push(reports.decision);
  if (reports.error !== undefined) world.errors.push(reports.error);
}

export async function open(framework: Framework, setUp: SetUp = {}): Promise<World> {
  agent = null;
  left = () => undefined;
  const { source, drop } = await emptyDatabase();
  world = await World.open(
    {
      permissions: [chat],
      channels: [rooms],
      views: { "/ws/chat": ChatView },
      serve: (sallyport) => framework.serve(sallyport, setUp, { database: source, report }),
      ...(setUp.prefix === undefined ? {} : { prefix: setUp.prefix }),
    },
    {
      source,
      async drop() {
        await framework.close?.();
        await drop();
      },
    },
  );
  await world.sallyport.access.grant("ann", chat.use);
  return world;
}
afterEach(async () => {
  await world?.close();
  expect(world?.errors.map(String) ?? []).toEqual([]);
  world = undefined as never;
});

export const member = (headers: Record<string, string> = {}): Promise<Socket> =>
  world.connect("ann", { channel: "rooms/all", headers: { "x-client": "a browser", ...headers } });

/** Sends a message as the gateway does, in this many pieces. */
export async function event(
  pieces: readonly string[],
  headers: Record<string, string> = {},
  path = "/ws/chat/default",
) {
  const [row] = (await world.sql("select connection_id from sallyport_connections")) as {
    connection_id: string;
  }[];
  const outgoing = httpRequest(`${world.appUrl}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      connectionId: row?.connection_id ?? "",
      "x-sallyport-secret": world.secret,
      ...headers,
    },
  });
  // The answer can arrive before all pieces were sent.
  const answered = once(outgoing, "response");
  for (const piece of pieces) {
    await new Promise((resolve) => outgoing.write(piece, resolve));
    // A server in this process reads what was sent before the next piece is sent.
    for (let turn = 0; turn < 10; turn++) await nextTurn();
  }
  outgoing.end();
  const [response] = (await answered) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, text };
}

/** Reads the complete answer. An unread rest would be an unhandled error when the server closes. */
export async function statusOf(answering: Promise<Response>): Promise<number> {
  const answer = await answering;
  await answer.text();
  return answer.status;
}

/** The tests that every framework must pass. */
export function answersEvents(framework: Framework): void {
  test("users get a token, connect, exchange messages, lose their permissions and disconnect", async () => {
    await open(framework);
    const [ann, other] = [await member(), await member()];
    expect(agent).toBe("a browser");
    expect(await ann.result("say", { text: "grüß dich" })).toEqual({ text: "grüß dich" });
    expect(await other.message("said")).toEqual({ type: "said", text: "grüß dich" });
    const gone = new Promise((resolve) => {
      left = resolve;
    });
    other.close(1000);
    expect(await gone).toBe(1000);
    await world.sallyport.access.revoke("ann", chat.use);
    expect((await ann.closed).code).toBe(1000);
  });

  test("only the paths of Sallyport are not handled by the app", async () => {
    await open(framework);
    const own = await fetch(`${world.appUrl}/own`);
    expect([own.status, await own.text()]).toEqual([200, "the app's own"]);
    expect(await statusOf(fetch(`${world.appUrl}/elsewhere`))).toBe(404);
    expect(await statusOf(fetch(`${world.appUrl}/ws/chat/default/more`, { method: "POST" }))).toBe(404);
    expect(await statusOf(fetch(`${world.appUrl}/ws/chat/default`))).toBe(404);
  });

  if (!framework.resolvesPaths) leavesHostileTargets(framework);

  test("a page of another origin gets the same answer as from the token endpoint", async () => {
    await open(framework);
    const preflight = await fetch(`${world.appUrl}/api/ws-token`, {
      method: "OPTIONS",
      headers: { origin: ORIGIN, "access-control-request-method": "POST" },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe(ORIGIN);
    expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
    expect(await statusOf(world.requestToken("ann", undefined, "https://evil.example"))).toBe(403);
  });

  test.each(framework.parsers)(
    "a parser that has read the body, as %s, does not prevent an event",
    async (parser) => {
      await open(framework, { parser });
      const ann = await member();
      const body = { text: "ü \u2028 😀", "": 1, nested: [{ a: null }] };
      expect(await ann.result("say", body)).toEqual(body);
      // It is checked by its content.
      expect((await event(['{"handler":"no such"}'])).status).toBe(403);
      expect((await event([JSON.stringify({ handler: "say", text: "x".repeat(130 * 1024) })])).status).toBe(
        413,
      );
    },
  );

  test("handles its paths under a prefix of the app", async () => {
    await open(framework, { prefix: "/realtime" });
    const ann = await member();
    expect(await ann.result("say", { text: "hello" })).toEqual({ text: "hello" });
    const root = new URL(world.appUrl).origin;
    expect(await statusOf(fetch(`${root}/ws/chat/default`, { method: "POST" }))).toBe(404);
    expect(await statusOf(fetch(`${root}/realtime/own`))).toBe(200);
  });

  test("forwarded headers of a client change nothing, whether or not the framework trusts proxies", async () => {
    await open(framework, { trustsProxies: true });
    const forged = {
      "x-forwarded-for": "203.0.113.9",
      "x-forwarded-host": "evil.example/ws/other",
      "x-forwarded-proto": "https",
      "x-forwarded-prefix": "/elsewhere",
      forwarded: "for=203.0.113.9;host=evil.example",
    };
    const ann = await member(forged);
    expect(await ann.result("say", { text: "hello" })).toEqual({ text: "hello" });
    expect((await event(['{"handler":"say"}'], forged)).status).toBe(200);
    expect(await world.sql("select source_ip from sallyport_connections")).toEqual([
      { source_ip: "127.0.0.1" },
    ]);
  });

  test("a body in pieces is one message, and an incomplete body is no message", async () => {
    await open(framework);
    await member();
    const pieces = ['{"handler":', '"say","text"', ':"in pie', 'ces"}'];
    const answered = await event(pieces, { "transfer-encoding": "chunked" });
    expect(answered).toEqual({ status: 200, text: '{"text":"in pieces"}' });

    const [row] = (await world.sql("select connection_id from sallyport_connections")) as {
      connection_id: string;
    }[];
    const outgoing = httpRequest(`${world.appUrl}/ws/chat/default`, {
      method: "POST",
      headers: {
        "content-length": "1000",
        "content-type": "application/json",
        connectionId: row?.connection_id ?? "",
        "x-sallyport-secret": world.secret,
      },
    });
    outgoing.on("error", () => undefined);
    await new Promise((resolve) => outgoing.write('{"handler":"say"', resolve));
    outgoing.destroy();
    await expect.poll(() => world.decisions.at(-1)).toMatchObject({ reason: "malformed", status: 400 });
    // Later requests are answered as usual.
    expect((await event(['{"handler":"say"}'])).status).toBe(200);
  });

  test("the body counts, whatever the content type says", async () => {
    await open(framework);
    await member();
    for (const type of [
      "text/plain",
      "application/octet-stream",
      "garbage",
      "application/x-www-form-urlencoded",
    ]) {
      expect([type, (await event(['{"handler":"say"}'], { "content-type": type })).status]).toEqual([
        type,
        200,
      ]);
    }
    expect((await event(["not JSON"], { "content-type": "application/json" })).status).toBe(400);
    expect((await event(["x".repeat(140 * 1024)])).status).toBe(413);
    // A handshake has no body, whatever the client says about one.
    const socket = await member({ "content-type": "garbage" });
    expect(await socket.result("say", {})).toEqual({});
  });

  test.skipIf(framework.endsUnread)("a connection stays usable, whatever was left unread on it", async () => {
    await open(framework);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = async (path: string, body: string) => {
      const outgoing = httpRequest(`${world.appUrl}${path}`, {
        agent,
        method: "POST",
        headers: { origin: ORIGIN, cookie: "login=ann:phone", "content-type": "application/json" },
      });
      const answered = once(outgoing, "response");
      outgoing.end(body);
      const [response] = (await answered) as [IncomingMessage];
      response.resume();
      await once(response, "end");
      return response.statusCode;
    };
    expect(await ask("/api/ws-token", "x".repeat(2_500_000))).toBe(413);
    expect(await ask("/api/ws-token", "")).toBe(200);
    expect(await ask("/ws/chat/default", "x".repeat(2_500_000))).toBe(403);
    expect(await ask("/api/ws-token", "")).toBe(200);
    agent.destroy();
  });

  test("an unavailable database causes 503, and is reported to the app", async () => {
    await open(framework);
    await member();
    await world.sql("drop table sallyport_memberships");
    expect((await event(['{"handler":"say"}'])).status).toBe(503);
    expect(world.errors.splice(0).join()).toContain("sallyport_memberships");
  });
}

function leavesHostileTargets(framework: Framework): void {
  test.each([[""], ["/realtime"]])(
    "leaves each path that is not in normal form to the app, under the prefix %j",
    async (prefix) => {
      await open(framework, prefix === "" ? {} : { prefix });
      const reached: unknown[] = [];
      for (const own of ["/api/ws-token", "/ws/chat/default"]) {
        const path = prefix + own;
        // Sallyport denies a request without a session or a secret.
        const { status } = await requestAsWritten(world.appUrl, path);
        expect([path, status]).toEqual([path, own === "/api/ws-token" ? 401 : 403]);
        const hostile = [...hostileTargets(path), ...strippedTargets(path)];
        if (prefix !== "") hostile.push(...hostileTargets(own).map((target) => `${prefix}${target}`));
        for (const target of hostile) {
          const before = world.decisions.length;
          const { status } = await requestAsWritten(world.appUrl, target);
          const isLeft = status === 400 || status === 404;
          if (!isLeft || world.decisions.length > before) reached.push([target, status]);
        }
      }
      expect(reached).toEqual([]);
    },
  );
}
