import { randomUUID } from "node:crypto";
import { getRequestListener } from "@hono/node-server";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import express from "express";
import session from "express-session";
import fastify, { type FastifyRequest as OwnFastifyRequest } from "fastify";
import { type Context, Hono } from "hono";
import { jwtVerify, SignJWT } from "jose";
import passport from "passport";
import { Strategy } from "passport-local";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { expressMiddleware, expressRequest } from "../../src/adapters/express.ts";
import { fastifyPlugin, fastifyRequest } from "../../src/adapters/fastify.ts";
import { honoContext, honoMiddleware } from "../../src/adapters/hono.ts";
import { nodeRequest } from "../../src/adapters/node.ts";
import { connect } from "../../src/client/socket.ts";
import type { ConnectContext } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { ORIGIN, Socket, World, type WorldOptions } from "../integration/world.ts";

let shownToConnect: unknown;
let look: (request: Request) => unknown;
class OpenView extends WebSocketView {
  static override signedIn = true;
  override connect = ({ request }: ConnectContext) => {
    shownToConnect = look(request);
  };
  whoami = handler(({ user }) => user.id);
}

let world: World;
async function open(options: Pick<WorldOptions, "authenticate" | "serve" | "token">): Promise<void> {
  shownToConnect = undefined;
  look = () => undefined;
  world = await World.open({ permissions: [], views: { "/ws/me": OpenView }, ...options });
}
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Returns a token as a page with this cookie fetches it, or the status of the denial. */
async function tokenOf(cookie: string): Promise<string | number> {
  const answer = await fetch(`${world.appUrl}/api/ws-token`, {
    method: "POST",
    headers: { cookie, origin: ORIGIN },
  });
  return answer.status === 200 ? ((await answer.json()) as { token: string }).token : answer.status;
}

/** Connects with this cookie. */
async function socketOf(cookie: string, token?: string | number): Promise<Socket> {
  const url = new URL(world.gateway.url);
  url.searchParams.set("ws_token", String(token ?? (await tokenOf(cookie))));
  return Socket.open(url, { cookie, origin: ORIGIN });
}

const cookiesOf = (answer: Response) =>
  answer.headers
    .getSetCookie()
    .map((cookie) => cookie.split(";")[0])
    .join("; ");

/**
 * What every login must do: accept its users and no others, and end access when the session ends.
 */
async function behaves(
  ann: string,
  bob: string,
  logins: { ann: { userId: string; sessionId: string } },
): Promise<void> {
  const socket = await socketOf(ann);
  expect(await socket.result("whoami")).toBe(logins.ann.userId);
  expect(await tokenOf("nobody=1")).toBe(401);
  // A token of another user is not valid with this login.
  await expect(socketOf(bob, await tokenOf(ann))).rejects.toThrow("403");
  expect(await (await socketOf(bob)).result("whoami")).not.toBe(logins.ann.userId);
  await world.sallyport.access.endSession(logins.ann.sessionId);
  expect((await socket.closed).code).toBe(1000);
}

describe("the user of a request", () => {
  test("is the user of better-auth", async () => {
    const auth = betterAuth({
      baseURL: "http://127.0.0.1",
      secret: randomUUID(),
      database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
      emailAndPassword: { enabled: true },
      trustedOrigins: [ORIGIN],
      telemetry: { enabled: false },
    });
    await open({
      authenticate: async ({ headers }) => {
        const login = await auth.api.getSession({ headers });
        return login && { userId: login.user.id, sessionId: login.session.id };
      },
      serve: (sallyport) => {
        const app = new Hono();
        app.use(honoMiddleware(sallyport));
        app.on(["GET", "POST"], "/api/auth/*", (context) => auth.handler(context.req.raw));
        return getRequestListener(app.fetch);
      },
    });
    look = (request) => honoContext<Context>(request)?.req.header("origin");
    const signUp = async (name: string) => {
      const body = JSON.stringify({ name, email: `${name}@example.com`, password: "correct horse" });
      const headers = { "content-type": "application/json", origin: ORIGIN };
      const answer = await fetch(`${world.appUrl}/api/auth/sign-up/email`, { method: "POST", headers, body });
      expect(answer.status).toBe(200);
      return cookiesOf(answer);
    };
    const [ann, bob] = [await signUp("ann"), await signUp("bob")];
    const login = await auth.api.getSession({ headers: new Headers({ cookie: ann }) });
    if (!login) throw new Error("not signed in");
    await behaves(ann, bob, { ann: { userId: login.user.id, sessionId: login.session.id } });
    expect(shownToConnect).toBe(ORIGIN);
  });

  test("is the user that passport finds in express-session", async () => {
    interface Signed extends express.Request {
      user?: { id: string };
    }
    await open({
      authenticate: (request) => {
        const own = expressRequest<Signed>(request);
        return own?.user ? { userId: own.user.id, sessionId: own.sessionID } : null;
      },
      serve: (sallyport) => {
        const people = new passport.Passport();
        people.use(
          new Strategy((name, password, done) => done(null, password === "horse" ? { id: name } : false)),
        );
        people.serializeUser((user, done) => done(null, (user as { id: string }).id));
        people.deserializeUser((id: string, done) => done(null, { id }));
        const app = express();
        app.use(session({ secret: randomUUID(), resave: false, saveUninitialized: false }));
        app.use(people.session());
        app.use(expressMiddleware(sallyport));
        app.post("/login", express.json(), people.authenticate("local"), (request, response) => {
          response.json({ id: request.sessionID });
        });
        return app;
      },
    });
    const signIn = async (username: string) => {
      const answer = await fetch(`${world.appUrl}/login`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ username, password: "horse" }),
      });
      return { cookie: cookiesOf(answer), id: ((await answer.json()) as { id: string }).id };
    };
    const [ann, bob] = [await signIn("ann"), await signIn("bob")];
    look = (request) => expressRequest<Signed>(request)?.user?.id;
    await behaves(ann.cookie, bob.cookie, { ann: { userId: "ann", sessionId: ann.id } });
    expect(shownToConnect).toBe("bob");
    expect(nodeRequest(new Request("http://somewhere"))).toBeUndefined();
  });

  test("is the subject of a JWT in a cookie, verified by jose", async () => {
    const key = new TextEncoder().encode(randomUUID());
    await open({
      authenticate: async ({ headers }) => {
        const [, jwt = ""] = /(?:^|;\s*)jwt=([^;]+)/.exec(headers.get("cookie") ?? "") ?? [];
        const verified = await jwtVerify(jwt, key, { issuer: "the app" }).catch(() => undefined);
        const { sub, jti } = verified?.payload ?? {};
        return sub && jti ? { userId: sub, sessionId: jti } : null;
      },
    });
    const jwtOf = async (user: string, expires = "2h", secret = key) => {
      const jwt = new SignJWT().setProtectedHeader({ alg: "HS256" }).setIssuer("the app").setSubject(user);
      return `jwt=${await jwt.setJti(`login of ${user}`).setExpirationTime(expires).sign(secret)}`;
    };
    expect(await tokenOf(await jwtOf("ann", "1 second ago"))).toBe(401);
    expect(await tokenOf(await jwtOf("ann", "2h", new TextEncoder().encode(randomUUID())))).toBe(401);
    await behaves(await jwtOf("ann"), await jwtOf("bob"), {
      ann: { userId: "ann", sessionId: "login of ann" },
    });
  });

  test("is the user that a plugin of Fastify sets on its request", async () => {
    interface Signed extends OwnFastifyRequest {
      login?: { userId: string; sessionId: string };
    }
    await open({
      authenticate: (request) => fastifyRequest<Signed>(request)?.login ?? null,
      serve: async (sallyport) => {
        const app = fastify();
        app.decorateRequest("login");
        app.addHook("preHandler", async (request: Signed) => {
          const [, userId] = /me=(\w+)/.exec(request.headers.cookie ?? "") ?? [];
          if (userId) request.login = { userId, sessionId: `login of ${userId}` };
        });
        await app.register(fastifyPlugin(sallyport));
        await app.ready();
        return (request, response) => app.routing(request, response);
      },
    });
    await behaves("me=ann", "me=bob", { ann: { userId: "ann", sessionId: "login of ann" } });
  });

  test("is the subject of a bearer token that the option fetch of the client adds", async () => {
    await open({
      token: { binding: "token" },
      authenticate: ({ headers }) => {
        const [, userId] = /^Bearer (\w+)$/.exec(headers.get("authorization") ?? "") ?? [];
        return userId ? { userId, sessionId: `login of ${userId}` } : null;
      },
    });
    const socketWith = (bearer: string) => {
      const socket = connect<OpenView>({
        url: world.gateway.url,
        token: `${world.appUrl}/api/ws-token`,
        view: "/ws/me",
        fetch: (url, init) => {
          const headers = new Headers(init?.headers);
          headers.set("authorization", `Bearer ${bearer}`);
          headers.set("origin", ORIGIN);
          return fetch(url, { ...init, headers });
        },
        WebSocket: class extends WebSocket {
          constructor(url: string) {
            super(url, { origin: ORIGIN });
          }
        },
      });
      onTestFinished(() => socket.close());
      return socket;
    };
    const ann = socketWith("ann");
    expect(await ann.call.whoami()).toBe("ann");
    await world.sallyport.access.endSession("login of ann");
    await expect.poll(() => ann.state).toBe("denied");
    const stranger = socketWith("-");
    await expect.poll(() => stranger.state).toBe("denied");
  });
});
