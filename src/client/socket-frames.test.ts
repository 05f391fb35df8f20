import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ManualWebSocket } from "../../test/manual-web-socket.ts";
import { CallError, type ConnectOptions, connect, type Socket, type SocketEvents } from "./socket.ts";

type Frame = Record<string, unknown>;

let events: [name: string, event: unknown][];
let sockets: Socket<unknown>[];
beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  ManualWebSocket.opened = [];
  events = [];
  sockets = [];
});
afterEach(() => {
  for (const socket of sockets) socket.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const NAMES: readonly (keyof SocketEvents<never>)[] = ["message", "state", "revoked", "denied", "error"];

function open(options: Partial<ConnectOptions> = {}): Socket<unknown> {
  const socket = connect<unknown>({
    url: "wss://ws.example.com/dev",
    WebSocket: ManualWebSocket,
    ...options,
  });
  for (const name of NAMES) socket.on(name, (event: unknown) => void events.push([name, event]));
  sockets.push(socket);
  return socket;
}

const settle = () => vi.advanceTimersByTimeAsync(0);
/** The WebSocket of the newest connection. */
const newestWebSocket = () => ManualWebSocket.opened.at(-1) as ManualWebSocket;
const push = (frame: unknown) => newestWebSocket().emit("message", JSON.stringify(frame));
const states = () => events.filter(([name]) => name === "state").map(([, state]) => state);
/** The messages that the server received on the newest connection. */
const received = () => newestWebSocket().sent.map((text) => JSON.parse(text) as Frame);

async function opened(options: Partial<ConnectOptions> = {}): Promise<Socket<unknown>> {
  const socket = open(options);
  await settle();
  newestWebSocket().emit("open");
  events.length = 0;
  return socket;
}

/** Calls a handler. The result or error is an entry of `events`. */
function call(socket: Socket<unknown>, handler = "echo", input?: object): void {
  const calls = socket.call as Record<string, (input?: object) => Promise<unknown>>;
  calls[handler]?.(input).then(
    (result) => events.push(["result", result]),
    (error: unknown) => events.push(["failed", error]),
  );
}

describe("a frame", () => {
  test.each<Frame>([
    { id: "x" },
    { id: "x", ok: "true" },
    { id: "x", ok: 1 },
    { ok: true },
    { ok: true, error: "x", reference: "y" },
    { ok: false, error: "x" },
    { ok: false, reference: "y" },
    { ok: false, error: 1, reference: "y" },
    { ok: false, error: "x", reference: 1 },
    { ok: 0, error: "x", reference: "y" },
    { connectionId: "a", message: "m" },
    { requestId: "b", message: "m" },
    { connectionId: "a", requestId: 7, message: "m" },
    { type: 0, id: "x", ok: true },
    { type: "", ok: false, error: "x", reference: "y" },
    { type: "chat", id: "x", ok: true },
    { type: "chat", connectionId: "a", requestId: "b" },
    { type: "sallyport", scope: "view" },
    { type: "Sallyport.revoked", scope: "view" },
    { type: ["sallyport.revoked"], scope: "view" },
    {},
  ])("is a message of the app: %j", async (frame) => {
    await opened();
    push(frame);
    expect(events).toEqual([["message", frame]]);
  });

  test.each<[frame: Frame, error: object]>([
    [
      { ok: false, error: "No.", reference: "r" },
      { message: "No.", reference: "r" },
    ],
    [
      { type: null, ok: false, error: "No.", reference: "" },
      { message: "No.", reference: "" },
    ],
    [
      { message: "Forbidden", connectionId: "a=", requestId: "b=" },
      { message: "Forbidden", requestId: "b=" },
    ],
    [
      { connectionId: null, requestId: "b=" },
      { message: "undefined", requestId: "b=" },
    ],
  ])("is an error: %j", async (frame, error) => {
    await opened();
    push(frame);
    expect(events).toEqual([["error", error]]);
  });

  test.each([null, undefined])("that has the type %s answers a call", async (type) => {
    const socket = await opened();
    call(socket);
    push({ type, id: received()[0]?.id, ok: true, result: 7 });
    await settle();
    expect(events).toEqual([["result", 7]]);
  });

  test("with the id of a call that does not exist has no effect", async () => {
    await opened();
    for (const id of ["1", 7, null, { a: 1 }, ["x"]]) push({ id, ok: true });
    for (const text of ["", "{", "null", "7", "[1]", '"text"']) newestWebSocket().emit("message", text);
    expect(events).toEqual([]);
  });
});

test("a listener receives nothing after it is removed", async () => {
  const socket = await opened();
  const received: unknown[] = [];
  const remove = socket.on("message", (message) => received.push(message));
  push({ n: 1 });
  remove();
  push({ n: 2 });
  expect(received).toEqual([{ n: 1 }]);
  expect(events).toHaveLength(2);
});

describe("a revocation notice", () => {
  test("for the view closes the socket, and rejects calls until reconnect()", async () => {
    const socket = await opened();
    call(socket);
    push({ type: "sallyport.revoked", scope: "view", reference: "r", channel: "x" });
    call(socket);
    await settle();
    const failure = (fields: object) => ["failed", expect.objectContaining({ name: "CallError", ...fields })];
    expect(events).toEqual([
      ["state", "denied"],
      ["revoked", { type: "sallyport.revoked", scope: "view", reference: "r" }],
      failure({ status: 0, sent: true }),
      failure({ status: 403, sent: false, message: "Permission denied.", reference: "r" }),
    ]);
    expect(newestWebSocket().isClosed).toBe(true);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(ManualWebSocket.opened).toHaveLength(1);
  });

  test.each([
    ["a", undefined],
    ["b", "a"],
  ])("for the channel %s leaves the socket open, and the channel a is then %s", async (channel, after) => {
    const socket = await opened({ channel: "a" });
    push({ type: "sallyport.revoked", scope: "channel", channel });
    expect(events).toEqual([
      ["revoked", { type: "sallyport.revoked", scope: "channel", channel, reference: "" }],
    ]);
    expect([socket.state, socket.channel]).toEqual(["open", after]);
  });

  test.each<Frame>([
    { type: "sallyport.revoked" },
    { type: "sallyport.revoked", scope: "channel" },
    { type: "sallyport.revoked", scope: "channel", channel: 7 },
    { type: "sallyport.revoked", scope: "session", channel: "a" },
    { type: "sallyport.later", scope: "view" },
    { type: "sallyport.", ok: true, id: "x" },
  ])("has no effect as %j", async (frame) => {
    const socket = await opened({ channel: "a" });
    push(frame);
    expect(events).toEqual([]);
    expect([socket.state, socket.channel]).toEqual(["open", "a"]);
  });
});

describe("a failed request for a token", () => {
  const failing = (error: unknown) => open({ token: () => Promise.reject(error) });
  const rejection = (status: number) => new CallError("No.", { status, reference: "r", retryAfterMs: 9000 });

  test.each([0, 302, 399, 408, 500, 503])("with %i is retried after the wait", async (status) => {
    const socket = failing(rejection(status));
    call(socket);
    await settle();
    expect(events).toEqual([
      ["state", "reconnecting"],
      ["error", { message: "No.", reference: "r" }],
    ]);
    await vi.advanceTimersByTimeAsync(9249);
    expect(socket.state).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(1);
    expect(states()).toEqual(["reconnecting", "connecting", "reconnecting"]);
  });

  test.each([400, 401, 403, 404, 499])("with %i is a denial", async (status) => {
    const socket = failing(rejection(status));
    call(socket);
    await settle();
    expect(events).toEqual([
      ["state", "denied"],
      ["denied", { status, error: "No.", reference: "r", retryAfterMs: 9000 }],
      ["failed", expect.objectContaining({ status, reference: "r" })],
    ]);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(states()).toEqual(["denied"]);
  });

  test("with 429 rejects waiting calls, and is retried after the wait", async () => {
    const socket = failing(rejection(429));
    call(socket);
    await settle();
    expect(events).toEqual([
      ["state", "reconnecting"],
      ["denied", { status: 429, error: "No.", reference: "r", retryAfterMs: 9000 }],
      ["failed", expect.objectContaining({ status: 429 })],
    ]);
    await vi.advanceTimersByTimeAsync(9250);
    expect(states()).toEqual(["reconnecting", "connecting", "reconnecting"]);
  });

  test.each([
    [new TypeError("Failed to fetch"), "Failed to fetch"],
    ["a text", "a text"],
  ])("with an error that is not an answer, %s, is retried", async (error, message) => {
    failing(error);
    await settle();
    expect(events).toEqual([
      ["state", "reconnecting"],
      ["error", { message }],
    ]);
    await vi.advanceTimersByTimeAsync(250);
    expect(states()).toEqual(["reconnecting", "connecting", "reconnecting"]);
  });
});

describe("the waits between attempts", () => {
  test.each([
    [4999, 500],
    [5000, 250],
  ])("after a connection of %i ms are %i ms", async (lastedMs, waitMs) => {
    open();
    await settle();
    newestWebSocket().emit("close");
    await vi.advanceTimersByTimeAsync(250);
    newestWebSocket().emit("open");
    await vi.advanceTimersByTimeAsync(lastedMs);
    events.length = 0;
    newestWebSocket().emit("close");
    await vi.advanceTimersByTimeAsync(waitMs - 1);
    expect(states()).toEqual(["reconnecting"]);
    await vi.advanceTimersByTimeAsync(1);
    expect(states()).toEqual(["reconnecting", "connecting"]);
    expect(events.filter(([name]) => name === "error")).toEqual([]);
  });

  test("grow with each failed attempt, also after a connection that lasted", async () => {
    await opened();
    await vi.advanceTimersByTimeAsync(60_000);
    for (const waitMs of [250, 500, 1000, 2000]) {
      newestWebSocket().emit("close");
      await vi.advanceTimersByTimeAsync(waitMs - 1);
      expect(states().at(-1)).toBe("reconnecting");
      await vi.advanceTimersByTimeAsync(1);
      expect(states().at(-1)).toBe("connecting");
    }
  });

  test("end with reconnect() and with close()", async () => {
    const socket = await opened();
    newestWebSocket().emit("close");
    socket.reconnect();
    await settle();
    expect(ManualWebSocket.opened).toHaveLength(2);
    newestWebSocket().emit("open");
    await vi.advanceTimersByTimeAsync(600_000);
    expect(ManualWebSocket.opened).toHaveLength(2);
    newestWebSocket().emit("close");
    socket.close();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(ManualWebSocket.opened).toHaveLength(2);
    expect(socket.state).toBe("closed");
  });
});

describe("calls and messages", () => {
  test("are sent by open sockets only, each call once", async () => {
    const socket = open();
    expect(() => socket.send("typing")).toThrow(CallError);
    call(socket, "early", { n: 1 });
    await settle();
    expect(received()).toEqual([]);
    newestWebSocket().emit("open");
    call(socket, "late");
    socket.send("typing", { on: true });
    expect(received()).toEqual([
      { id: expect.any(String), handler: "early", n: 1 },
      { id: expect.any(String), handler: "late" },
      { handler: "typing", on: true },
    ]);
    newestWebSocket().emit("close");
    expect(() => socket.send("typing")).toThrow("The socket is reconnecting, not open.");
    await vi.advanceTimersByTimeAsync(600_000);
    newestWebSocket().emit("open");
    expect(received()).toEqual([]);
  });

  test.each([
    [undefined, undefined, 30_000],
    [7000, undefined, 7000],
    [7000, 5000, 5000],
  ])(
    "with callTimeoutMs %s and timeoutMs %s wait %i ms for their answer",
    async (callTimeoutMs, timeoutMs, ms) => {
      const socket = await opened(callTimeoutMs === undefined ? {} : { callTimeoutMs });
      const calls = socket.call as Record<string, (input?: object, options?: object) => Promise<unknown>>;
      calls.echo?.({}, { timeoutMs }).catch((error: unknown) => events.push(["failed", error]));
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect(events).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      expect(events).toEqual([["failed", expect.any(CallError)]]);
    },
  );

  test("are rejected by a closed socket", async () => {
    const socket = await opened();
    call(socket);
    socket.close();
    call(socket);
    await settle();
    expect(events).toEqual([
      ["state", "closed"],
      ["failed", expect.objectContaining({ status: 0, sent: true })],
      [
        "failed",
        expect.objectContaining({
          status: 0,
          sent: false,
          message: "The socket is closed. Call reconnect() to open it again.",
        }),
      ],
    ]);
  });
});

describe("keepAlive", () => {
  const pings = () => received().filter(({ handler }) => handler === "ping").length;

  test("calls its handler every nine minutes while the socket is open", async () => {
    const socket = await opened({ keepAlive: { handler: "ping" } });
    await vi.advanceTimersByTimeAsync(539_999);
    expect(pings()).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(pings()).toBe(1);
    push({ id: received()[0]?.id, ok: false, status: 403, error: "No." });
    await vi.advanceTimersByTimeAsync(100_000);
    expect(socket.state).toBe("open");
    socket.close();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(pings()).toBe(1);
  });

  test("ends a connection that does not answer, and only that one", async () => {
    const socket = await opened({ keepAlive: { handler: "ping", everyMs: 10_000 }, callTimeoutMs: 1000 });
    await vi.advanceTimersByTimeAsync(10_999);
    expect(events).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(states()).toEqual(["reconnecting"]);
    await vi.advanceTimersByTimeAsync(250);
    newestWebSocket().emit("open");
    await vi.advanceTimersByTimeAsync(9999);
    expect(pings()).toBe(0);
    expect(socket.state).toBe("open");
  });
});

describe("reconnect()", () => {
  test("has no effect while the socket connects to the same channel", async () => {
    const socket = open({ channel: "a" });
    await settle();
    socket.reconnect();
    socket.reconnect({ channel: "a" });
    await settle();
    expect(ManualWebSocket.opened).toHaveLength(1);
    socket.reconnect({ channel: "b" });
    await settle();
    expect(ManualWebSocket.opened.map(({ url, isClosed }) => [url.split("channel=")[1], isClosed])).toEqual([
      ["a", true],
      ["b", false],
    ]);
    expect(socket.channel).toBe("b");
    expect(states()).toEqual([]);
  });

  test("replaces an open connection, and its late frames have no effect", async () => {
    const socket = await opened();
    const old = newestWebSocket();
    socket.reconnect();
    await settle();
    newestWebSocket().emit("open");
    events.length = 0;
    old.emit("message", JSON.stringify({ type: "chat" }));
    old.emit("close");
    await settle();
    expect(events).toEqual([]);
    expect([old.isClosed, socket.state, ManualWebSocket.opened.length]).toEqual([true, "open", 2]);
  });
});
