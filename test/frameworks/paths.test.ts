import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import express, { type Express } from "express";
// @ts-expect-error: it has the types of version 5 under another name
import express4 from "express4";
import fastify, { type FastifyServerOptions } from "fastify";
import { Hono } from "hono";
import { describe, expect, onTestFinished, test } from "vitest";
import { expressMiddleware } from "../../src/adapters/express.ts";
import { fastifyPlugin } from "../../src/adapters/fastify.ts";
import { honoMiddleware } from "../../src/adapters/hono.ts";
import { nodeListener } from "../../src/adapters/node.ts";
import { definePermissions } from "../../src/permissions/define.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { hostileTargets, requestAsWritten, strippedTargets } from "./hostile-targets.ts";

const chat = definePermissions("chat", { use: "Use" });
class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  static override receiveOnly = true;
}
const PATHS = ["/api/ws-token", "/ws/chat/default"] as const;

/** @param prefix prefix of the paths of the view and of the token endpoint */
async function app(prefix = ""): Promise<Sallyport> {
  const sallyport = createSallyport({
    storage: sqlite(":memory:"),
    permissions: [chat],
    views: { [`${prefix}/ws/chat`]: ChatView },
    token: { path: `${prefix}/api/ws-token` },
    authenticate: () => null,
    origins: ["https://www.example.com"],
  });
  await sallyport.migrate();
  onTestFinished(() => sallyport.close());
  return sallyport;
}

async function listening(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Returns the targets that reached Sallyport, which answers 401 or 403 here. */
async function reaching(url: string, targets: readonly string[]): Promise<readonly unknown[]> {
  const reached: unknown[] = [];
  for (const target of targets) {
    const { status } = await requestAsWritten(url, target);
    if (![400, 404].includes(status)) reached.push([target, status]);
  }
  return reached;
}

/** Returns the path below a mount path in other letter cases. */
const otherCases = (path: string) =>
  ["/REALTIME", "/Realtime", "/realtimE"].map((mount) => `${mount}${path}`);

const hostile = (path: string) => [...hostileTargets(path), ...strippedTargets(path)];

describe.each([
  ["express", express],
  ["express 4", express4 as typeof express],
])("%s", (_name, make) => {
  /** @param mount adds Sallyport behind a check that answers 418 for /api and /ws */
  const guarded = async (mount: (server: Express, sallyport: Sallyport) => void) => {
    const server = make();
    server.use(["/api", "/ws", "/realtime"], (_request, response) => void response.sendStatus(418));
    mount(server, await app());
    return listening(server);
  };

  test("lets no request past a check of the app that is in front of Sallyport", async () => {
    const url = await guarded((server, sallyport) => server.use(expressMiddleware(sallyport)));
    for (const path of PATHS) {
      const passed = (await reaching(url, hostile(path))).filter(
        (each) => (each as [string, number])[1] !== 418,
      );
      expect(passed).toEqual([]);
    }
  });

  test("lets no request past a check in front of a path with a parameter", async () => {
    const url = await guarded((server, sallyport) => {
      server.use("/:tenant", expressMiddleware(sallyport));
    });
    for (const path of PATHS) {
      expect(await reaching(url, [`/acme${path}`])).toHaveLength(1);
      const targets = ["..", ".", "%2e%2e", "..%2f", "x%2f..", "\\..", "%72ealtime"].map(
        (one) => `/${one}${path}`,
      );
      expect(await reaching(url, targets)).toEqual([]);
    }
  });

  /** @param mount adds Sallyport behind a check that answers 418 for raw paths that begin with /realtime/ */
  const checkedByRawPath = async (mount: (server: Express) => Promise<unknown>) => {
    const server = make();
    await mount(server);
    return listening((request, response) => {
      if (request.url?.startsWith("/realtime/")) response.writeHead(418).end();
      else server(request, response);
    });
  };

  // The remedies of docs/reference/adapters.md: Express ignores the case of a mount path, and middleware cannot see its configured spelling.
  test("does not ignore the letter case of a mount path with case-sensitive routing", async () => {
    const url = await checkedByRawPath(async (server) => {
      server.set("case sensitive routing", true);
      server.use("/realtime", expressMiddleware(await app()));
    });
    for (const path of PATHS) {
      expect((await requestAsWritten(url, `/realtime${path}`)).status).toBe(418);
      expect(await reaching(url, otherCases(path))).toEqual([]);
    }
  });

  test("lets no case of a mount path past a check that the same router mounts", async () => {
    const url = await guarded((server, sallyport) => server.use("/realtime", expressMiddleware(sallyport)));
    for (const path of PATHS) {
      const statuses = (await reaching(url, otherCases(path))).map((each) => (each as [string, number])[1]);
      expect(statuses).toEqual([418, 418, 418]);
    }
  });

  test("lets no case of a path past a check where Sallyport has no mount path", async () => {
    const url = await checkedByRawPath(async (server) =>
      server.use(expressMiddleware(await app("/realtime"))),
    );
    for (const path of PATHS) {
      expect((await requestAsWritten(url, `/realtime${path}`)).status).toBe(418);
      expect(await reaching(url, otherCases(path))).toEqual([]);
    }
  });

  test("reads the path that a rewriting middleware has set", async () => {
    const server = make();
    server.use((request, _response, next) => {
      request.url = request.url.replace("/legacy/token", "/api/ws-token");
      next();
    });
    server.use(expressMiddleware(await app()));
    const url = await listening(server);
    expect((await requestAsWritten(url, "/legacy/token")).status).toBe(401);
    expect(await reaching(url, hostileTargets("/legacy/token"))).toEqual([]);
  });
});

describe("fastify", () => {
  const served = async (options: FastifyServerOptions, prefix: string) => {
    const server = fastify(options);
    await server.register(fastifyPlugin(await app()), { prefix });
    await server.ready();
    return listening((request, response) => server.routing(request, response));
  };

  test.each<[string, FastifyServerOptions["routerOptions"] & { useSemicolonDelimiter?: boolean }]>([
    ["case", { caseSensitive: false }],
    ["trailing slashes", { ignoreTrailingSlash: true }],
    ["repeated slashes", { ignoreDuplicateSlashes: true }],
    ["what follows a semicolon", { useSemicolonDelimiter: true }],
  ])("leaves other spellings of a path to the app when Fastify ignores %s", async (_what, routerOptions) => {
    for (const prefix of ["", "/realtime", "/:tenant"]) {
      const url = await served({ routerOptions }, prefix);
      for (const own of PATHS) {
        const path = prefix.replace(":tenant", "acme") + own;
        expect(await reaching(url, [path])).toHaveLength(1);
        // Another name of a tenant is another path, in any encoding.
        if (prefix !== "/:tenant") expect(await reaching(url, hostile(path))).toEqual([]);
        const up = prefix.replace(":tenant", "..");
        const below = hostile(own).filter((target) => /^[/\\]/.test(target));
        expect(
          await reaching(
            url,
            below.map((target) => `${up}${target}`),
          ),
        ).toEqual([]);
      }
    }
  });

  test.each(["/realtime", "/realtime/", "/:tenant/realtime", "/v1-:tenant/realtime", "/café/realtime"])(
    "leaves other cases of the prefix %s to the app when Fastify ignores case",
    async (prefix) => {
      const url = await served({ routerOptions: { caseSensitive: false } }, prefix);
      const before = prefix
        .replace(":tenant", "Acme")
        .replace("é", "%C3%A9")
        .replace(/realtime\/?$/, "");
      for (const path of PATHS) {
        expect(await reaching(url, [`${before}realtime${path}`])).toHaveLength(1);
        expect(
          await reaching(
            url,
            otherCases(path).map((target) => `${before}${target.slice(1)}`),
          ),
        ).toEqual([]);
      }
    },
  );

  test("accepts a prefix with capital letters as it is written", async () => {
    const url = await served({ routerOptions: { caseSensitive: false } }, "/Realtime");
    expect(await reaching(url, ["/Realtime/api/ws-token"])).toHaveLength(1);
    expect(await reaching(url, ["/realtime/api/ws-token", "/REALTIME/api/ws-token"])).toEqual([]);
  });

  test("answers a route name of 100 characters or more like any other", async () => {
    const url = await served({}, "");
    for (const length of [99, 100, 101, 128, 1000]) {
      const target = `/ws/chat/${"x".repeat(length)}`;
      expect([length, (await requestAsWritten(url, target)).status]).toEqual([length, 403]);
    }
    expect(await reaching(url, ["/ws/chat", "/ws/chat/", "/ws/chat/a/b", "/ws/chat/a%2fb"])).toEqual([]);
  });

  test("keeps routes of the app below a view's path", async () => {
    const server = fastify();
    await server.register(fastifyPlugin(await app()));
    server.get("/ws/chat/rooms/:room", async () => "a room");
    server.post("/ws/chat/history", async () => "the history");
    await server.ready();
    const url = await listening((request, response) => server.routing(request, response));
    expect((await requestAsWritten(url, "/ws/chat/rooms/1", { method: "GET" })).status).toBe(200);
    expect((await requestAsWritten(url, "/ws/chat/history")).status).toBe(200);
    expect((await requestAsWritten(url, "/ws/chat/default")).status).toBe(403);
  });
});

describe("hono", () => {
  test.each([
    ["a sub-app", (root: Hono, sub: Hono) => root.route("/realtime", sub), "/realtime"],
    ["a mounted app", (root: Hono, sub: Hono) => root.mount("/realtime", sub.fetch), ""],
  ] as const)(
    "leaves each path that is not in normal form to the app, in %s",
    async (_what, mount, prefix) => {
      const [root, sub] = [new Hono(), new Hono()];
      sub.use(honoMiddleware(await app(), { prefix }));
      mount(root, sub);
      const url = await listening(getRequestListener(root.fetch));
      for (const own of PATHS) {
        expect(await reaching(url, [`/realtime${own}`])).toHaveLength(1);
        expect(await reaching(url, hostile(`/realtime${own}`))).toEqual([]);
        expect(
          await reaching(
            url,
            hostile(own).map((target) => `/realtime${target}`),
          ),
        ).toEqual([]);
      }
    },
  );
});

test.each(["rawPath", "path"])("hono on Lambda compares the %s of the event", async (name) => {
  const root = new Hono();
  root.use(honoMiddleware(await app(), { start: false }));
  for (const path of PATHS) {
    const ask = (received: string) =>
      root.request(
        `https://abc.lambda-url.eu-west-1.on.aws${path}`,
        { method: "POST" },
        { event: { [name]: received } },
      );
    for (const received of [path, `/stage${path}`])
      expect([401, 403]).toContain((await ask(received)).status);
    const hostile = hostileTargets(path).filter((target) => !/^\S*\?/.test(target));
    for (const received of hostile) expect([received, (await ask(received)).status]).toEqual([received, 404]);
  }
});

describe("a router that calls sallyport.fetch", () => {
  const router = async (prefix = "") => {
    const sallyport = await app();
    const fetch = async (request: Request) =>
      (await sallyport.fetch(request)) ??
      new Response(new URL(request.url).pathname, { status: request.url.includes("/files/") ? 200 : 404 });
    return listening(nodeListener({ fetch }, { prefix }));
  };

  test.each([[""], ["/realtime"]])(
    "receives no path that changes when it is resolved, under the prefix %j",
    async (prefix) => {
      const url = await router(prefix);
      for (const own of PATHS) {
        expect(await reaching(url, [`${prefix}${own}`])).toHaveLength(1);
        expect(await reaching(url, hostile(`${prefix}${own}`))).toEqual([]);
        expect(
          await reaching(
            url,
            hostile(own).map((target) => `${prefix}${target}`),
          ),
        ).toEqual([]);
      }
    },
  );

  test("receives the app's own paths with their encoded characters", async () => {
    const url = await router();
    for (const path of [
      "/files/a%20b",
      "/files/caf%C3%A9",
      "/files/a%2Fb",
      "/files//x",
      "/files/..a/",
      "/files/a;b=c",
    ]) {
      const { status, text } = await requestAsWritten(url, path);
      expect([path, status, text.endsWith(path)]).toEqual([path, 200, true]);
    }
  });
});

describe("sallyport.fetch", () => {
  test("returns undefined for each path that is not in normal form", async () => {
    const sallyport = await app();
    for (const path of PATHS) {
      expect((await sallyport.fetch(new Request(`http://x${path}?y=/..`, { method: "POST" })))?.ok).toBe(
        false,
      );
      // A server may pass the URL as the client sent it.
      const request = (target: string) =>
        ({ url: `http://x${target}`, method: "POST", headers: new Headers(), body: null }) as Request;
      expect((await sallyport.fetch(request(path)))?.ok).toBe(false);
      const own = hostile(path).filter((target) => /^[/\\]/.test(target));
      for (const target of own)
        expect([target, await sallyport.fetch(request(target))]).toEqual([target, undefined]);
    }
  });

  test.each([
    "/ws/caf%C3%A9",
    "/ws/café",
    "/ws/ch%61t",
    "/ws/../chat",
    "/ws//chat",
    "/ws/chat/",
    "/ws\\chat",
  ])("rejects %s as the path of a view, because no request could have it in normal form", (path) => {
    const options = {
      storage: sqlite(":memory:"),
      permissions: [chat],
      authenticate: () => null,
      origins: ["https://www.example.com"],
    };
    expect(() => createSallyport({ ...options, views: { [path]: ChatView } })).toThrow(
      /is not a path\..*letters, digits and - \. _ ~/,
    );
  });
});
