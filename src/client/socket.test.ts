import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, onTestFinished, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import type { Callable } from "../protocol/contract.ts";
import { CallError, type ConnectOptions, connect, type Socket } from "./socket.ts";

interface DemoView {
  echo: Callable<{ text: string }, { text: string; at: Date }>;
  ping: Callable<Record<string, never>, { ok: boolean }>;
  // biome-ignore lint/suspicious/noConfusingVoidType: as handler() types it for a handler without schema
  anything: Callable<Readonly<Record<string, unknown>> | void, void>;
  slug(name: string): string;
}

type Json = Readonly<Record<string, unknown>>;
interface TokenResponse {
  status?: number;
  body?: unknown;
  headers?: Record<string, string>;
}

/** A token endpoint and a WebSocket server on one port. Each test sets their answers. */
class Backend {
  tokenRequests: { body: Json; cookie: string | undefined }[] = [];
  connects: URLSearchParams[] = [];
  frames: Json[] = [];
  sockets: WebSocket[] = [];
  onToken: () => TokenResponse | Promise<TokenResponse> = () => ({});
  onFrame: (frame: Json, webSocket: WebSocket) => void = (frame, webSocket) =>
    webSocket.send(JSON.stringify({ id: frame.id, ok: true, status: 200, result: { text: frame.text } }));
  rejectHandshakes = false;
  readonly #server: Server = createServer((request, response) => void this.#token(request, response));
  readonly #webSockets = new WebSocketServer({
    server: this.#server,
    verifyClient: (_info, decide) => decide(!this.rejectHandshakes, 403),
  });

  async start(): Promise<this> {
    this.#webSockets.on("connection", (webSocket, request) => {
      this.connects.push(new URL(request.url ?? "", "http://x").searchParams);
      this.sockets.push(webSocket);
      webSocket.on("message", (data) => {
        const frame = JSON.parse(String(data));
        this.frames.push(frame);
        this.onFrame(frame, webSocket);
      });
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  push(frame: unknown): void {
    this.sockets.at(-1)?.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  async stop(): Promise<void> {
    for (const webSocket of this.#webSockets.clients) webSocket.terminate();
    this.#webSockets.close();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #token(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += chunk;
    this.tokenRequests.push({ body: JSON.parse(text), cookie: request.headers.cookie });
    const { status = 200, body, headers = {} } = await this.onToken();
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body ?? { token: `token-${this.tokenRequests.length}`, expires_in: 60 }));
  }
}

let backend: Backend;
const sockets: Socket<DemoView>[] = [];

function open(options: Partial<ConnectOptions> = {}): Socket<DemoView> {
  const socket = connect<DemoView>({
    url: `ws://127.0.0.1:${backend.port}/dev`,
    token: `http://127.0.0.1:${backend.port}/api/ws-token`,
    backoff: { baseMs: 20, maxMs: 50 },
    WebSocket,
    ...options,
  });
  sockets.push(socket);
  return socket;
}

type EventName = "message" | "revoked" | "denied" | "error" | "state";
function next(socket: Socket<DemoView>, name: EventName): Promise<unknown> {
  return new Promise((resolve) => {
    const off = socket.on(name, (event: unknown) => {
      off();
      resolve(event);
    });
  });
}

/** Makes the socket's own timers run only by {@link letTimePass}. Requests and frames stay real. */
function stopTimers(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
}

/** Runs every timer that is due within ten minutes, longer than any wait between two attempts. */
const letTimePass = () => vi.advanceTimersByTimeAsync(600_000);

const reached = (socket: Socket<DemoView>, state: string) => expect.poll(() => socket.state).toBe(state);

async function errorOf(promise: Promise<unknown>): Promise<CallError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CallError);
  return error as CallError;
}

const rejection = (status: number, error: string, headers?: Record<string, string>): TokenResponse => ({
  status,
  body: { ok: false, error, reference: "ref-1" },
  ...(headers ? { headers } : {}),
});

beforeEach(async () => {
  backend = await new Backend().start();
});

afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  for (const socket of sockets.splice(0)) socket.close();
  await backend.stop();
});

describe("a call", () => {
  it("resolves with the result of the handler", async () => {
    const socket = open();
    expect(await socket.call.echo({ text: "hello" })).toEqual({ text: "hello" });
    expect(backend.frames).toEqual([{ id: expect.any(String), handler: "echo", text: "hello" }]);
  });

  it("has the input and output types of the view's handlers", () => {
    type Call = Socket<DemoView>["call"];
    expectTypeOf<Parameters<Call["echo"]>[0]>().toEqualTypeOf<{ text: string }>();
    expectTypeOf<Awaited<ReturnType<Call["echo"]>>>().toEqualTypeOf<{ text: string; at: string }>();
    expectTypeOf<Call["ping"]>().toBeCallableWith();
    expectTypeOf<Call["anything"]>().toBeCallableWith();
    expectTypeOf<keyof Call>().toEqualTypeOf<"echo" | "ping" | "anything">();
  });

  it("rejects with the status, message and reference of the server", async () => {
    backend.onFrame = ({ id }, webSocket) =>
      webSocket.send(
        JSON.stringify({ id, ok: false, status: 403, error: "Permission denied.", reference: "abc123" }),
      );
    const error = await errorOf(open().call.echo({ text: "hello" }));
    expect(error).toMatchObject({
      name: "CallError",
      message: "Permission denied.",
      status: 403,
      reference: "abc123",
      sent: true,
    });
  });

  it("before the socket is open is sent in order when it opens", async () => {
    const socket = open();
    const calls = ["a", "b", "c"].map((text) => socket.call.echo({ text }));
    expect(socket.state).toBe("connecting");
    await Promise.all(calls);
    expect(backend.frames.map(({ text }) => text)).toEqual(["a", "b", "c"]);
  });

  it("receives its own answer among 300 concurrent calls that are answered out of order", async () => {
    const held: Json[] = [];
    backend.onFrame = (frame, webSocket) => {
      held.push(frame);
      if (held.length < 30) return;
      for (const { id, text } of held.splice(0).reverse()) {
        webSocket.send(JSON.stringify({ id, ok: true, status: 200, result: { text } }));
      }
    };
    const socket = open();
    const texts = Array.from({ length: 300 }, (_, index) => `text ${index}`);
    const results = await Promise.all(texts.map((text) => socket.call.echo({ text })));
    expect(results.map(({ text }) => text)).toEqual(texts);
  });

  it("rejects after its time-out, and its late answer has no effect", async () => {
    backend.onFrame = () => undefined;
    const socket = open();
    await reached(socket, "open");
    const error = await errorOf(socket.call.echo({ text: "slow" }, { timeoutMs: 30 }));
    expect(error).toMatchObject({ status: 0, reference: "", sent: true });
    expect(error.message).toContain("30 ms");
    backend.push({ id: backend.frames[0]?.id, ok: true, status: 200, result: {} });
    backend.onFrame = ({ id }, webSocket) =>
      webSocket.send(JSON.stringify({ id, ok: true, status: 200, result: { ok: 1 } }));
    expect(await socket.call.ping()).toEqual({ ok: 1 });
  });

  it("uses callTimeoutMs of the socket by default", async () => {
    backend.onFrame = () => undefined;
    expect((await errorOf(open({ callTimeoutMs: 30 }).call.ping())).status).toBe(0);
  });

  it("without a connection rejects with sent: false", async () => {
    backend.rejectHandshakes = true;
    const error = await errorOf(open().call.echo({ text: "x" }, { timeoutMs: 60 }));
    expect(error).toMatchObject({ status: 0, sent: false });
    expect(backend.frames).toEqual([]);
  });

  it("is aborted by its signal, before or after it was sent", async () => {
    backend.onFrame = () => undefined;
    const socket = open();
    await reached(socket, "open");
    const controller = new AbortController();
    const call = socket.call.echo({ text: "x" }, { signal: controller.signal });
    controller.abort(new Error("the user left"));
    await expect(call).rejects.toThrow("the user left");
    const aborted = AbortSignal.abort(new Error("long gone"));
    await expect(socket.call.echo({ text: "x" }, { signal: aborted })).rejects.toThrow("long gone");
    await expect.poll(() => backend.frames.length).toBe(1);
  });

  it("rejects when the socket is lost before the answer", async () => {
    backend.onFrame = (_frame, webSocket) => webSocket.terminate();
    const error = await errorOf(open().call.echo({ text: "x" }));
    expect(error).toMatchObject({ status: 0, sent: true });
  });

  it("larger than 32 KB is rejected locally, because API Gateway would close the connection", async () => {
    const socket = open();
    await reached(socket, "open");
    const error = await errorOf(socket.call.echo({ text: "ü".repeat(16 * 1024) }));
    expect(error).toMatchObject({ status: 413, sent: false });
    expect(await socket.call.echo({ text: "x".repeat(32_000) })).toBeDefined();
    expect(backend.frames).toHaveLength(1);
  });

  it("cannot have its id or handler replaced by its input", async () => {
    const socket = open();
    await expect(socket.call.anything({ id: 7 })).rejects.toThrow('"id"');
    await expect(socket.call.anything({ handler: "delete_all" })).rejects.toThrow('"handler"');
    await expect(socket.call.anything({ big: 1n })).rejects.toThrow(TypeError);
    await expect(socket.call.anything({ toJSON: () => ({ handler: "delete_all" }) })).rejects.toThrow(
      '"toJSON"',
    );
    const routed = open({ action: "chat" });
    await expect(routed.call.anything({ action: "admin" })).rejects.toThrow('"action"');
    expect(backend.frames).toEqual([]);
  });

  it("accepts a time-out of 3e9 ms", async () => {
    const socket = open();
    expect(await socket.call.echo({ text: "x" }, { timeoutMs: 3e9 })).toBeDefined();
  });

  it("is made through an object that is not thenable and cannot be changed", async () => {
    const socket = open();
    expect(await socket.call).toBe(socket.call);
    expect(String(Object.prototype.toString.call(socket.call))).toBe("[object Object]");
    expect(() => Object.assign(socket.call, { echo: 1 })).toThrow(TypeError);
  });

  it("sends names such as __proto__ as plain data", async () => {
    backend.onFrame = ({ id, handler }, webSocket) =>
      webSocket.send(JSON.stringify({ id, ok: true, status: 200, result: { handler } }));
    const socket = open();
    const call = socket.call as unknown as Record<string, (input?: unknown) => Promise<unknown>>;
    for (const handler of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      expect(await call[handler]?.(JSON.parse('{"__proto__":{"polluted":true}}'))).toEqual({ handler });
    }
    expect(Object.hasOwn(backend.frames[0] ?? {}, "__proto__")).toBe(true);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it("uses handlerKey for the handler and adds the action", async () => {
    const socket = open({ handlerKey: "do", action: "chat" });
    await socket.call.echo({ text: "x" });
    expect(backend.frames).toEqual([{ id: expect.any(String), do: "echo", action: "chat", text: "x" }]);
  });
});

describe("the id of a call", () => {
  const idOf = (frame: Json | undefined) => /^([0-9a-f]{32})-(\d+)$/.exec(String(frame?.id)) ?? [];

  it("begins with a random prefix that differs for each connection and each socket", async () => {
    const socket = open();
    await socket.call.ping();
    await socket.call.ping();
    backend.sockets[0]?.terminate();
    await expect.poll(() => backend.connects.length).toBe(2);
    await reached(socket, "open");
    await socket.call.ping();
    await open().call.ping();
    const [first, second, third, fourth] = backend.frames.map((frame) => idOf(frame)[1]);
    expect(first).toMatch(/./);
    expect(second).toBe(first);
    expect(new Set([first, third, fourth]).size).toBe(3);
  });

  it("must match exactly in an answer, and settles the call only once", async () => {
    backend.onFrame = () => undefined;
    const socket = open();
    await reached(socket, "open");
    const first = socket.call.echo({ text: "first" });
    const second = socket.call.echo({ text: "second" });
    await expect.poll(() => backend.frames.length).toBe(2);
    const [id = "", otherId = ""] = backend.frames.map((frame) => frame.id as string);
    const number = idOf(backend.frames[0])[2];
    const guesses = [
      1,
      2,
      number,
      `-${number}`,
      ` ${id}`,
      id.toUpperCase(),
      [id],
      { id },
      true,
      null,
      `0${id}`,
    ];
    for (const guess of guesses) backend.push({ id: guess, ok: true, status: 200, result: "forged" });
    backend.push({ id, ok: true, status: 200, result: "own" });
    backend.push({ id, ok: false, status: 403, error: "forged", reference: "x" });
    backend.push({ type: "chat", id: otherId, ok: true, result: "forged" });
    backend.push({ id: otherId, ok: true, status: 200, result: "own" });
    expect(await Promise.all([first, second])).toEqual(["own", "own"]);
  });

  it("settles the call although other fields of the answer are missing or invalid", async () => {
    backend.onFrame = ({ id }, webSocket) =>
      webSocket.send(JSON.stringify({ id, ok: false, error: { a: 1 }, status: "x" }));
    expect(await errorOf(open().call.ping())).toMatchObject({
      message: "The server rejected the call and gave no reason. Check its log.",
      status: 500,
      reference: "",
      sent: true,
    });
  });
});

describe("send", () => {
  it("sends a message without an id", async () => {
    const socket = open();
    await reached(socket, "open");
    socket.send("typing", { on: true });
    await expect.poll(() => backend.frames.length).toBe(1);
    expect(backend.frames).toEqual([{ handler: "typing", on: true }]);
  });

  it("throws when the socket is not open, and for too large a payload", async () => {
    const socket = open();
    expect(() => socket.send("typing")).toThrow(CallError);
    await reached(socket, "open");
    expect(() => socket.send("typing", { text: "x".repeat(40_000) })).toThrow("32 KB");
  });

  it("reports a rejection as an error event", async () => {
    backend.onFrame = (_frame, webSocket) =>
      webSocket.send(JSON.stringify({ ok: false, error: "Permission denied.", reference: "abc" }));
    const socket = open();
    await reached(socket, "open");
    const error = next(socket, "error");
    socket.send("typing");
    expect(await error).toEqual({ message: "Permission denied.", reference: "abc" });
  });
});

describe("the token", () => {
  it("is requested for the view and the channel, and is sent in the socket's URL", async () => {
    const socket = open({ view: "/ws/chat", channel: "rooms/a b" });
    await reached(socket, "open");
    expect(backend.tokenRequests[0]?.body).toEqual({ view: "/ws/chat", channel: "rooms/a b" });
    expect(Object.fromEntries(backend.connects[0] ?? [])).toEqual({
      ws_token: "token-1",
      channel: "rooms/a b",
    });
  });

  it("B68 is requested again for each attempt, failed handshakes included", async () => {
    const socket = open();
    await reached(socket, "open");
    backend.rejectHandshakes = true;
    backend.sockets[0]?.terminate();
    await expect.poll(() => backend.tokenRequests.length).toBeGreaterThanOrEqual(4);
    backend.rejectHandshakes = false;
    await reached(socket, "open");
    const used = backend.connects.at(-1)?.get("ws_token");
    expect(used).toBe(`token-${backend.tokenRequests.length}`);
  });

  it("can come from a function, which can deny access", async () => {
    const tokens = ["one", "two"];
    const socket = open({
      token: async () => tokens.shift() ?? Promise.reject(new CallError("No more.", { status: 403 })),
    });
    await reached(socket, "open");
    socket.reconnect();
    await reached(socket, "open");
    expect(backend.connects.map((query) => query.get("ws_token"))).toEqual(["one", "two"]);
    socket.reconnect();
    await reached(socket, "denied");
  });

  it("is omitted for an anonymous view, and the URL keeps its own parameters", async () => {
    const url = `ws://127.0.0.1:${backend.port}/dev?lang=en`;
    await reached(connectAnonymously(url), "open");
    expect(String(backend.connects[0])).toBe("lang=en");
    expect(backend.tokenRequests).toEqual([]);
  });

  function connectAnonymously(url: string): Socket<DemoView> {
    const socket = connect<DemoView>({ url, WebSocket });
    sockets.push(socket);
    return socket;
  }

  it("is requested with the page's cookies and without a cache", async () => {
    const seen: (RequestInit | undefined)[] = [];
    const socket = open({
      fetch: (input, init) => {
        seen.push(init);
        return fetch(input, init);
      },
    });
    await reached(socket, "open");
    expect(seen[0]).toMatchObject({ method: "POST", credentials: "include", cache: "no-store" });
  });
});

describe("a rejection by the token endpoint", () => {
  it.each([401, 403])("with %i is reported, is not retried, and rejects pending calls", async (status) => {
    stopTimers();
    backend.onToken = () => rejection(status, "Permission denied.");
    const socket = open();
    const states: string[] = [];
    socket.on("state", (state) => states.push(state));
    const rejected = next(socket, "denied");
    const call = errorOf(socket.call.echo({ text: "x" }));
    expect(await rejected).toEqual({ status, error: "Permission denied.", reference: "ref-1" });
    expect(await call).toMatchObject({ status, reference: "ref-1", sent: false });
    expect(socket.state).toBe("denied");
    expect(await errorOf(socket.call.ping())).toMatchObject({ status, reference: "ref-1" });
    await letTimePass();
    expect(states).toEqual(["denied"]);
    expect(backend.tokenRequests).toHaveLength(1);
  });

  it("ends when the app calls reconnect() and the token endpoint returns a token", async () => {
    backend.onToken = () => rejection(403, "Permission denied.");
    const socket = open();
    await reached(socket, "denied");
    backend.onToken = () => ({});
    socket.reconnect();
    expect(await socket.call.echo({ text: "now" })).toEqual({ text: "now" });
    expect(backend.tokenRequests).toHaveLength(2);
  });

  it("can be followed by reconnect() and a new call in its listener", async () => {
    backend.onToken = () => rejection(403, "Permission denied.");
    const socket = open();
    const first = errorOf(socket.call.echo({ text: "first" }));
    const second = new Promise((resolve, reject) => {
      socket.on("state", (state) => {
        if (state !== "denied") return;
        backend.onToken = () => ({});
        socket.reconnect();
        socket.call.echo({ text: "second" }).then(resolve, reject);
      });
    });
    expect((await first).status).toBe(403);
    expect(await second).toEqual({ text: "second" });
  });

  it("with 429 is retried after the time in Retry-After", async () => {
    stopTimers();
    backend.onToken = () => rejection(429, "Too many requests.", { "retry-after": "1" });
    const socket = open();
    const waiting = errorOf(socket.call.ping());
    expect(await next(socket, "denied")).toMatchObject({ status: 429, retryAfterMs: 1_000 });
    expect(await waiting).toMatchObject({ status: 429, retryAfterMs: 1_000 });
    expect(socket.state).toBe("reconnecting");
    backend.onToken = () => ({});
    await vi.advanceTimersByTimeAsync(999);
    expect(socket.state).toBe("reconnecting");
    expect(backend.tokenRequests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1 + 50);
    await reached(socket, "open");
    expect(backend.tokenRequests).toHaveLength(2);
  });

  it("without an error message in its body is reported with the status text", async () => {
    backend.onToken = () => ({ status: 401, body: "nonsense" });
    expect(await next(open(), "denied")).toMatchObject({
      status: 401,
      error: "Unauthorized",
      reference: "",
    });
  });
});

describe("a failed attempt", () => {
  it.each([
    ["an answer of 500", { status: 500, body: {} }],
    ["an answer without a token", { body: { nothing: true } }],
    ["an answer of null", { body: "null" }],
  ])("because of %s is reported and retried", async (_name, answer) => {
    backend.onToken = () => answer;
    const socket = open();
    expect(await next(socket, "error")).toMatchObject({ message: expect.any(String) });
    backend.onToken = () => ({});
    await reached(socket, "open");
  });

  it("because of a network error is retried", async () => {
    let failures = 0;
    const socket = open({
      fetch: (input, init) =>
        ++failures < 4 ? Promise.reject(new TypeError("Failed to fetch")) : fetch(input, init),
    });
    expect(await next(socket, "error")).toEqual({ message: "Failed to fetch" });
    await reached(socket, "open");
    expect(failures).toBe(4);
  });

  it("because of a token endpoint that never answers ends after connectTimeoutMs", async () => {
    stopTimers();
    // expect.poll() cannot be used here, because it advances a stopped clock by its interval.
    const requested = new Promise<void>((resolve) => {
      backend.onToken = () => {
        resolve();
        return new Promise(() => undefined);
      };
    });
    const socket = open({ connectTimeoutMs: 5000 });
    const states: string[] = [];
    socket.on("state", (state) => states.push(state));
    await requested;
    backend.onToken = () => ({});
    await vi.advanceTimersByTimeAsync(4999);
    expect(states).toEqual([]);
    await vi.advanceTimersByTimeAsync(1 + 50);
    expect(states).toEqual(["reconnecting", "connecting"]);
    await reached(socket, "open");
  });

  it("because of an invalid URL is thrown by connect()", () => {
    expect(() => open({ url: "nowhere" })).toThrow(TypeError);
  });
});

describe("reconnecting", () => {
  it("follows a close by the server, and reports the states in order", async () => {
    const socket = open();
    const states: string[] = [socket.state];
    socket.on("state", (state) => states.push(state));
    await reached(socket, "open");
    backend.sockets[0]?.close(1001, "Going away");
    await expect.poll(() => backend.connects.length).toBe(2);
    await reached(socket, "open");
    expect(states).toEqual(["connecting", "open", "reconnecting", "connecting", "open"]);
  });

  it("sends no call twice", async () => {
    const echo = backend.onFrame;
    backend.onFrame = (_frame, webSocket) => webSocket.terminate();
    const socket = open();
    await errorOf(socket.call.echo({ text: "once" }));
    backend.onFrame = echo;
    // A call that was sent twice would arrive before this one.
    await socket.call.echo({ text: "later" });
    expect(backend.frames.map(({ text }) => text)).toEqual(["once", "later"]);
  });

  it("sends a call that was made while the socket waited", async () => {
    const socket = open();
    await reached(socket, "open");
    const call = new Promise((resolve) => {
      socket.on("state", (state) => {
        if (state === "reconnecting") resolve(socket.call.echo({ text: "later" }));
      });
    });
    backend.sockets[0]?.close(1001);
    expect(await call).toEqual({ text: "later" });
  });

  it("can change the channel, and uses the channel that was set last", async () => {
    const socket = open({ channel: "rooms/a" });
    await reached(socket, "open");
    socket.reconnect({ channel: "rooms/b" });
    expect(socket.state).toBe("connecting");
    await reached(socket, "open");
    socket.channel = "rooms/c";
    backend.sockets.at(-1)?.terminate();
    await expect.poll(() => backend.connects.length).toBe(3);
    expect(backend.connects.map((query) => query.get("channel"))).toEqual(["rooms/a", "rooms/b", "rooms/c"]);
  });

  it("twice while connecting makes one attempt", async () => {
    const socket = open();
    socket.reconnect();
    socket.reconnect();
    await reached(socket, "open");
    expect(backend.tokenRequests).toHaveLength(1);
  });

  it("several times leaves one socket open", async () => {
    const socket = open();
    await reached(socket, "open");
    for (let i = 0; i < 5; i++) socket.reconnect({ channel: `rooms/${i}` });
    await reached(socket, "open");
    await expect
      .poll(() => backend.sockets.filter((webSocket) => webSocket.readyState === WebSocket.OPEN))
      .toHaveLength(1);
    expect(backend.connects.at(-1)?.get("channel")).toBe("rooms/4");
  });
});

describe("a revoked permission", () => {
  it("for the view closes the socket, which is not opened again before reconnect() is called", async () => {
    const socket = open();
    await reached(socket, "open");
    stopTimers();
    const states: string[] = [];
    socket.on("state", (state) => states.push(state));
    const revoked = next(socket, "revoked");
    backend.push({ type: "sallyport.revoked", scope: "view", reference: "0a1b2c3d4e5f" });
    expect(await revoked).toEqual({ type: "sallyport.revoked", scope: "view", reference: "0a1b2c3d4e5f" });
    expect(socket.state).toBe("denied");
    expect(await errorOf(socket.call.ping())).toMatchObject({
      status: 403,
      message: "Permission denied.",
      reference: "0a1b2c3d4e5f",
    });
    await letTimePass();
    expect(states).toEqual(["denied"]);
    expect(backend.tokenRequests).toHaveLength(1);
    socket.reconnect();
    await reached(socket, "open");
  });

  it("for a channel leaves the socket open, and the next attempt does not request that channel", async () => {
    const socket = open({ channel: "rooms/a" });
    await reached(socket, "open");
    const revoked = next(socket, "revoked");
    const notice = { type: "sallyport.revoked", scope: "channel", channel: "rooms/a", reference: "0a1b" };
    backend.push(notice);
    expect(await revoked).toEqual(notice);
    expect(socket.state).toBe("open");
    backend.sockets[0]?.terminate();
    await expect.poll(() => backend.connects.length).toBe(2);
    expect(backend.connects[1]?.has("channel")).toBe(false);
  });
});

describe("a message from the server", () => {
  it("reaches the listeners of its event", async () => {
    const socket = open();
    await reached(socket, "open");
    const message = next(socket, "message");
    backend.push({ type: "chat_message", id: 1, ok: true, message: "hello" });
    expect(await message).toEqual({ type: "chat_message", id: 1, ok: true, message: "hello" });
    const error = next(socket, "error");
    backend.push({ message: "Internal server error", connectionId: "abc=", requestId: "def=" });
    expect(await error).toEqual({ message: "Internal server error", requestId: "def=" });
  });

  it("does not reach a removed listener, and reaches the others if one listener throws", async () => {
    const socket = open();
    const thrown: unknown[] = [];
    const before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.once("uncaughtException", (error) => thrown.push(error));
    const received: unknown[] = [];
    socket.on("message", () => {
      throw new Error("a listener's own");
    });
    const off = socket.on("message", ({ n }) => received.push(n));
    await reached(socket, "open");
    backend.push({ n: 1 });
    await expect.poll(() => [received.length, thrown.length]).toEqual([1, 1]);
    for (const listener of before) process.on("uncaughtException", listener);
    expect(thrown).toMatchObject([{ message: "a listener's own" }]);
    off();
    socket.on("error", () => received.push("end"));
    backend.push({ ok: false, error: "x", reference: "y" });
    await expect.poll(() => received).toHaveLength(2);
    expect(received).toEqual([1, "end"]);
  });

  it("is ignored if it is malformed", async () => {
    const socket = open();
    const received: unknown[] = [];
    for (const name of ["message", "revoked", "error"] as const)
      socket.on(name, (event) => received.push(event));
    await reached(socket, "open");
    for (const frame of [
      "",
      "{",
      "null",
      "7",
      '"text"',
      "[1,2]",
      '{"id":99,"ok":true,"status":200}',
      '{"id":"__proto__","ok":false,"status":403,"error":{},"reference":7}',
      '{"type":"sallyport.revoked"}',
      '{"type":"sallyport.revoked","scope":"channel","channel":7}',
      '{"type":"sallyport.revoked","scope":"__proto__"}',
      '{"type":"sallyport.later","scope":"view"}',
    ]) {
      backend.push(frame);
    }
    backend.sockets[0]?.send(Buffer.from([1, 2, 3]));
    await socket.call.echo({ text: "still here" });
    expect(received).toEqual([]);
  });
});

describe("keepAlive", () => {
  it("calls the handler at intervals", async () => {
    const socket = open({ keepAlive: { handler: "ping", everyMs: 20 } });
    await expect.poll(() => backend.frames.length).toBeGreaterThanOrEqual(2);
    expect(backend.frames[0]).toMatchObject({ handler: "ping" });
    expect(socket.state).toBe("open");
  });

  it("sends the built-in ping if it names no handler", async () => {
    const socket = open({ keepAlive: { everyMs: 20 } });
    await expect.poll(() => backend.frames.length).toBeGreaterThanOrEqual(2);
    expect(backend.frames[0]).toEqual({ id: "sallyport.ping", type: "sallyport.ping" });
    expect(socket.state).toBe("open");
  });

  it.each([{}, { handler: "ping" }])("replaces a connection that no longer answers, with %j", async (how) => {
    backend.onFrame = () => undefined;
    open({ keepAlive: { ...how, everyMs: 20 }, callTimeoutMs: 40 });
    await expect.poll(() => backend.connects.length).toBeGreaterThanOrEqual(2);
  });

  it.each([{}, { handler: "ping" }])(
    "starts no timer of Infinity with callTimeoutMs: Infinity, with %j",
    async (how) => {
      backend.onFrame = () => undefined;
      const delays = vi.spyOn(globalThis, "setTimeout");
      onTestFinished(() => delays.mockRestore());
      open({ keepAlive: { ...how, everyMs: 20 }, callTimeoutMs: Number.POSITIVE_INFINITY });
      await expect.poll(() => backend.frames.length).toBeGreaterThanOrEqual(1);
      expect(delays.mock.calls.map(([, ms]) => ms)).toContain(2 ** 31 - 1);
      expect(delays.mock.calls.map(([, ms]) => ms)).not.toContain(Number.POSITIVE_INFINITY);
    },
  );

  it("uses the longest timer delay with everyMs: Infinity", async () => {
    const delays = vi.spyOn(globalThis, "setInterval");
    onTestFinished(() => delays.mockRestore());
    const socket = open({ keepAlive: { everyMs: Number.POSITIVE_INFINITY } });
    await reached(socket, "open");
    expect(delays.mock.calls.map(([, ms]) => ms)).toContain(2 ** 31 - 1);
    expect(delays.mock.calls.map(([, ms]) => ms)).not.toContain(Number.POSITIVE_INFINITY);
  });

  it("sends its message although 32 calls wait for answers", async () => {
    backend.onFrame = () => undefined;
    const socket = open({ keepAlive: { handler: "ping", everyMs: 20 } });
    for (let call = 0; call < 40; call++) socket.call.echo({ text: "x" }).catch(() => undefined);
    await expect.poll(() => backend.frames.some(({ handler }) => handler === "ping")).toBe(true);
    expect(backend.frames.filter(({ handler }) => handler === "echo")).toHaveLength(32);
  });

  it("keeps a connection that answers with an error", async () => {
    backend.onFrame = ({ id }, webSocket) =>
      webSocket.send(
        JSON.stringify({ id, ok: false, status: 403, error: "Permission denied.", reference: "r" }),
      );
    open({ keepAlive: { handler: "ping", everyMs: 20 } });
    await expect.poll(() => backend.frames.length).toBeGreaterThanOrEqual(3);
    expect(backend.connects).toHaveLength(1);
  });
});

describe("close", () => {
  it("closes the socket permanently and rejects each pending call", async () => {
    backend.onFrame = () => undefined;
    const socket = open();
    await reached(socket, "open");
    stopTimers();
    const states: string[] = [];
    socket.on("state", (state) => states.push(state));
    const call = errorOf(socket.call.echo({ text: "x" }));
    socket.close();
    expect(socket.state).toBe("closed");
    expect(await call).toMatchObject({ status: 0, sent: true });
    expect(await errorOf(socket.call.ping())).toMatchObject({ status: 0, sent: false });
    await expect.poll(() => backend.sockets[0]?.readyState).toBe(WebSocket.CLOSED);
    await letTimePass();
    expect(states).toEqual(["closed"]);
    expect(backend.tokenRequests).toHaveLength(1);
  });

  it("while connecting opens nothing", async () => {
    let opened = 0;
    class CountedWebSocket extends WebSocket {
      constructor(url: string) {
        super(url);
        opened++;
      }
    }
    let issue: (token: string) => void = () => undefined;
    const token = new Promise<string>((resolve) => {
      issue = resolve;
    });
    const socket = open({ token: () => token, WebSocket: CountedWebSocket });
    const call = errorOf(socket.call.ping());
    socket.close();
    expect(await call).toMatchObject({ status: 0, sent: false });
    issue("token-1");
    // The attempt continues in microtasks, all of which run before the next turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    expect(opened).toBe(0);
  });
});

it("rejects an unknown option and lists the known options", () => {
  expect(() => connect({ url: "ws://127.0.0.1:1", tokens: "/api/ws-token" } as never)).toThrow(
    /^connect\(\) has no option "tokens"\. The options are: url, token, view/,
  );
});

describe("an environment where no attempt to connect can succeed", () => {
  const rejected = (options: Partial<ConnectOptions>) => {
    expect(() => open(options)).toThrow(TypeError);
    return expect(() => open(options));
  };

  it("is reported by connect(), before a token is requested", async () => {
    rejected({ url: "https://ws.example.com" }).toThrow("must be a string that begins with wss:// or ws://");
    rejected({ url: "/ws" }).toThrow('url is "/ws"');
    rejected({ url: "wss://" }).toThrow("and a host");
    rejected({ url: undefined as never }).toThrow("url is undefined");
    rejected({ url: "wss://a b/dev" }).toThrow(TypeError);
    rejected({ url: "wss://ws.example.com/dev#x" }).toThrow('Remove "#"');
    vi.stubGlobal("WebSocket", undefined);
    const { WebSocket: _, ...withoutWebSocket } = { WebSocket: undefined };
    expect(() => connect({ url: "wss://ws.example.com", ...withoutWebSocket })).toThrow("has no WebSocket");
    vi.stubGlobal("crypto", {});
    rejected({}).toThrow("react-native-get-random-values");
    expect(backend.tokenRequests).toEqual([]);
  });

  it("does not include a URL without working searchParams, as in React Native", async () => {
    const set = vi.spyOn(URLSearchParams.prototype, "set").mockImplementation(() => {
      throw new Error("URLSearchParams.set is not implemented");
    });
    const url = `ws://127.0.0.1:${backend.port}/dev?a=1`;
    const socket = open({ url, token: async () => "a&b=c d", channel: "rooms/a" });
    await reached(socket, "open");
    set.mockRestore();
    expect(Object.fromEntries(backend.connects[0] ?? [])).toEqual({
      a: "1",
      ws_token: "a&b=c d",
      channel: "rooms/a",
    });
  });
});

describe("a failed handshake", () => {
  it("is an error event with a code, and is retried", async () => {
    backend.rejectHandshakes = true;
    const socket = open();
    expect(await next(socket, "error")).toEqual({
      message: expect.stringMatching(/^The WebSocket handshake failed\..*"view"/),
      code: "HANDSHAKE_FAILED",
    });
    backend.rejectHandshakes = false;
    await reached(socket, "open");
  });

  it("ends the attempts after ten in a row if no connection was open before", async () => {
    backend.rejectHandshakes = true;
    const socket = open();
    const call = errorOf(socket.call.ping());
    const errors: unknown[] = [];
    socket.on("error", (error) => errors.push(error));
    expect(await next(socket, "denied")).toMatchObject({ status: 0, code: "HANDSHAKE_FAILED" });
    expect(socket.state).toBe("denied");
    expect(await call).toMatchObject({ status: 0, sent: false, code: "HANDSHAKE_FAILED" });
    expect(errors).toHaveLength(9);
    stopTimers();
    await letTimePass();
    expect(backend.tokenRequests).toHaveLength(10);
    vi.useRealTimers();
    backend.rejectHandshakes = false;
    socket.reconnect();
    await reached(socket, "open");
  });

  it("is retried without a limit if a connection was open before", async () => {
    const socket = open({ backoff: { baseMs: 1, maxMs: 1 } });
    await reached(socket, "open");
    backend.rejectHandshakes = true;
    backend.sockets[0]?.terminate();
    await expect.poll(() => backend.tokenRequests.length).toBeGreaterThan(12);
    backend.rejectHandshakes = false;
    await reached(socket, "open");
  });

  it("after a change of the channel is counted from zero", async () => {
    const socket = open({ backoff: { baseMs: 1, maxMs: 1 } });
    await reached(socket, "open");
    backend.rejectHandshakes = true;
    socket.reconnect({ channel: "rooms/other" });
    expect(await next(socket, "denied")).toMatchObject({ code: "HANDSHAKE_FAILED" });
    expect(backend.tokenRequests).toHaveLength(11);
  });

  it("does not count while the token endpoint cannot be reached", async () => {
    let isReachable = true;
    let requests = 0;
    backend.rejectHandshakes = true;
    const socket = open({
      backoff: { baseMs: 1, maxMs: 1 },
      token: async () => {
        requests++;
        isReachable = !isReachable;
        if (isReachable) throw new Error("network");
        return "token";
      },
    });
    await expect.poll(() => requests).toBeGreaterThan(25);
    expect(socket.state).not.toBe("denied");
  });

  it("includes a WebSocket constructor that throws, for example because of a security policy", async () => {
    class Forbidden {
      constructor() {
        throw new Error("SecurityError: insecure");
      }
    }
    const socket = open({ backoff: { baseMs: 1, maxMs: 1 }, WebSocket: Forbidden as never });
    expect(await next(socket, "error")).toMatchObject({
      message: expect.stringContaining("The browser reported: Error: SecurityError: insecure"),
      code: "HANDSHAKE_FAILED",
    });
    await reached(socket, "denied");
    expect(backend.tokenRequests).toHaveLength(10);
  });
});

describe("events of the page", () => {
  const PAGE_EVENTS = ["online", "offline", "pageshow", "visibilitychange", "focus"];
  let page: EventTarget;
  let listeners: Map<string, number>;

  beforeEach(() => {
    page = new EventTarget();
    listeners = new Map();
    const count = (name: string, change: number) => listeners.set(name, (listeners.get(name) ?? 0) + change);
    const known = new Set<string>();
    vi.stubGlobal("document", { visibilityState: "visible" });
    vi.stubGlobal("addEventListener", (name: string, listener: EventListener) => {
      if (!known.has(name)) count(name, 1);
      known.add(name);
      page.addEventListener(name, listener);
    });
    vi.stubGlobal("removeEventListener", (name: string, listener: EventListener) => {
      if (known.delete(name)) count(name, -1);
      page.removeEventListener(name, listener);
    });
  });
  afterEach(() => vi.restoreAllMocks());
  const fire = (name: string) => page.dispatchEvent(new Event(name));

  /** A socket that waits for minutes, because the token endpoint failed. */
  async function waiting(answer: TokenResponse): Promise<Socket<DemoView>> {
    backend.onToken = () => answer;
    vi.spyOn(Math, "random").mockReturnValue(1);
    const socket = open({ backoff: { baseMs: 600_000, maxMs: 600_000 } });
    await reached(socket, "reconnecting");
    backend.onToken = () => ({});
    return socket;
  }

  /** Resolves when the server has received the next frame and called `answer`. */
  const frame = (answer: (webSocket: WebSocket) => void) =>
    new Promise<void>((resolve) => {
      backend.onFrame = (_frame, webSocket) => {
        answer(webSocket);
        resolve();
      };
    });

  it.each(["online", "pageshow", "visibilitychange"])("connect at once on %s", async (name) => {
    const socket = await waiting({ status: 503 });
    fire(name);
    await reached(socket, "open");
    expect(backend.tokenRequests).toHaveLength(2);
  });

  it("do not connect on offline, while the page is hidden, or before Retry-After has passed", async () => {
    const socket = await waiting({ status: 503 });
    fire("offline");
    vi.stubGlobal("document", { visibilityState: "hidden" });
    fire("visibilitychange");
    expect(socket.state).toBe("reconnecting");
    socket.close();
    const limited = await waiting(rejection(429, "Too many requests.", { "retry-after": "60" }));
    fire("online");
    expect(limited.state).toBe("reconnecting");
    expect(backend.tokenRequests).toHaveLength(2);
  });

  it("replace an attempt from before the network returned", async () => {
    backend.onToken = () => new Promise(() => undefined);
    const socket = open();
    await expect.poll(() => backend.tokenRequests.length).toBe(1);
    backend.onToken = () => ({});
    fire("pageshow");
    expect(socket.state).toBe("connecting");
    fire("online");
    await reached(socket, "open");
    expect(backend.tokenRequests).toHaveLength(2);
  });

  it("try again after failed handshakes ended the attempts, but not after a denial", async () => {
    backend.rejectHandshakes = true;
    const socket = open({ backoff: { baseMs: 1, maxMs: 1 } });
    await reached(socket, "denied");
    backend.rejectHandshakes = false;
    fire("visibilitychange");
    await reached(socket, "open");
    backend.onToken = () => rejection(403, "Permission denied.");
    socket.reconnect();
    await reached(socket, "denied");
    const requests = backend.tokenRequests.length;
    for (const name of PAGE_EVENTS) fire(name);
    expect(socket.state).toBe("denied");
    expect(backend.tokenRequests).toHaveLength(requests);
  });

  it.each(PAGE_EVENTS.filter((name) => name !== "focus"))(
    "check the open connection on %s, and open another one without an answer",
    async (name) => {
      const received = frame(() => undefined);
      const socket = open({ action: "default" });
      await reached(socket, "open");
      stopTimers();
      fire(name);
      fire(name);
      await received;
      expect(backend.frames).toEqual([{ id: "sallyport.ping", type: "sallyport.ping", action: "default" }]);
      vi.advanceTimersByTime(4_999);
      expect(socket.state).toBe("open");
      vi.advanceTimersByTime(1);
      expect(socket.state).toBe("reconnecting");
      vi.advanceTimersByTime(1_000);
      vi.useRealTimers();
      await reached(socket, "open");
      expect(backend.connects).toHaveLength(2);
    },
  );

  it.each([
    ["the answer", { id: "sallyport.ping", ok: true, status: 200 }],
    [
      "an error of an older server",
      { id: "sallyport.ping", ok: false, status: 400, error: "x", reference: "r" },
    ],
    ["an error of API Gateway", { message: "Forbidden", connectionId: "abc=", requestId: "def=" }],
    ["any other message", { type: "news" }],
  ])("keep the connection after %s", async (_what, answer) => {
    const received = frame((webSocket) => webSocket.send(JSON.stringify(answer)));
    const socket = open();
    await reached(socket, "open");
    stopTimers();
    fire("online");
    await received;
    backend.push({ type: "after" });
    await new Promise<void>((resolve) => socket.on("message", ({ type }) => type === "after" && resolve()));
    await letTimePass();
    expect(socket.state).toBe("open");
    fire("online");
    await expect.poll(() => backend.frames.length).toBe(2);
  });

  it("check the open connection after the machine slept", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
    const socket = open();
    await reached(socket, "open");
    vi.advanceTimersByTime(600_000);
    await socket.call.echo({ text: "x" });
    expect(backend.frames).toHaveLength(1);
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(15_000);
    await expect.poll(() => backend.frames.length).toBe(2);
    expect(backend.frames[1]).toMatchObject({ type: "sallyport.ping" });
  });

  it("have no listener after close()", async () => {
    const socket = open();
    await reached(socket, "open");
    expect(Object.fromEntries(listeners)).toEqual(Object.fromEntries(PAGE_EVENTS.map((name) => [name, 1])));
    socket.close();
    expect([...listeners.values()]).toEqual(PAGE_EVENTS.map(() => 0));
    for (const name of PAGE_EVENTS) fire(name);
    expect(socket.state).toBe("closed");
    socket.reconnect();
    await reached(socket, "open");
    expect([...listeners.values()]).toEqual(PAGE_EVENTS.map(() => 1));
  });
});
