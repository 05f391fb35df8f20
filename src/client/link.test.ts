import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ManualWebSocket } from "../../test/manual-web-socket.ts";
import { CallError } from "./calls.ts";
import { checkEnvironment, Link, type LinkOptions } from "./link.ts";

/** The events that the links reported. */
let events: unknown[];
let tokens: number;
let links: Link[];
beforeEach(() => {
  vi.useFakeTimers();
  ManualWebSocket.opened = [];
  events = [];
  tokens = 0;
  links = [];
});
afterEach(() => {
  for (const link of links) link.close();
  vi.useRealTimers();
});

function dial(options: Partial<LinkOptions> = {}, channel?: string): Link {
  const link = new Link(
    { url: "wss://ws.example.com/dev", WebSocket: ManualWebSocket, ...options },
    channel,
    {
      token: () => void tokens++,
      open: () => events.push("open"),
      text: (text) => events.push(text),
      end: (error) => events.push(error === undefined ? "end" : error),
    },
  );
  links.push(link);
  return link;
}

/** The socket of the only link. */
async function socket(): Promise<ManualWebSocket> {
  await vi.advanceTimersByTimeAsync(0);
  expect(ManualWebSocket.opened).toHaveLength(1);
  return ManualWebSocket.opened[0] as ManualWebSocket;
}

const messages = () => events.map((event) => (event instanceof Error ? event.message : event));

describe("the URL of a socket", () => {
  test.each<[url: string, token: string | undefined, channel: string | undefined, expected: string]>([
    ["wss://a.example/dev", undefined, undefined, "wss://a.example/dev"],
    ["wss://a.example/dev", "t", undefined, "wss://a.example/dev?ws_token=t"],
    ["wss://a.example/dev", undefined, "c", "wss://a.example/dev?channel=c"],
    [
      "wss://a.example/dev?x=1",
      "t&u=v",
      "a b#?",
      "wss://a.example/dev?x=1&ws_token=t%26u%3Dv&channel=a%20b%23%3F",
    ],
  ])("of %s with the token %s and the channel %s is %s", async (url, token, channel, expected) => {
    dial(token === undefined ? { url } : { url, token: async () => token }, channel);
    expect((await socket()).url).toBe(expected);
  });
});

describe("a link", () => {
  test("reports that it is open, its text frames, and its end once", async () => {
    dial();
    const webSocket = await socket();
    webSocket.emit("open");
    webSocket.emit("message", "one");
    webSocket.emit("message", new ArrayBuffer(3));
    webSocket.emit("message", Buffer.from("binary"));
    webSocket.emit("error");
    webSocket.emit("close");
    webSocket.emit("close");
    expect(events).toEqual(["open", "one", "end"]);
    expect(tokens).toBe(1);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(events).toHaveLength(3);
  });

  test("reports a failed handshake as an error", async () => {
    dial();
    (await socket()).emit("close");
    expect(messages()).toEqual([expect.stringMatching(/^The WebSocket handshake failed\./)]);
  });

  test.each<[advice: string, Partial<LinkOptions>]>([
    [
      'Check the url, and set the option "view" so that the token endpoint reports the reason.',
      { token: "/api/ws-token" },
    ],
    [
      "Check that the url is the WebSocket URL of the view /ws/chat, and read the denial in the output of the server.",
      { token: "/api/ws-token", view: "/ws/chat" },
    ],
    ["Check that the url is the WebSocket URL of the view, and read the denial", {}],
    ["Check that the url is the WebSocket URL of the view, and read", { token: async () => "token" }],
  ])("a failed handshake contains the advice %s", async (advice, options) => {
    const fetch = async () => Response.json({ token: "token" });
    dial({ fetch, ...options });
    (await socket()).emit("close");
    expect(messages()).toEqual([expect.stringContaining(`denied the connection. ${advice}`)]);
  });

  test("reports nothing after close(), which closes the socket", async () => {
    const link = dial();
    const webSocket = await socket();
    link.close();
    expect(webSocket.isClosed).toBe(true);
    for (const type of ["open", "message", "close"]) webSocket.emit(type, "text");
    link.end(new Error("late"));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(events).toEqual([]);
  });

  test("reports the error that end() was called with, and closes the socket", async () => {
    const link = dial();
    const webSocket = await socket();
    webSocket.emit("open");
    link.end(new Error("no answer"));
    link.end(new Error("again"));
    webSocket.emit("message", "late");
    expect(messages()).toEqual(["open", "no answer"]);
    expect(webSocket.isClosed).toBe(true);
  });

  test("sends only while the socket is open", async () => {
    let issue: (token: string) => void = () => undefined;
    const token = new Promise<string>((resolve) => {
      issue = resolve;
    });
    const link = dial({ token: () => token });
    expect(link.send("early")).toBe(false);
    issue("t");
    const webSocket = await socket();
    for (const [state, isSent] of [
      [0, false],
      [1, true],
      [2, false],
      [3, false],
    ] as const) {
      webSocket.readyState = state;
      expect([state, link.send(`in ${state}`)]).toEqual([state, isSent]);
    }
    expect(webSocket.sent).toEqual(["in 1"]);
  });

  test.each([[undefined, 40_000] as const, [5000, 5000] as const])(
    "with a connectTimeoutMs of %s ends after %i ms without an open socket",
    async (connectTimeoutMs, ms) => {
      dial(connectTimeoutMs === undefined ? {} : { connectTimeoutMs });
      const webSocket = await socket();
      await vi.advanceTimersByTimeAsync(ms - 1);
      expect(events).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      expect(messages()).toEqual([`Not connected after ${ms} ms. Check the url, or raise connectTimeoutMs.`]);
      expect(webSocket.isClosed).toBe(true);
    },
  );

  test("has no timer once it is open or closed", async () => {
    dial();
    (await socket()).emit("open");
    expect(vi.getTimerCount()).toBe(0);
    dial().close();
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each([Number.POSITIVE_INFINITY, 2 ** 40])(
    "waits for the open socket with a connectTimeoutMs of %s",
    async (ms) => {
      dial({ connectTimeoutMs: ms });
      await socket();
      await vi.advanceTimersByTimeAsync(100_000);
      expect(events).toEqual([]);
    },
  );

  describe("that is checked", () => {
    async function opened() {
      const link = dial();
      const webSocket = await socket();
      webSocket.readyState = 1;
      webSocket.emit("open");
      return { link, webSocket };
    }

    test("ends if nothing is received in time", async () => {
      const { link, webSocket } = await opened();
      link.check("ping", 5000);
      await vi.advanceTimersByTimeAsync(4999);
      expect(events).toEqual(["open"]);
      await vi.advanceTimersByTimeAsync(1);
      expect(events).toEqual(["open", "end"]);
      expect(webSocket.sent).toEqual(["ping"]);
    });

    test.each([Number.POSITIVE_INFINITY, 2 ** 40])("stays open with a time-out of %s ms", async (ms) => {
      const { link } = await opened();
      link.check("ping", ms);
      await vi.advanceTimersByTimeAsync(100_000);
      expect(events).toEqual(["open"]);
    });

    test("ends at the earliest of the times, and sends no message for a later one", async () => {
      const { link, webSocket } = await opened();
      link.check("first", 30_000);
      link.check("later", 30_000);
      await vi.advanceTimersByTimeAsync(1000);
      link.check("sooner", 5000);
      await vi.advanceTimersByTimeAsync(2000);
      link.check("later", 5000);
      await vi.advanceTimersByTimeAsync(2999);
      expect(events).toEqual(["open"]);
      await vi.advanceTimersByTimeAsync(1);
      expect(events).toEqual(["open", "end"]);
      expect(webSocket.sent).toEqual(["first", "sooner"]);
    });

    test("stays open if something is received, and can be checked again", async () => {
      const { link, webSocket } = await opened();
      link.check("one", 5000);
      webSocket.emit("message", "answer");
      await vi.advanceTimersByTimeAsync(10_000);
      link.check("two", 30_000);
      await vi.advanceTimersByTimeAsync(29_999);
      expect(events).toEqual(["open", "answer"]);
      await vi.advanceTimersByTimeAsync(1);
      expect(events).toEqual(["open", "answer", "end"]);
    });
  });

  test("reports a WebSocket that cannot be created", async () => {
    class Failing extends ManualWebSocket {
      constructor(url: string) {
        super(url);
        throw new SyntaxError("bad URL");
      }
    }
    dial({ WebSocket: Failing });
    await vi.advanceTimersByTimeAsync(0);
    expect(messages()).toEqual([expect.stringMatching(/bad URL\. The WebSocket handshake failed/)]);
  });
});

describe("the token endpoint", () => {
  /** Creates a link with a token endpoint that answers with a response. */
  async function answeredWith(response: () => Response, options: Partial<LinkOptions> = {}) {
    const requests: [input: unknown, init: RequestInit | undefined][] = [];
    const link = dial(
      {
        token: "/api/ws-token",
        fetch: async (input, init) => {
          requests.push([input, init]);
          return response();
        },
        ...options,
      },
      "rooms/a",
    );
    await vi.advanceTimersByTimeAsync(0);
    return { requests, link };
  }
  const json = (body: unknown, init: ResponseInit = {}) => new Response(JSON.stringify(body), init);

  test("receives the view and the channel, and its token is used", async () => {
    const { requests } = await answeredWith(() => json({ token: "t-1" }), { view: "/ws/chat" });
    expect(requests).toMatchObject([
      ["/api/ws-token", { method: "POST", credentials: "include", cache: "no-store" }],
    ]);
    expect(JSON.parse(String(requests[0]?.[1]?.body))).toEqual({ view: "/ws/chat", channel: "rooms/a" });
    expect((await socket()).url).toMatch(/\?ws_token=t-1&channel=/);
  });

  test("is aborted by close(), and a late token opens no socket", async () => {
    const { requests, link } = await answeredWith(() => json({ token: "t" }), {});
    expect(requests[0]?.[1]?.signal?.aborted).toBe(false);
    link.close();
    expect(requests[0]?.[1]?.signal?.aborted).toBe(true);
    let issue: (token: string) => void = () => undefined;
    const token = new Promise<string>((resolve) => {
      issue = resolve;
    });
    ManualWebSocket.opened = [];
    dial({ token: () => token }).close();
    issue("t");
    await vi.advanceTimersByTimeAsync(0);
    expect(ManualWebSocket.opened).toEqual([]);
    expect(events).toEqual([]);
  });

  test.each([{}, null, { token: 7 }, { token: null }, [], "text"])(
    "that answers with %j causes an error",
    async (body) => {
      await answeredWith(() => json(body));
      expect(messages()).toEqual([
        '/api/ws-token answered without a token. Set "token" to the URL of the token endpoint.',
      ]);
      expect(ManualWebSocket.opened).toEqual([]);
    },
  );

  test.each<[what: string, response: () => Response, expected: object]>([
    [
      "error and reference",
      () => json({ error: "No.", reference: "r" }, { status: 403 }),
      { status: 403, message: "No.", reference: "r" },
    ],
    [
      "fields of another kind",
      () => json({ error: 7, reference: 7 }, { status: 401, statusText: "Unauthorized" }),
      { status: 401, message: "Unauthorized", reference: "" },
    ],
    [
      "no JSON",
      () => new Response("<html>", { status: 502 }),
      { status: 502, message: "The token request was rejected. Check the token endpoint.", reference: "" },
    ],
    [
      "null",
      () => json(null, { status: 500 }),
      { status: 500, message: "The token request was rejected. Check the token endpoint.", reference: "" },
    ],
  ])("that rejects with %s ends the link with this error", async (_, response, expected) => {
    await answeredWith(response);
    expect(events).toHaveLength(1);
    expect(events[0]).toBeInstanceOf(CallError);
    expect(events[0]).toMatchObject({ ...expected, sent: false });
    expect(ManualWebSocket.opened).toEqual([]);
  });

  test.each<[header: string | undefined, ms: number | undefined]>([
    [undefined, undefined],
    ["", undefined],
    ["0", 0],
    ["7", 7000],
    ["3600", 3_600_000],
    ["999999999", 3_600_000],
    ["soon", undefined],
    ["7x", undefined],
    ["x7", undefined],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Wed, 31 Dec 2025 23:59:00 GMT", 0],
    ["Thu, 01 Jan 2032 00:00:00 GMT", 3_600_000],
    ["2032-01-01", 3_600_000],
  ])("that answers with Retry-After %j sets retryAfterMs to %s", async (header, ms) => {
    vi.setSystemTime(Date.UTC(2026, 0, 1));
    const headers = new Headers(header === undefined ? [] : [["retry-after", header]]);
    await answeredWith(() => json({ error: "Busy." }, { status: 429, headers }));
    expect((events[0] as CallError).retryAfterMs).toBe(ms);
  });

  test("that sends a Retry-After date is measured by its Date header, not the page's clock", async () => {
    vi.setSystemTime(Date.UTC(2026, 5, 1));
    const headers = new Headers({
      "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT",
      date: "Thu, 01 Jan 2026 00:00:00 GMT",
    });
    await answeredWith(() => json({ error: "Busy." }, { status: 429, headers }));
    expect((events[0] as CallError).retryAfterMs).toBe(30_000);
  });
});

describe("an environment", () => {
  const WebSocket = ManualWebSocket;

  test.each(["ws://a", "WSS://a/b", "wss://a.example:8443/dev?x=1", "ws://[::1]:3000"])(
    "accepts %s",
    (url) => {
      expect(() => checkEnvironment({ url, WebSocket })).not.toThrow();
    },
  );

  test.each([
    undefined,
    ["wss://a"],
    "",
    "a",
    "http://wss://a",
    "xwss://a",
    "wss:/a",
    "wss:///a",
    "wss://?a",
    "wss://#a",
    "wss://a#b",
    "wss://a b/",
  ])("rejects the url %j", (url) => {
    expect(() => checkEnvironment({ url: url as string, WebSocket })).toThrow(TypeError);
  });

  test("needs a WebSocket, global or from the options, and random values", () => {
    const url = "wss://a.example";
    vi.stubGlobal("WebSocket", undefined);
    expect(() => checkEnvironment({ url })).toThrow(/has no WebSocket/);
    expect(() => checkEnvironment({ url, WebSocket })).not.toThrow();
    vi.stubGlobal("WebSocket", ManualWebSocket);
    expect(() => checkEnvironment({ url })).not.toThrow();
    for (const crypto of [undefined, {}]) {
      vi.stubGlobal("crypto", crypto);
      expect(() => checkEnvironment({ url })).toThrow(/no crypto\.getRandomValues/);
    }
    vi.unstubAllGlobals();
  });
});
