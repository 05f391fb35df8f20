import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { describe, expect, test } from "vitest";
import { expressMiddleware } from "../../src/adapters/express.ts";
import { honoMiddleware } from "../../src/adapters/hono.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import { INTERNAL } from "../../src/internal.ts";
import { answersEvents } from "./event-suite.ts";
import { FRAMEWORKS } from "./frameworks.ts";

// Next.js has its own file, next.test.ts.
describe.each(FRAMEWORKS)("behind $name", answersEvents);

test("ignores an answer that comes after another middleware has sent one", async () => {
  let goOn: () => void = () => undefined;
  const slow = new Promise<undefined>((resolve) => {
    goOn = () => resolve(undefined);
  });
  const failures: unknown[] = [];
  const app = express();
  app.use((_request, response, next) => {
    setImmediate(() => response.status(503).end("too late"));
    next();
  });
  app.use(
    expressMiddleware({
      [INTERNAL]: {
        start: () => undefined,
        answer: () => slow.then(() => ({ status: 200, headers: {}, body: "{}" })),
      },
    }),
  );
  const failed: express.ErrorRequestHandler = (error, _request, _response, next) => {
    failures.push(error);
    next(error);
  };
  app.use(failed);
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws/chat/default`;
  expect((await fetch(url)).status).toBe(503);
  goOn();
  // The late answer has been given when another request has been served.
  await fetch(url);
  expect(failures).toEqual([]);
  server.close();
});

test.each([["realtime"], ["/realtime/"], ["/"]])(
  "a prefix that no path begins with, %s, is rejected at startup",
  (prefix) => {
    const internals = { start: () => undefined, answer: async () => undefined };
    const app = { [INTERNAL]: internals, fetch: async () => undefined };
    expect(() => nodeListener(app, { prefix })).toThrow(/prefix must be a path that begins with \//);
    expect(() => honoMiddleware(app, { prefix })).toThrow(/prefix must be a path/);
  },
);
