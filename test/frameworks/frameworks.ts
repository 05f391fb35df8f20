import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import express from "express";
// @ts-expect-error: it has the types of version 5 under another name
import express4 from "express4";
import fastify from "fastify";
import { Hono } from "hono";
import { getRequestListener as getRequestListener1 } from "hono-node-server-1";
import { expressMiddleware } from "../../src/adapters/express.ts";
import { fastifyPlugin } from "../../src/adapters/fastify.ts";
import { honoMiddleware } from "../../src/adapters/hono.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import type { Report } from "./next-app.ts";

/** Settings of a framework before Sallyport is added. */
export interface SetUp {
  /** The prefix of Sallyport's paths. */
  readonly prefix?: string;
  /** Reads every body before Sallyport does, if the framework supports it. */
  readonly parser?: "json" | "text" | "raw";
  /** Trusts forwarded headers. */
  readonly trustsProxies?: boolean;
}

/** What an app needs to create its own Sallyport object. */
export interface Suite {
  /** Path of the SQLite file. */
  readonly database: string;
  readonly report: (reports: Report) => void;
}

export interface Framework {
  readonly name: string;
  readonly parsers: readonly NonNullable<SetUp["parser"]>[];
  /**
   * True if it resolves `..` before any code of the app, its own proxy included, receives the
   * request.
   */
  readonly resolvesPaths?: true;
  /** True if it ends a connection on which it did not read a large body to its end. */
  readonly endsUnread?: true;
  /**
   * An app with a route of its own, `/own` (with the prefix: `/realtime/own`), which answers "the
   * app's own".
   */
  serve(sallyport: Sallyport, setUp: SetUp, suite: Suite): RequestListener | Promise<RequestListener>;
  /** Stops what `serve` started. */
  close?(): Promise<void>;
}

const OWN = "the app's own";
const EVERYTHING = () => true;

const plainNode: Framework = {
  name: "node",
  parsers: [],
  serve: (sallyport, { prefix = "" }) => {
    const next: RequestListener = (request, response) => {
      response.writeHead(request.url === `${prefix}/own` ? 200 : 404).end(OWN);
    };
    return nodeListener(sallyport, { next, prefix });
  },
};

const ofExpress = (name: string, make: typeof express): Framework => ({
  name,
  parsers: ["json", "text", "raw"],
  serve: (sallyport, { prefix = "", parser, trustsProxies = false }) => {
    const app = make();
    app.set("trust proxy", trustsProxies);
    if (parser) app.use(make[parser]({ type: EVERYTHING, limit: "200kb" }));
    if (prefix === "") app.use(expressMiddleware(sallyport));
    else app.use(prefix, expressMiddleware(sallyport));
    app.get(`${prefix}/own`, (_request, response) => void response.send(OWN));
    return app;
  },
});

const ofFastify: Framework = {
  name: "fastify",
  parsers: ["json"],
  serve: async (sallyport, { prefix, trustsProxies = false }) => {
    // Its own JSON parser is always active.
    const app = fastify({ trustProxy: trustsProxies });
    await app.register(fastifyPlugin(sallyport), prefix === undefined ? {} : { prefix });
    app.get(`${prefix ?? ""}/own`, async () => OWN);
    await app.ready();
    return (request, response) => app.routing(request, response);
  },
};

const ofHono = (
  name: string,
  listenerOf: typeof getRequestListener,
  traits: Pick<Framework, "endsUnread"> = {},
): Framework => ({
  name,
  ...traits,
  parsers: ["json", "text", "raw"],
  serve: (sallyport, { prefix, parser }) => {
    const app = new Hono();
    if (parser) {
      app.use(async (context, next) => {
        if (parser === "json") await context.req.json().catch(() => undefined);
        else if (parser === "text") await context.req.text();
        else await context.req.arrayBuffer();
        await next();
      });
    }
    app.use(honoMiddleware(sallyport, prefix === undefined ? {} : { prefix }));
    app.get(`${prefix ?? ""}/own`, (context) => context.text(OWN));
    return listenerOf(app.fetch);
  },
});

/** All frameworks that need no build. Next.js is in next.test.ts. */
export const FRAMEWORKS: readonly Framework[] = [
  plainNode,
  ofExpress("express", express),
  ofExpress("express 4", express4 as typeof express),
  ofFastify,
  ofHono("hono", getRequestListener),
  ofHono("hono with @hono/node-server 1", getRequestListener1, { endsUnread: true }),
];
