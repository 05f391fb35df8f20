import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { INTERNAL } from "../internal.ts";
import type { HttpResponse } from "../protocol/http.ts";
import { expressMiddleware } from "./express.ts";

const ANSWER: HttpResponse = { status: 200, headers: { "x-of": "sallyport" }, body: "{}" };

type Prepare = (response: ServerResponse) => void;

/** Serves the middleware as a framework does, and records what it returns and each call of `next`. */
async function framework(
  answer: () => Promise<HttpResponse | undefined>,
  prepare: Prepare = () => undefined,
) {
  const middleware = expressMiddleware({ [INTERNAL]: { start: () => undefined, answer } });
  const returned: unknown[] = [];
  const nextCalls: unknown[][] = [];
  const server = createServer((request: IncomingMessage, response) => {
    prepare(response);
    returned.push(
      middleware(request, response, (...given) => {
        nextCalls.push(given);
        if (!response.headersSent) response.writeHead(given[0] ? 500 : 404);
        response.end();
        return "the next one's" as never;
      }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/ws/chat/connect`, returned, nextCalls };
}

test("sends the response and does not call next when writeHead() returns nothing, as in restify", async () => {
  const { url, nextCalls, returned } = await framework(
    async () => ANSWER,
    (response) => {
      const { writeHead } = response;
      response.writeHead = ((...given: Parameters<typeof writeHead>) => {
        writeHead.apply(response, given);
      }) as never;
    },
  );
  const response = await fetch(url);
  expect([response.status, response.headers.get("x-of"), await response.text()]).toEqual([
    200,
    "sallyport",
    "{}",
  ]);
  expect(nextCalls).toEqual([]);
  expect(returned).toEqual([undefined]);
});

test("closes the connection and does not call next when the response fails after its headers", async () => {
  const { url, nextCalls } = await framework(
    async () => ANSWER,
    (response) => {
      response.end = () => {
        throw new Error("a compression middleware failed");
      };
    },
  );
  await expect(fetch(url).then((response) => response.text())).rejects.toThrow(/terminated|fetch failed/);
  expect(nextCalls).toEqual([]);
});

test("passes an error to next once when nothing was sent", async () => {
  const broken = new Error("broken");
  const { url, nextCalls } = await framework(() => Promise.reject(broken));
  expect((await fetch(url)).status).toBe(500);
  expect(nextCalls).toEqual([[broken]]);
});

test("calls next with an error when Node rejects a header of the answer", async () => {
  const { url, nextCalls } = await framework(async () => ({ ...ANSWER, headers: { "x-of": "\n" } }));
  expect((await fetch(url)).status).toBe(500);
  expect(nextCalls).toMatchObject([[{ code: "ERR_INVALID_CHAR" }]]);
});

test("calls next without an argument for other paths, and returns nothing", async () => {
  const { url, nextCalls, returned } = await framework(async () => undefined);
  expect((await fetch(url)).status).toBe(404);
  expect(nextCalls).toEqual([[]]);
  expect(returned).toEqual([undefined]);
});

test("calls next and returns nothing for a request with an invalid Host header", async () => {
  const { url, nextCalls, returned } = await framework(async () => ANSWER);
  const { hostname, port } = new URL(url);
  const { request } = await import("node:http");
  const outgoing = request({ hostname, port, headers: { host: "a/b" } }).end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  response.resume();
  expect(response.statusCode).toBe(404);
  expect(nextCalls).toEqual([[]]);
  expect(returned).toEqual([undefined]);
});

test("does not call next again when the next handler throws", async () => {
  let calls = 0;
  const middleware = expressMiddleware({
    [INTERNAL]: { start: () => undefined, answer: async () => undefined },
  });
  const thrown = new Error("thrown by the next handler");
  const uncaught = new Promise((resolve) => {
    const others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.once("unhandledRejection", (reason) => {
      for (const listener of others) process.on("unhandledRejection", listener);
      resolve(reason);
    });
  });
  const server = createServer((request, response) => {
    middleware(request, response, () => {
      calls++;
      response.end();
      throw thrown;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/own`);
  expect(await uncaught).toBe(thrown);
  expect(calls).toBe(1);
});
