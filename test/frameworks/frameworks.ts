import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import express from "express";
// @ts-expect-error: it has the types of version 5 under another name
import express4 from "express4";
import fastify from "fastify";
import { Hono } from "hono";
import { NextRequest } from "next/server.js";
import { expressMiddleware } from "../../src/adapters/express.ts";
import { fastifyPlugin } from "../../src/adapters/fastify.ts";
import { honoMiddleware } from "../../src/adapters/hono.ts";
import { nextHandlers } from "../../src/adapters/next.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import type { Sallyport } from "../../src/sallyport.ts";

/** How an app may have set up its framework before Sallyport comes. */
export interface SetUp {
  /** What comes before Sallyport's paths. */
  readonly prefix?: string;
  /** Reads every body before Sallyport does, where the framework has such a thing. */
  readonly parser?: "json" | "text" | "raw";
  /** Believes what proxies say of the client. */
  readonly trustsProxies?: boolean;
}

export interface Framework {
  readonly name: string;
  readonly parsers: readonly NonNullable<SetUp["parser"]>[];
  /** An app with a route of its own, `/own` (under the prefix: `/realtime/own`), which answers "the app's own". */
  serve(sallyport: Sallyport, setUp: SetUp): RequestListener | Promise<RequestListener>;
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

/** Its router is a build away from a test; its requests and what it does with a route's exports are here. */
const ofNext: Framework = {
  name: "next",
  parsers: [],
  serve: (sallyport, { prefix = "" }) => {
    const handlers = nextHandlers(sallyport);
    return getRequestListener(async (request) => {
      const whole = new URL(request.url);
      if (whole.pathname === `${prefix}/own`) return new Response(OWN);
      // As Next.js does with its basePath before a route is asked.
      if (!whole.pathname.startsWith(`${prefix}/`)) return new Response(null, { status: 404 });
      const url = new URL(whole.pathname.slice(prefix.length) + whole.search, whole);
      const handle = handlers[request.method as keyof typeof handlers];
      if (!handle) return new Response(null, { status: 405 });
      const { method, headers, body } = request;
      return handle(new NextRequest(url, { method, headers, ...(body ? { body, duplex: "half" } : {}) }));
    });
  },
};

export const FRAMEWORKS = [
  plainNode,
  ofExpress("express", express),
  ofExpress("express 4", express4 as typeof express),
  ofFastify,
  ofHono,
  ofNext,
];
