import { once } from "node:events";
import { Agent, createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { RefusedError } from "../errors.ts";
import type { HttpAnswer, HttpCall } from "../protocol/http-call.ts";
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

/** An app that answers with what `tell` makes of a call; one that refuses answers the refusal's status. */
function telling(tell: (http: HttpCall) => unknown): FetchApp {
  return {
    fetch: () => {
      throw new Error("not to be asked");
    },
    answer: async (http): Promise<HttpAnswer> => {
      try {
        return { status: 200, headers: { "x-of": "ours" }, body: JSON.stringify(await tell(http)) };
      } catch (error) {
        const status = error instanceof RefusedError ? error.status : 500;
        return { status, headers: {}, body: JSON.stringify({ error: (error as Error).message }) };
      }
    },
  };
}

/** The same app, asked as a router is: with a `Request` of the web. */
function byFetch(tell: (request: Request) => unknown): FetchApp {
  return { fetch: async (request) => Response.json(await tell(request)) };
}

async function ask(port: number, init: { body?: string | string[]; path?: string; headers?: object } = {}) {
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

const text = async (http: HttpCall, maxBytes = 100) => Buffer.from(await http.body(maxBytes)).toString();

test("a call has the method, the URL, the headers and the body of the request", async () => {
  const port = await listening(
    telling(async (http) => [
      http.method,
      http.url.pathname,
      http.url.search,
      http.header("connectionId"),
      http.header("x-twice"),
      http.header("x-none") ?? null,
      await text(http),
    ]),
  );
  const answer = await ask(port, { body: "wörld", headers: { ConnectionID: "c1", "X-Twice": ["1", "2"] } });
  expect(answer.json).toEqual(["POST", "/a/b", "?c=d", "c1", "1, 2", null, "wörld"]);
  expect(answer.headers).toMatchObject({
    "x-of": "ours",
    "content-length": String(Buffer.byteLength(JSON.stringify(answer.json))),
  });
});

test("the request of the web is the same one, and can be read by the app's code instead", async () => {
  const port = await listening(
    telling(async (http) => [
      http.request.method,
      http.request.url.replace(/:\d+/, ""),
      http.request.headers.get("x-twice"),
      await http.request.text(),
      new Set([http.request, http.request]).size,
    ]),
  );
  const answer = await ask(port, { body: "hello", headers: { "X-Twice": ["1", "2"] } });
  expect(answer.json).toEqual(["POST", "http://localhost/a/b?c=d", "1, 2", "hello", 1]);
});

test("a body is still there after the request of the web was looked at", async () => {
  const port = await listening(telling(async (http) => [http.request.headers.get("x-a"), await text(http)]));
  expect((await ask(port, { body: "hello", headers: { "x-a": "1" } })).json).toEqual(["1", "hello"]);
});

test.each([
  ["announced", "x".repeat(101)],
  ["in chunks", ["x".repeat(60), "x".repeat(41)]],
])("a body that is too large, %s, is 413, and the connection stays in step", async (_how, body) => {
  const port = await listening(telling((http) => text(http)));
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

test("a body of exactly the size allowed comes whole, in chunks too", async () => {
  const port = await listening(telling((http) => text(http)));
  const answer = await ask(port, { body: ["x".repeat(60), "y".repeat(40)] });
  expect(answer.json).toBe("x".repeat(60) + "y".repeat(40));
});

test("no body is an empty one, for both ways of asking", async () => {
  const port = await listening(telling(async (http) => [await text(http), http.request.body]));
  expect((await ask(port)).json).toEqual(["", null]);
  const router = await listening(byFetch(async (request) => [await request.text(), request.body]));
  expect((await ask(router)).json).toEqual(["", null]);
});

test.each([
  ["", false],
  [", after its Request was looked at", true],
])("a request that is cut in the middle of its body is refused%s, and harms nobody", async (_when, looks) => {
  const seen: unknown[] = [];
  let told: () => void = () => undefined;
  const cut = new Promise<void>((resolve) => {
    told = resolve;
  });
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const port = await listening(
    telling(async (http) => {
      begin();
      try {
        if (looks) http.request.headers.get("x");
        return await text(http);
      } catch (error) {
        seen.push((error as RefusedError).status, (error as Error).message);
        told();
        throw error;
      }
    }),
  );
  const socket = connect(port, "127.0.0.1");
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nhalf");
  await begun;
  socket.destroy();
  await cut;
  expect(seen).toEqual([400, "The request ended before its body did."]);
  expect((await ask(port, { body: "whole" })).json).toBe("whole");
});

test("a body that something has read before says so instead of waiting for good", async () => {
  const port = await listening(
    telling((http) => text(http)),
    {},
    async (incoming) => {
      for await (const _chunk of incoming.iterator({ destroyOnReturn: false }));
    },
  );
  const answer = await ask(port, { body: "hello" });
  expect(answer.status).toBe(500);
  expect(answer.json.error).toMatch(/^Something has read this request's body before Sallyport could\. Mount/);
  const looked = await listening(
    telling((http) => http.request.headers.get("x") ?? text(http)),
    {},
    async (incoming) => {
      for await (const _chunk of incoming.iterator({ destroyOnReturn: false }));
    },
  );
  expect((await ask(looked, { body: "hello" })).json.error).toMatch(/^Something has read/);
});

test("a router is asked by fetch, and what it leaves is the next one's", async () => {
  const next = async () =>
    listening(
      { fetch: () => undefined },
      { next: (incoming, outgoing) => outgoing.writeHead(418).end(`{"url":"${incoming.url}"}`) },
    );
  expect(await ask(await next())).toMatchObject({ status: 418, json: { url: "/a/b?c=d" } });
  const unanswered = await listening({ fetch: () => undefined });
  expect(await ask(unanswered)).toMatchObject({ status: 404, json: { ok: false, error: "Not found." } });
});

test("a response of several cookies keeps each of them", async () => {
  const headers = new Headers([
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
    ["x-b", "2"],
  ]);
  const port = await listening({ fetch: () => new Response("[]", { status: 201, headers }) });
  const answer = await ask(port);
  expect(answer).toMatchObject({ status: 201, json: [] });
  expect(answer.headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "x-b": "2" });
});

test.each([
  ["a host with a path in it", "POST / HTTP/1.1\r\nhost: x/y\r\n\r\n"],
  ["a target that is no URL", "POST http:// HTTP/1.1\r\nhost: x\r\n\r\n"],
  ["credentials in the target", "POST http://u:p@x/ HTTP/1.1\r\nhost: x\r\n\r\n"],
  ["TRACE", "TRACE / HTTP/1.1\r\nhost: x\r\n\r\n"],
])("%s is 400 before the app hears of it", async (_what, bytes) => {
  const port = await listening(telling(() => "heard"));
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect(chunk.toString()).toMatch(/^HTTP\/1\.1 400 /);
});

test("what the app throws is told, and an empty 500 to the peer", async () => {
  const errors: unknown[] = [];
  const port = await listening(
    {
      fetch: () => {
        throw new Error("broken");
      },
    },
    { onError: (error) => errors.push(error) },
  );
  expect(await ask(port)).toMatchObject({ status: 500, json: undefined });
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
