import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ManualWebSocket } from "../../test/manual-web-socket.ts";
import { CallError, type ConnectOptions, connect, type Socket } from "./socket.ts";

type Answer = { readonly status: number; readonly headers?: Record<string, string> } | "network error";

const ALLOWED = { status: 200 };
const DENIED = { status: 403 };

let answer: Answer;
/** The times of the token requests in milliseconds. */
let requests: number[];
let events: unknown[];
let socket: Socket<unknown>;
let page: EventTarget;
let document: { visibilityState: string };

async function fetchToken(_url: unknown, { body }: RequestInit = {}): Promise<Response> {
  expect(JSON.parse(String(body))).toMatchObject({ view: "/ws/chat" });
  requests.push(Date.now());
  if (answer === "network error") throw new TypeError("fetch failed");
  const { status, headers } = answer;
  const fields = status === 200 ? { token: "t" } : { error: "Denied.", reference: `ref-${requests.length}` };
  return Response.json(fields, { status, headers: headers ?? {} });
}

function open(options: Partial<ConnectOptions> = {}): void {
  socket = connect<unknown>({
    url: "wss://ws.example.com/dev",
    token: "/api/ws-token",
    view: "/ws/chat",
    fetch: fetchToken as typeof fetch,
    WebSocket: ManualWebSocket,
    ...options,
  });
  socket.on("state", (state) => events.push(state));
  socket.on("denied", ({ status, reference }) => events.push([status, reference]));
  socket.on("revoked", ({ scope }) => events.push(`revoked ${scope}`));
  socket.on("error", ({ message }) => events.push(message));
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const fire = async (name: string) => {
  page.dispatchEvent(new Event(name));
  await settle();
};
const newestWebSocket = () => ManualWebSocket.opened.at(-1) as ManualWebSocket;

async function opened(options: Partial<ConnectOptions> = {}): Promise<void> {
  open(options);
  await settle();
  newestWebSocket().emit("open");
  events = [];
  requests = [];
}

/** Opens a connection whose permission ends. */
async function revoked(options: Partial<ConnectOptions> = {}): Promise<void> {
  await opened(options);
  answer = DENIED;
  newestWebSocket().emit("message", '{"type":"sallyport.revoked","scope":"view","reference":"r"}');
  expect(events).toEqual(["denied", "revoked view"]);
  events = [];
}

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  // Each wait is its maximum.
  vi.spyOn(Math, "random").mockReturnValue(1);
  page = new EventTarget();
  document = { visibilityState: "visible" };
  vi.stubGlobal("document", document);
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  ManualWebSocket.opened = [];
  answer = ALLOWED;
  requests = [];
  events = [];
});
afterEach(() => {
  socket.close();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("requests a token after growing waits of at most 30 s, and stays denied", async () => {
  await revoked();
  await pass(150_000);
  expect(requests).toEqual([5000, 15_000, 35_000, 65_000, 95_000, 125_000]);
  expect(events).toEqual([]);
  expect(socket.state).toBe("denied");
  await expect((socket.call as Record<string, () => Promise<unknown>>).echo?.()).rejects.toMatchObject({
    status: 403,
    reference: "r",
  });
});

test("connects when access returns, and then waits briefly after the next denial", async () => {
  await revoked();
  await pass(10_000);
  answer = ALLOWED;
  await pass(5000);
  newestWebSocket().emit("open");
  expect(events).toEqual(["connecting", "open"]);
  answer = DENIED;
  newestWebSocket().emit("message", '{"type":"sallyport.revoked","scope":"view","reference":"r"}');
  requests = [];
  await pass(5000);
  expect(requests).toEqual([20_000]);
});

test("begins after a denial of the first connect", async () => {
  answer = DENIED;
  open();
  await settle();
  expect(events).toEqual(["denied", [403, "ref-1"]]);
  answer = ALLOWED;
  await pass(5000);
  expect(socket.state).toBe("connecting");
});

test.each(["focus", "visibilitychange", "online", "pageshow"])("does not wait on %s", async (name) => {
  await revoked();
  await pass(21_000);
  requests = [];
  answer = ALLOWED;
  await fire(name);
  expect(requests).toEqual([21_000]);
  expect(socket.state).toBe("connecting");
});

test("makes one request at a time", async () => {
  await revoked();
  let resolve: (response: Response) => void = () => undefined;
  const pending = new Promise<Response>((done) => {
    resolve = done;
  });
  socket.close();
  let calls = 0;
  answer = ALLOWED;
  await opened({
    fetch: async (url, init) => (calls++ === 0 ? fetchToken(url, init) : pending),
  });
  newestWebSocket().emit("message", '{"type":"sallyport.revoked","scope":"view","reference":"r"}');
  for (let round = 0; round < 3; round++) await fire("focus");
  await pass(20_000);
  expect(calls).toBe(2);
  resolve(Response.json({ token: "t" }));
  await settle();
  expect(socket.state).toBe("connecting");
});

test("makes one request in five seconds if the page gets the focus often", async () => {
  await revoked();
  for (let round = 0; round < 25; round++) {
    await fire("focus");
    await pass(100);
  }
  expect(requests).toEqual([0]);
});

test("requests tokens only after events of the page when an hour has passed", async () => {
  await revoked();
  await pass(2 * 3_600_000);
  const last = requests.at(-1) ?? 0;
  expect(last).toBeGreaterThan(3_500_000);
  expect(last).toBeLessThan(3_700_000);
  answer = ALLOWED;
  await fire("focus");
  expect(socket.state).toBe("connecting");
});

test("waits a random time", async () => {
  vi.mocked(Math.random).mockReturnValue(0.5);
  await revoked();
  await pass(10_000);
  expect(requests).toEqual([2500, 7500]);
});

test("checkAccess() requests a token at once, and keeps the state until it is issued", async () => {
  await revoked();
  expect(socket.checkAccess()).toBe(true);
  await settle();
  expect(socket.checkAccess()).toBe(true);
  await settle();
  expect(requests).toEqual([0, 0]);
  expect(events).toEqual([]);
  answer = ALLOWED;
  expect(socket.checkAccess()).toBe(true);
  await settle();
  expect(events).toEqual(["connecting"]);
  expect(socket.checkAccess()).toBe(false);
});

describe("after the loss of a channel", () => {
  const notice = (type: string) =>
    newestWebSocket().emit(
      "message",
      JSON.stringify({ type, scope: "channel", channel: "rooms/a", reference: "r" }),
    );
  let restored: string[];

  /** Opens a connection that loses its channel. */
  async function lost(options: Partial<ConnectOptions> = {}): Promise<void> {
    await opened({ channel: "rooms/a", ...options });
    restored = [];
    socket.on("restored", ({ channel }) => restored.push(channel));
    answer = DENIED;
    notice("sallyport.revoked");
  }

  /** Replaces the connection, as API Gateway does after two hours. */
  async function reconnected(): Promise<void> {
    answer = ALLOWED;
    newestWebSocket().emit("close");
    await pass(500);
    newestWebSocket().emit("open");
    expect(socket.state).toBe("open");
    requests = [];
    answer = DENIED;
  }

  test("requests nothing on the same connection, which the server notifies", async () => {
    await lost();
    await pass(600_000);
    expect(requests).toEqual([]);
    notice("sallyport.restored");
    expect(restored).toEqual(["rooms/a"]);
  });

  test("checks the channel on the next connection, which stays open", async () => {
    await lost();
    await reconnected();
    await pass(20_000);
    expect(requests.length).toBeGreaterThan(1);
    expect(restored).toEqual([]);
    answer = ALLOWED;
    await pass(30_000);
    expect(restored).toEqual(["rooms/a"]);
    expect(socket.state).toBe("open");
    requests = [];
    await pass(600_000);
    expect(requests).toEqual([]);
  });

  test("checkAccess() checks the channel, and keeps the connection", async () => {
    await lost();
    expect(socket.checkAccess()).toBe(true);
    await settle();
    expect(requests).toHaveLength(1);
    expect(socket.state).toBe("open");
    answer = ALLOWED;
    socket.checkAccess();
    await settle();
    expect(restored).toEqual(["rooms/a"]);
    expect(socket.checkAccess()).toBe(false);
  });

  test("forgets it when the app joins another channel", async () => {
    await lost();
    socket.channel = "rooms/b";
    await reconnected();
    await pass(600_000);
    expect(requests).toEqual([]);
    socket.close();
    answer = ALLOWED;
    await lost();
    answer = ALLOWED;
    socket.reconnect({ channel: "rooms/b" });
    await settle();
    newestWebSocket().emit("open");
    requests = [];
    await pass(600_000);
    expect(requests).toEqual([]);
  });

  test("stops when the socket is closed", async () => {
    await lost();
    await reconnected();
    socket.close();
    await pass(600_000);
    await fire("focus");
    expect(requests).toEqual([]);
  });
});

test("requests nothing while the page is hidden", async () => {
  await revoked();
  document.visibilityState = "hidden";
  await pass(600_000);
  await fire("visibilitychange");
  expect(requests).toEqual([]);
  document.visibilityState = "visible";
  await fire("visibilitychange");
  expect(requests).toHaveLength(1);
});

test("reports a denial for another reason, and does not repeat requests after a sign-out", async () => {
  await revoked();
  answer = { status: 401 };
  await pass(600_000);
  expect(events).toEqual([[401, "ref-1"]]);
  expect(requests).toHaveLength(1);
  // The user may have signed in on another page.
  answer = ALLOWED;
  await fire("focus");
  expect(socket.state).toBe("connecting");
});

test.each<Answer>(["network error", { status: 503 }, { status: 429, headers: { "retry-after": "5" } }])(
  "waits again after %j",
  async (failure) => {
    await revoked();
    answer = failure;
    await pass(5000);
    expect(requests).toHaveLength(1);
    expect(events).toEqual([]);
    answer = ALLOWED;
    await pass(15_000);
    expect(events).toEqual(["connecting"]);
  },
);

test("keeps to Retry-After when the page gets the focus", async () => {
  await revoked();
  answer = { status: 429, headers: { "retry-after": "60" } };
  await pass(5000);
  await fire("focus");
  expect(requests).toHaveLength(1);
  await pass(60_000);
  await fire("focus");
  expect(requests.length).toBeGreaterThan(1);
});

test("uses the waits of the option accessCheck, or requests nothing", async () => {
  await revoked({ accessCheck: { baseMs: 10, maxMs: 20 } });
  await pass(100);
  expect(requests).toEqual([10, 30, 50, 70, 90]);
  socket.close();
  answer = ALLOWED;
  await revoked({ accessCheck: false });
  await pass(600_000);
  await fire("focus");
  expect(requests).toEqual([]);
});

test("requests nothing without the option view, because a token would be issued each time", async () => {
  let calls = 0;
  const fetchWithoutView = async () => {
    calls++;
    return Response.json({ token: "t" });
  };
  open({ view: undefined as never, fetch: fetchWithoutView });
  await settle();
  newestWebSocket().emit("open");
  newestWebSocket().emit("message", '{"type":"sallyport.revoked","scope":"view","reference":"r"}');
  await pass(600_000);
  await fire("focus");
  expect(calls).toBe(1);
});

test("calls a token function again only after that function denied the connection", async () => {
  let calls = 0;
  await opened({
    token: async () => {
      if (++calls > 1) throw new CallError("No.", { status: 403, reference: "f" });
      return "t";
    },
  });
  newestWebSocket().emit("message", '{"type":"sallyport.revoked","scope":"view","reference":"r"}');
  await pass(600_000);
  expect(calls).toBe(1);
  socket.reconnect();
  await pass(40_000);
  expect(calls).toBe(5);
});

test("ends with close() and with reconnect()", async () => {
  await revoked();
  answer = ALLOWED;
  socket.reconnect();
  await settle();
  expect(requests).toHaveLength(1);
  await pass(20_000);
  expect(requests).toHaveLength(1);
  socket.close();
  answer = ALLOWED;
  await revoked();
  socket.close();
  await pass(600_000);
  await fire("focus");
  expect(requests).toEqual([]);
});

test("reports a failed handshake after access returned, and then tries again as usual", async () => {
  await revoked();
  answer = ALLOWED;
  await pass(5000);
  newestWebSocket().emit("close");
  await settle();
  expect(events.slice(0, 2)).toEqual(["connecting", "reconnecting"]);
});
