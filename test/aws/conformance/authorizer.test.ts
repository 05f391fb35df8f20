import { describe, expect, onTestFinished, vi } from "vitest";
import type { LambdaFunction } from "../../../src/local/emulator.ts";
import { deferred } from "../../local/rig.ts";
import { AUTHORIZER, allowAll, handshakeOutcome, openWithAuthorizer, policy } from "./authorizer-gateway.ts";
import {
  connect,
  connected,
  echo,
  handshake,
  openGateway,
  route,
  testLocally,
} from "./gateway-under-test.ts";

describe("1.1 the order of an upgrade with an authorizer", () => {
  testLocally("1.1 the authorizer is called before the integration of $connect", AUTHORIZER, async () => {
    let admit = () => {};
    const asked = deferred<void>();
    const gateway = await openWithAuthorizer((event) => {
      asked.resolve();
      return new Promise((resolve) => {
        admit = () => resolve(policy("Allow", event.methodArn));
      });
    });
    const arrived = connect(gateway);
    await asked.promise;
    expect([await arrived.kinds(), gateway.local.connectionCount]).toEqual([[], 0]);
    admit();
    await arrived.client.opened;
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  testLocally(
    "1.1 the integration of $connect can reject a client that the authorizer allowed",
    AUTHORIZER,
    async () => {
      expect((await handshake(await openWithAuthorizer(allowAll), { status: 402 })).status).toBe(402);
    },
  );

  testLocally("1.1 messages and $disconnect are not authorized again", AUTHORIZER, async () => {
    let asked = 0;
    const gateway = await openWithAuthorizer((event) => {
      asked++;
      return policy("Allow", event.methodArn);
    });
    const arrived = await connected(gateway);
    for (const body of ["one", "two"]) expect(await echo(arrived, body)).toBe(body);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(asked).toBe(1);
  });

  testLocally("1.1 a new authorizer does not affect open sockets", AUTHORIZER, async () => {
    const gateway = await openWithAuthorizer(allowAll);
    const arrived = await connected(gateway);
    const authorization = { type: "CUSTOM", handler: () => policy("Deny", "*") } as const;
    gateway.local.deploy({
      routes: {
        $connect: route(gateway.backend, "connect", { authorization }),
        $default: route(gateway.backend, "default", { routeResponse: true }),
      },
    });
    expect(await echo(arrived, "still here")).toBe("still here");
    expect((await handshake(gateway)).status).toBe(403);
  });

  testLocally(
    "6.3 a connect that was authorized before a deployment uses the $connect route of that time",
    AUTHORIZER,
    async () => {
      const asked = deferred<string>();
      const answer = deferred<object>();
      const gateway = await openWithAuthorizer(({ methodArn }) => {
        asked.resolve(methodArn);
        return answer.promise;
      });
      const arrived = connect(gateway);
      const methodArn = await asked.promise;
      gateway.local.deploy({ routes: { $connect: route(gateway.backend, "unguarded") } });
      answer.resolve(policy("Allow", methodArn));
      await arrived.client.opened;
      expect(await arrived.kinds()).toEqual(["connect"]);
    },
  );

  testLocally("1.6 it is called for every connect, without a cache", AUTHORIZER, async () => {
    let asked = 0;
    const gateway = await openWithAuthorizer(
      (event) => {
        asked++;
        return policy("Allow", event.methodArn);
      },
      { identitySource: ["route.request.querystring.token"] },
    );
    for (const _ of [1, 2]) await connected(gateway, { token: "the same" });
    expect(asked).toBe(2);
  });

  testLocally("1.2 no $disconnect follows a rejection by the authorizer", AUTHORIZER, async () => {
    const gateway = await openWithAuthorizer(({ methodArn, queryStringParameters }) => {
      return policy(queryStringParameters.in ? "Allow" : "Deny", methodArn);
    });
    const rejected = connect(gateway);
    await expect(rejected.client.opened).rejects.toThrow("403");
    const another = await connected(gateway, { in: "yes" });
    another.client.socket.close();
    await another.called("disconnect");
    expect(await rejected.kinds()).toEqual([]);
  });
});

describe("1.2 identity sources", () => {
  const sources = [
    ["route.request.header.X-Token", {}, { "x-token": "t" }],
    ["route.request.querystring.token", { token: "t" }, {}],
    ["context.identity.userAgent", {}, { "user-agent": "node" }],
  ] as const;

  for (const [source, query, headers] of sources) {
    testLocally(`1.2 without ${source} it is 401, and the authorizer is not called`, AUTHORIZER, async () => {
      let asked = 0;
      const gateway = await openWithAuthorizer(
        (event) => {
          asked++;
          return policy("Allow", event.methodArn);
        },
        { identitySource: [source] },
      );
      expect(await handshakeOutcome(gateway)).toEqual([401, false]);
      expect(asked).toBe(0);
      expect(await handshakeOutcome(gateway, query, headers)).toEqual([101, true]);
      expect(asked).toBe(1);
    });
  }

  testLocally("1.2 without the stage variable of an identity source it is 401", AUTHORIZER, async () => {
    const identitySource = ["stageVariables.color"];
    expect(await handshakeOutcome(await openWithAuthorizer(allowAll, { identitySource }))).toEqual([
      401,
      false,
    ]);
    const variables = { color: "red" };
    expect(await handshakeOutcome(await openWithAuthorizer(allowAll, { identitySource, variables }))).toEqual(
      [101, true],
    );
  });

  testLocally("1.2 an empty identity source counts as missing", AUTHORIZER, async () => {
    const gateway = await openWithAuthorizer(allowAll, {
      identitySource: ["route.request.querystring.token"],
    });
    expect(await handshakeOutcome(gateway, { token: "" })).toEqual([401, false]);
  });

  testLocally("1.2 the last one of several values counts, as in the event", AUTHORIZER, async () => {
    const seen: unknown[] = [];
    const gateway = await openWithAuthorizer(
      ({ methodArn, queryStringParameters }) => {
        seen.push(queryStringParameters.token);
        return policy("Allow", methodArn);
      },
      { identitySource: ["route.request.querystring.token"] },
    );
    const withQuery = (query: string) => ({ url: `${gateway.url}?${query}`, backend: gateway.backend });
    expect((await handshake(withQuery("token=&token=x"))).status).toBe(101);
    expect((await handshake(withQuery("token=x&token="))).status).toBe(401);
    expect(seen).toEqual(["x"]);
  });

  testLocally("1.2 every identity source is required", AUTHORIZER, async () => {
    const identitySource = ["route.request.querystring.token", "route.request.header.x-token"];
    const gateway = await openWithAuthorizer(allowAll, { identitySource });
    expect(await handshakeOutcome(gateway, { token: "t" })).toEqual([401, false]);
    expect(await handshakeOutcome(gateway, {}, { "x-token": "t" })).toEqual([401, false]);
    expect(await handshakeOutcome(gateway, { token: "t" }, { "x-token": "t" })).toEqual([101, true]);
  });

  for (const source of [
    "method.request.header.x",
    "$request.header.x",
    "route.request.body.x",
    "route.request.multivalueheader.x",
    "context.nothing",
    "context.authorizer.x",
    "'text'",
  ]) {
    testLocally(`1.6 ${source} is not a valid identity source`, AUTHORIZER, async () => {
      await expect(openWithAuthorizer(allowAll, { identitySource: [source] })).rejects.toThrow(
        /is not an identity source/,
      );
    });
  }
});

describe("1.2 the result of an authorizer", () => {
  for (const [how, handler] of [
    [
      "throws",
      () => {
        throw new Error("Unauthorized");
      },
    ],
    ["rejects", () => Promise.reject(new Error("Unauthorized"))],
    ["rejects with the string", () => Promise.reject("Unauthorized")],
    ["calls back with", (_event, _context, callback) => callback("Unauthorized")],
  ] satisfies readonly (readonly [string, LambdaFunction])[]) {
    testLocally(`1.2 one that ${how} Unauthorized is 401`, AUTHORIZER, async () => {
      expect(await handshakeOutcome(await openWithAuthorizer(handler))).toEqual([401, false]);
    });
  }

  testLocally(
    "1.2 one with rest parameters that returns nothing is 500, without waiting for its timeout",
    AUTHORIZER,
    async () => {
      const gateway = await openWithAuthorizer((..._all: unknown[]) => undefined);
      // Its timeout never fires, because the clock is stopped.
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      onTestFinished(() => void vi.useRealTimers());
      expect(await handshakeOutcome(gateway)).toEqual([500, false]);
    },
  );

  testLocally("1.2 one that calls back with a policy allows the connect", AUTHORIZER, async () => {
    const gateway = await openWithAuthorizer(({ methodArn }, _context, callback) => {
      setImmediate(() => callback(null, policy("Allow", methodArn)));
    });
    expect(await handshakeOutcome(gateway)).toEqual([101, true]);
  });

  const arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev/$connect";
  const statement = (Effect: string, Resource: unknown, Action: unknown = "execute-api:Invoke") => ({
    Effect,
    Resource,
    Action,
  });
  for (const [what, statements, status] of [
    ["allows", [statement("Allow", arn)], 101],
    ["allows everything", [statement("Allow", "*", "*")], 101],
    ["allows by a pattern", [statement("Allow", "arn:aws:execute-api:*:*:a1b2c3d4e5/*/$connec?")], 101],
    [
      "allows in one of several statements",
      [statement("Allow", ["arn:aws:s3:::x", arn], ["s3:Get*", "execute-api:*"])],
      101,
    ],
    ["allows an action in another letter case", [statement("Allow", arn, "EXECUTE-API:invoke")], 101],
    ["is a single statement", statement("Allow", arn), 101],
    ["denies", [statement("Deny", arn)], 403],
    ["denies and allows", [statement("Allow", "*"), statement("Deny", arn)], 403],
    ["denies another stage", [statement("Allow", "*"), statement("Deny", arn.replace("dev", "test"))], 101],
    ["allows nothing", [], 403],
    ["allows another route", [statement("Allow", arn.replace("$connect", "send"))], 403],
    ["allows a part of the resource", [statement("Allow", arn.slice(0, -1))], 403],
    ["allows another action", [statement("Allow", arn, "execute-api:ManageConnections")], 403],
  ] as const) {
    testLocally(`1.2 a policy that ${what} is ${status}`, AUTHORIZER, async () => {
      const Statement = statements;
      const gateway = await openWithAuthorizer(() => ({
        principalId: "anna",
        policyDocument: { Version: "2012-10-17", Statement },
      }));
      expect(await handshakeOutcome(gateway)).toEqual([status, status === 101]);
    });
  }

  for (const [pattern, status] of [
    ["*".repeat(40), 101],
    [`${"*a".repeat(60)}`, 403],
    [`${"a*".repeat(2_000)}!`, 403],
    ["arn:*:execute-api:*:*:*/*/*connect", 101],
    ["arn:*:execute-api:*:*:*/*/*connect?", 403],
    ["*?*", 101],
  ] as const) {
    const shown = pattern.length > 40 ? `${pattern.slice(0, 6)}… (${pattern.length} characters)` : pattern;
    // A matcher with backtracking would not finish the long ones.
    testLocally(`1.2 a policy that allows ${shown} is ${status}`, AUTHORIZER, async () => {
      const gateway = await openWithAuthorizer(() => policy("Allow", pattern));
      expect(await handshakeOutcome(gateway)).toEqual([status, status === 101]);
    });
  }

  testLocally("1.2 a failure is reported to onError, and a denial is not", AUTHORIZER, async () => {
    const errors: string[] = [];
    const onError = (error: unknown, where: string) => errors.push(`${where}: ${error}`);
    const answers = [() => Promise.reject(new Error("a bug")), () => policy("Deny", "*"), () => null];
    const handler = () => answers.shift()?.();
    const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } as const;
    const routes = { $connect: { integration, authorization: { type: "CUSTOM", handler } } } as const;
    const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }], onError });
    const statuses = [];
    for (const _ of [1, 2, 3]) statuses.push((await handshake(gateway)).status);
    expect(statuses).toEqual([500, 403, 500]);
    expect(errors).toEqual([
      "$connect: Error: a bug",
      "$connect: Error: The authorizer's result has no principalId. Return a string.",
    ]);
  });

  const good = policy("Allow", "*");
  for (const [what, result] of [
    ["nothing", undefined],
    ["null", null],
    ["a text", "Allow"],
    ["the simple response of an HTTP API", { isAuthorized: true }],
    ["a proxy response", { statusCode: 200 }],
    ["no principal", { ...good, principalId: undefined }],
    ["a principal that is not a string", { ...good, principalId: 7 }],
    ["no policy", { principalId: "anna" }],
    ["a policy without statements", { principalId: "anna", policyDocument: { Version: "2012-10-17" } }],
    ["another effect", policy("Permit", "*")],
    ["a statement without a resource", policy("Allow", undefined)],
    ["a statement without an action", policy("Allow", "*", null)],
    ["a context that is not an object", { ...good, context: "text" }],
    ["a context that contains an object", { ...good, context: { user: { id: 1 } } }],
    ["a context that contains a list", { ...good, context: { groups: ["a"] } }],
    ["more than 8 KB", { ...good, context: { filler: "x".repeat(8 * 1024) } }],
    ["invalid JSON", { ...good, context: { big: 1n } }],
  ] as const) {
    testLocally(`1.2 one that returns ${what} is 500`, AUTHORIZER, async () => {
      expect(await handshakeOutcome(await openWithAuthorizer(() => result))).toEqual([500, false]);
    });
  }

  testLocally("1.2 one that throws another error is 500", AUTHORIZER, async () => {
    for (const message of ["a bug", "unauthorized", "Unauthorized: no token"]) {
      const gateway = await openWithAuthorizer(() => Promise.reject(new Error(message)));
      expect(await handshakeOutcome(gateway), message).toEqual([500, false]);
    }
  });

  testLocally("1.2 one that is too slow is 500", AUTHORIZER, async () => {
    const gateway = await openWithAuthorizer(() => new Promise(() => {}), { timeoutMs: 50 });
    expect(await handshakeOutcome(gateway)).toEqual([500, false]);
  });

  testLocally("4 one that returns 8 KB allows the connect", AUTHORIZER, async () => {
    const empty = JSON.stringify({ ...good, context: { filler: "" } });
    const context = { filler: "x".repeat(8 * 1024 - empty.length) };
    expect(await handshakeOutcome(await openWithAuthorizer(() => ({ ...good, context })))).toEqual([
      101,
      true,
    ]);
    context.filler += "x";
    expect(await handshakeOutcome(await openWithAuthorizer(() => ({ ...good, context })))).toEqual([
      500,
      false,
    ]);
  });
});

describe("1.1 invalid authorization", () => {
  const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } as const;
  const authorization = { type: "CUSTOM", handler: allowAll } as const;

  for (const [what, routes, words] of [
    [
      "on $default",
      { $default: { integration, authorization } },
      /authorization is allowed on \$connect only/,
    ],
    [
      "on $disconnect",
      { $disconnect: { integration, authorization } },
      /authorization is allowed on \$connect only/,
    ],
    [
      "by JWT",
      { $connect: { integration, authorization: { type: "JWT" } } },
      /type of an authorization must be/,
    ],
    [
      "without a function",
      { $connect: { integration, authorization: { type: "CUSTOM" } } },
      /handler must be a function/,
    ],
    [
      "with a timeout of 30 s",
      { $connect: { integration, authorization: { ...authorization, timeoutMs: 30_000 } } },
      /timeoutMs must be a number of milliseconds from 50 to 29000/,
    ],
  ] as const) {
    testLocally(`1.1 an authorization ${what} is rejected`, "a separate API", async () => {
      const { local } = await openGateway({});
      expect(() => local.deploy({ routes: routes as never })).toThrow(words);
    });
  }
});
