import { once } from "node:events";
import { Agent, createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { RequestError } from "../errors.ts";
import { INTERNAL } from "../internal.ts";
import type { HttpRequest, HttpResponse } from "../protocol/http.ts";
import { type FetchApp, nodeListener } from "./node.ts";

type Options = Parameters<typeof nodeListener>[1];

async function listening(app: FetchApp, options?: Options, before?: (incoming: IncomingMessage) => unknown) {
  const listener = nodeListener(app, options);
  const server = createServer(async (incoming, outgoing) => {
    await before?.(incoming);
    listener(incoming, outgoing);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Returns an app that answers with the result of `handle`, or with the status of its error. */
function appWith(handle: (http: HttpRequest) => unknown): FetchApp {
  return {
    fetch: () => {
      throw new Error("must not be called");
    },
    [INTERNAL]: {
      start: () => undefined,
      answer: async (http): Promise<HttpResponse> => {
        try {
          return { status: 200, headers: { "x-of": "ours" }, body: JSON.stringify(await handle(http)) };
        } catch (error) {
          const status = error instanceof RequestError ? error.status : 500;
          return { status, headers: {}, body: JSON.stringify({ error: (error as Error).message }) };
        }
      },
    },
  };
}

/** Returns an app that is called with a web `Request`, as a router is. */
function byFetch(handle: (request: Request) => unknown): FetchApp {
  return { fetch: async (request) => Response.json(await handle(request)) };
}

async function postTo(
  port: number,
  init: { body?: string | string[]; path?: string; headers?: object } = {},
) {
  const { body = "", path = "/a/b?c=d", headers = {} } = init;
  const outgoing = httpRequest({ port, path, method: "POST", headers: { ...headers } });
  if (typeof body === "string") outgoing.end(body);
  else {
    for (const chunk of body) outgoing.write(chunk);
    outgoing.end();
  }
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return {
    status: response.statusCode,
    headers: response.headers,
    json: text ? JSON.parse(text) : undefined,
  };
}

const text = async (http: HttpRequest, maxBytes = 100) => Buffer.from(await http.body(maxBytes)).toString();

test("a call has the method, the URL, the headers and the body of the request", async () => {
  const port = await listening(
    appWith(async (http) => [
      http.method,
      http.url.pathname,
      http.url.search,
      http.header("connectionId"),
      http.header("x-twice"),
      http.header("x-none") ?? null,
      await text(http),
    ]),
  );
  const answer = await postTo(port, {
    body: "wörld",
    headers: { ConnectionID: "c1", "X-Twice": ["1", "2"] },
  });
  expect(answer.json).toEqual(["POST", "/a/b", "?c=d", "c1", "1, 2", null, "wörld"]);
  expect(answer.headers).toMatchObject({
    "x-of": "ours",
    "content-length": String(Buffer.byteLength(JSON.stringify(answer.json))),
  });
});

test("the web Request of a call is created once, and the app can read its body", async () => {
  const port = await listening(
    appWith(async (http) => [
      http.request.method,
      http.request.url.replace(/:\d+/, ""),
      http.request.headers.get("x-twice"),
      await http.request.text(),
      new Set([http.request, http.request]).size,
    ]),
  );
  const answer = await postTo(port, { body: "hello", headers: { "X-Twice": ["1", "2"] } });
  expect(answer.json).toEqual(["POST", "http://localhost/a/b?c=d", "1, 2", "hello", 1]);
});

test("a body can be read after the headers of the web Request were read", async () => {
  const port = await listening(appWith(async (http) => [http.request.headers.get("x-a"), await text(http)]));
  expect((await postTo(port, { body: "hello", headers: { "x-a": "1" } })).json).toEqual(["1", "hello"]);
});

test.each([
  ["announced", "x".repeat(101)],
  ["in chunks", ["x".repeat(60), "x".repeat(41)]],
])("a body that is too large, %s, gets 413, and the connection stays usable", async (_how, body) => {
  const port = await listening(appWith((http) => text(http)));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const post = async (chunks: string | string[]) => {
    const outgoing = httpRequest({ port, path: "/", method: "POST", agent });
    for (const chunk of typeof chunks === "string" ? [] : chunks) outgoing.write(chunk);
    outgoing.end(typeof chunks === "string" ? chunks : undefined);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    response.resume();
    await once(response, "end");
    return [response.statusCode, outgoing.reusedSocket];
  };
  expect(await post(body)).toEqual([413, false]);
  expect(await post("x".repeat(100))).toEqual([200, true]);
});

test("a body of exactly the allowed size is read completely when it is sent in chunks", async () => {
  const port = await listening(appWith((http) => text(http)));
  const answer = await postTo(port, { body: ["x".repeat(60), "y".repeat(40)] });
  expect(answer.json).toBe("x".repeat(60) + "y".repeat(40));
});

test("a missing body is read as an empty one, from a call and from a web Request", async () => {
  const port = await listening(appWith(async (http) => [await text(http), http.request.body]));
  expect((await postTo(port)).json).toEqual(["", null]);
  const router = await listening(byFetch(async (request) => [await request.text(), request.body]));
  expect((await postTo(router)).json).toEqual(["", null]);
});

test.each([
  ["", false],
  [", after its Request was looked at", true],
])(
  "a request that is aborted within its body is rejected with 400%s, and later requests succeed",
  async (_when, looks) => {
    const seen: unknown[] = [];
    let reportCut: () => void = () => undefined;
    const cut = new Promise<void>((resolve) => {
      reportCut = resolve;
    });
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const port = await listening(
      appWith(async (http) => {
        begin();
        try {
          if (looks) http.request.headers.get("x");
          return await text(http);
        } catch (error) {
          seen.push((error as RequestError).status, (error as Error).message);
          reportCut();
          throw error;
        }
      }),
    );
    const socket = connect(port, "127.0.0.1");
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nhalf");
    await begun;
    socket.destroy();
    await cut;
    expect(seen).toEqual([
      400,
      "The client closed the connection before the end of the body. Send the request again.",
    ]);
    expect((await postTo(port, { body: "whole" })).json).toBe("whole");
  },
);

test("a body that was already read causes an error instead of waiting forever", async () => {
  const port = await listening(
    appWith((http) => text(http)),
    {},
    async (incoming) => {
      for await (const _chunk of incoming.iterator({ destroyOnReturn: false }));
    },
  );
  const answer = await postTo(port, { body: "hello" });
  expect(answer.status).toBe(500);
  expect(answer.json.error).toMatch(
    /^The body of the request was read before Sallyport could read it\. Mount/,
  );
  const looked = await listening(
    appWith((http) => http.request.headers.get("x") ?? text(http)),
    {},
    async (incoming) => {
      for await (const _chunk of incoming.iterator({ destroyOnReturn: false }));
    },
  );
  expect((await postTo(looked, { body: "hello" })).json.error).toMatch(
    /^The body of the request was read before/,
  );
});

test("a request that fetch() does not answer goes to next, or gets 404 without next", async () => {
  const next = async () =>
    listening(
      { fetch: () => undefined },
      { next: (incoming, outgoing) => outgoing.writeHead(418).end(`{"url":"${incoming.url}"}`) },
    );
  expect(await postTo(await next())).toMatchObject({ status: 418, json: { url: "/a/b?c=d" } });
  const unanswered = await listening({ fetch: () => undefined });
  expect(await postTo(unanswered)).toMatchObject({ status: 404, json: { ok: false, error: "Not found." } });
});

test("a response with several cookies keeps each cookie", async () => {
  const headers = new Headers([
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
    ["x-b", "2"],
  ]);
  const port = await listening({ fetch: () => new Response("[]", { status: 201, headers }) });
  const answer = await postTo(port);
  expect(answer).toMatchObject({ status: 201, json: [] });
  expect(answer.headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "x-b": "2" });
});

test.each([
  ["a host with a path in it", "POST / HTTP/1.1\r\nhost: x/y\r\n\r\n"],
  ["a target that is no URL", "POST http:// HTTP/1.1\r\nhost: x\r\n\r\n"],
  ["credentials in the target", "POST http://u:p@x/ HTTP/1.1\r\nhost: x\r\n\r\n"],
  ["TRACE", "TRACE / HTTP/1.1\r\nhost: x\r\n\r\n"],
])("%s gets 400, and the app is not called", async (_what, bytes) => {
  const port = await listening(appWith(() => "heard"));
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect(chunk.toString()).toMatch(/^HTTP\/1\.1 400 /);
});

test("an error of the app is passed to onError, and the client receives an empty 500", async () => {
  const errors: unknown[] = [];
  const port = await listening(
    {
      fetch: () => {
        throw new Error("broken");
      },
    },
    { onError: (error) => errors.push(error) },
  );
  expect(await postTo(port)).toMatchObject({ status: 500, json: undefined });
  expect(errors.map(String)).toEqual(["Error: broken"]);
});

test("rejects misspelled options and a prefix that is not a path", () => {
  const app = { fetch: () => undefined };
  expect(() => nodeListener(app, { nxt: () => {} } as never)).toThrow(
    /nodeListener\(\): nxt is not an option\. Did you mean "next"\?/,
  );
  expect(() => nodeListener(app, { prefix: "realtime/" })).toThrow(
    /nodeListener\(\): prefix must be a path that begins with \/ .* but received "realtime\/"\./,
  );
  expect(() => nodeListener(app, { onError: true } as never)).toThrow(/onError must be a function/);
});
