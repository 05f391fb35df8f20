import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { connect } from "../../src/client/socket.ts";
import { definePermissions, handler, type Limits, WebSocketView } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import type { Database } from "../../src/storage/database.ts";
import { watchedStorageAt } from "../postgres/database.ts";
import { type Socket, World } from "./world.ts";

const chat = definePermissions("chat", { use: "Use" });
const held = new Set<() => void>();
let started = 0;

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  hold = handler(async () => {
    started++;
    await new Promise<void>((resolve) => held.add(resolve));
    return "held";
  });
  ping = handler(() => "pong");
}

let world: World;
let storage: (Database & AsyncDisposable) | undefined;
const statements: string[] = [];

async function open(limits: Partial<Limits>): Promise<void> {
  started = 0;
  world = await World.open({
    permissions: [chat],
    views: { "/ws/chat": ChatView },
    limits,
    // Each process counts separately.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (sql) => statements.push(sql));
      return storage;
    },
  });
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.use);
}

function release(): void {
  for (const resolve of held) resolve();
  held.clear();
}

/** Calls a handler that does not return until {@link release}. */
async function hold(socket: Socket, calls: number): Promise<readonly Promise<unknown>[]> {
  const before = started;
  const answers = Array.from({ length: calls }, () => socket.call("hold"));
  // A connection that closes first receives no answer.
  for (const answer of answers) answer.catch(() => undefined);
  await expect.poll(() => started).toBe(before + calls);
  return answers;
}

afterEach(async () => {
  release();
  await world.close();
  await storage?.[Symbol.asyncDispose]();
});

const TOO_MANY = { ok: false, status: 429, error: "Too many messages." };

describe("messages in flight", () => {
  test("of one connection are limited until a call has finished", async () => {
    await open({ messagesInFlightPerConnection: 3 });
    const [ann, other] = [await world.connect("ann"), await world.connect("ann")];
    const answers = await hold(ann, 3);
    expect(await ann.call("ping")).toMatchObject(TOO_MANY);
    expect(await other.call("ping")).toMatchObject({ ok: true });
    expect(world.decisions.at(-1)).toMatchObject({
      reason: "limit",
      message: expect.stringMatching(/has 3 messages in flight, and messagesInFlightPerConnection allows 3/),
    });
    release();
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject({ ok: true });
    expect(await ann.call("ping")).toMatchObject({ ok: true });
  });

  test("of one user are limited across connections", async () => {
    await open({ messagesInFlightPerUser: 3 });
    const [first, second] = [await world.connect("ann"), await world.connect("ann")];
    const bob = await world.connect("bob");
    const answers = [...(await hold(first, 2)), ...(await hold(second, 1))];
    expect(await second.call("ping")).toMatchObject(TOO_MANY);
    expect(world.decisions.at(-1)?.message).toMatch(/User ann has 3 messages in flight/);
    expect(await bob.call("ping")).toMatchObject({ ok: true });
    release();
    await Promise.all(answers);
    expect(await second.call("ping")).toMatchObject({ ok: true });
  });

  test("of the process are limited across users", async () => {
    await open({ messagesInFlightPerProcess: 2 });
    const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
    const answers = [...(await hold(ann, 1)), ...(await hold(bob, 1))];
    expect(await ann.call("ping")).toMatchObject(TOO_MANY);
    release();
    await Promise.all(answers);
    expect(await ann.call("ping")).toMatchObject({ ok: true });
  });

  test("over the limit of a connection are rejected before its row is read", async () => {
    await open({ messagesInFlightPerConnection: 1 });
    const ann = await world.connect("ann");
    const answers = await hold(ann, 1);
    statements.length = 0;
    for (let call = 0; call < 5; call++) expect(await ann.call("ping")).toMatchObject(TOO_MANY);
    expect(statements.filter((sql) => /select.*"?sallyport_connections/s.test(sql))).toEqual([]);
    release();
    await Promise.all(answers);
  });

  test("are by default not limited for 64 concurrent calls per connection and 192 per user", async () => {
    await open({});
    const sockets = [await world.connect("ann"), await world.connect("ann"), await world.connect("ann")];
    const answers = (await Promise.all(sockets.map((socket) => hold(socket, 0)))).flat();
    for (const socket of sockets) answers.push(...(await hold(socket, 64)));
    release();
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject({ ok: true });
  });

  test("of the browser client are at most 32, and 200 concurrent calls are all answered", async () => {
    // 50 was the default of earlier versions.
    await open({ messagesInFlightPerConnection: 50 });
    const client = connect<ChatView>({
      url: world.gateway.url,
      token: () => world.token("ann"),
      WebSocket: class extends WebSocket {
        constructor(url: string) {
          super(url, { headers: { origin: "https://www.example.com", cookie: "login=ann:login-of-ann" } });
        }
      },
    });
    onTestFinished(() => client.close());
    let answered = 0;
    const calls = Array.from({ length: 200 }, async () => {
      expect(await client.call.hold()).toBe("held");
      answered++;
    });
    await expect.poll(() => started).toBe(32);
    let most = 0;
    const finished = expect.poll(() => {
      most = Math.max(most, held.size);
      release();
      return answered;
    });
    await Promise.all([...calls, finished.toBe(200)]);
    expect(started).toBe(200);
    expect(most).toBeLessThanOrEqual(32);
  });

  test("are no longer counted after a handler error, an invalid message or a disconnect", async () => {
    await open({ messagesInFlightPerConnection: 1, messagesInFlightPerProcess: 1 });
    const ann = await world.connect("ann");
    for (let call = 0; call < 3; call++) {
      expect(await ann.call("unknown")).toMatchObject({ status: 403 });
      ann.send("no JSON");
      await expect.poll(() => world.decisions.at(-1)?.reason).toBe("malformed");
    }
    await hold(ann, 1);
    ann.close();
    await ann.closed;
    release();
    const bob = await world.connect("bob");
    await expect.poll(async () => (await bob.call("ping")).ok).toBe(true);
  });
});

test("rejects limits of messages in flight in a view, and negative values", async () => {
  await open({});
  class Wrong extends WebSocketView {
    static override permissionsRequired = [chat.use];
  }
  Object.assign(Wrong, { limits: { messagesInFlightPerUser: 5 } });
  expect(() => world.sallyport[INTERNAL].with({ views: { "/ws/chat": Wrong } })).toThrow(
    /messagesInFlightPerUser.*createSallyport\(\{ limits \}\)/s,
  );
  expect(() => world.sallyport[INTERNAL].with({ limits: { messagesInFlightPerProcess: -1 } })).toThrow(
    /limits\.messagesInFlightPerProcess must be a whole number of messages/,
  );
});
