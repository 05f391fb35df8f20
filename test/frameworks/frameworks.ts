import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import express from "express";
// @ts-expect-error: it has the types of version 5 under another name
import express4 from "express4";
import fastify from "fastify";
import { Hono } from "hono";
import { expressMiddleware } from "../../src/adapters/express.ts";
import { fastifyPlugin } from "../../src/adapters/fastify.ts";
import { honoMiddleware } from "../../src/adapters/hono.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import type { Sallyport } from "../../src/sallyport.ts";
import type { Heard } from "./next-app.ts";

/** How an app may have set up its framework before Sallyport comes. */
export interface SetUp {
  /** What comes before Sallyport's paths. */
  readonly prefix?: string;
  /** Reads every body before Sallyport does, where the framework has such a thing. */
  readonly parser?: "json" | "text" | "raw";
  /** Believes what proxies say of the client. */
  readonly trustsProxies?: boolean;
}

/** What an app needs that brings its own Sallyport. */
export interface Suite {
  /** The SQLite file's path. */
  readonly database: string;
  readonly hear: (heard: Heard) => void;
}

export interface Framework {
  readonly name: string;
  readonly parsers: readonly NonNullable<SetUp["parser"]>[];
  /** True if it resolves `..` before any code of the app, its own proxy included, receives the request. */
  readonly resolvesPaths?: true;
  /** An app with a route of its own, `/own` (under the prefix: `/realtime/own`), which answers "the app's own". */
  serve(sallyport: Sallyport, setUp: SetUp, suite: Suite): RequestListener | Promise<RequestListener>;
  /** Ends what `serve` began. */
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
    // Its own parser of JSON is always there.
    const app = fastify({ trustProxy: trustsProxies });
    await app.register(fastifyPlugin(sallyport), prefix === undefined ? {} : { prefix });
    app.get(`${prefix ?? ""}/own`, async () => OWN);
    await app.ready();
    return (request, response) => app.routing(request, response);
  },
};

const ofHono: Framework = {
  name: "hono",
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
    return getRequestListener(app.fetch);
  },
};

/** All that need no build; Next.js is in next.test.ts. */
export const FRAMEWORKS: readonly Framework[] = [
  plainNode,
  ofExpress("express", express),
  ofExpress("express 4", express4 as typeof express),
  ofFastify,
  ofHono,
];
