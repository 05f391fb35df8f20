import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { type ConnectOptions, connect } from "../../src/client/socket.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { chat } from "./chat.ts";
import { World } from "./world.ts";

/** The body of each message that the handler received, as JSON. */
let ran: string[];

class ActionView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  static override limits = { messagesPerConnection: 5 };

  count = handler(({ body }) => {
    ran.push(JSON.stringify(body));
    return { ok: true };
  });
}

const PING = { id: "sallyport.ping", type: "sallyport.ping" };

let world: World;
/** The event target of the browser page, which Node.js does not have. */
let page: EventTarget;
beforeEach(async () => {
  ran = [];
  page = new EventTarget();
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  // Each process counts messages separately, so the test uses one.
  world = await World.open({ permissions: [chat], views: { "/ws/count": ActionView }, instances: 1 });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  vi.unstubAllGlobals();
  await world.close();
});

function annsClient(options: Partial<ConnectOptions> = {}) {
  let tokens = 0;
  const client = connect<ActionView>({
    url: world.gateway.url,
    token: () => {
      tokens++;
      return world.token("ann");
    },
    backoff: { baseMs: 1, maxMs: 1 },
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url, { headers: { origin: "https://www.example.com", cookie: "login=ann:login-of-ann" } });
      }
    },
    ...options,
  });
  onTestFinished(() => client.close());
  return { client, tokens: () => tokens };
}

const connections = async () =>
  (await world.sallyport.listConnections()).map(({ connectionId }) => connectionId);

describe("the ping of a client", () => {
  test("is answered on an open connection without a call of a handler", async () => {
    const ann = await world.connect("ann");
    ann.send(PING);
    expect(await ann.next(({ id }) => id === PING.id)).toEqual({ id: PING.id, ok: true, status: 200 });
    ann.send({ ...PING, id: "with-action", action: "count" });
    expect(await ann.next(({ id }) => id === "with-action")).toMatchObject({ ok: true });
    expect(ran).toEqual([]);
  });

  test("calls the handler if it names one", async () => {
    const ann = await world.connect("ann");
    ann.send({ ...PING, handler: "count" });
    expect(await ann.next(({ id }) => id === PING.id)).toMatchObject({ result: { ok: true } });
    expect(ran).toEqual(['{"type":"sallyport.ping"}']);
  });

  test("counts toward the message limit, and is not answered after a revocation", async () => {
    const ann = await world.connect("ann");
    for (let n = 1; n <= 6; n++) ann.send({ ...PING, id: n });
    for (let n = 1; n <= 6; n++) await ann.next(({ id }) => id === n);
    expect(ann.received.filter(({ status }) => status === 429)).toHaveLength(1);
    const other = await world.connect("ann");
    await world.sallyport.access.revoke("ann", chat.can_use_chat);
    other.send(PING);
    await other.closed;
    expect(other.received.filter(({ ok }) => ok === true)).toEqual([]);
  });
});

describe("a client on an unstable network", () => {
  test("replaces a half-open connection when the network returns", async () => {
    const { client, tokens } = annsClient();
    await expect.poll(() => client.state).toBe("open");
    const [first] = await connections();
    world.gateway.impair(first as string, "half-open");
    page.dispatchEvent(new Event("online"));
    await expect.poll(tokens).toBe(2);
    await expect.poll(() => client.state).toBe("open");
    expect(await client.call.count({})).toEqual({ ok: true });
    expect(await connections()).toHaveLength(2);
  });

  test("keeps a working connection when the network returns", async () => {
    const { client, tokens } = annsClient();
    await expect.poll(() => client.state).toBe("open");
    page.dispatchEvent(new Event("offline"));
    page.dispatchEvent(new Event("online"));
    expect(await client.call.count({})).toEqual({ ok: true });
    expect(client.state).toBe("open");
    expect(tokens()).toBe(1);
  });
});

test("a client without a view that is denied at $connect stops after ten tokens with HANDSHAKE_FAILED", async () => {
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  const { client, tokens } = annsClient();
  const denials: unknown[] = [];
  client.on("denied", (denial) => denials.push(denial));
  await expect.poll(() => client.state).toBe("denied");
  expect(denials).toEqual([expect.objectContaining({ status: 0, code: "HANDSHAKE_FAILED", reference: "" })]);
  expect(tokens()).toBe(10);
});
