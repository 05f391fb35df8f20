import { describe, expect, onTestFinished, vi } from "vitest";
import type { LambdaFunction } from "../../../src/local/emulator.ts";
import { deferred } from "../../local/rig.ts";
import { connect, connected, echo, handshake, onDesk, openDesk, route } from "./desk.ts";
import { AUTHORIZER, admitting, arrival, guarded, policy } from "./guarded.ts";

describe("1.1 the order of an upgrade with an authorizer", () => {
  onDesk("1.1 the authorizer is asked before $connect's integration is called", AUTHORIZER, async () => {
    let admit = () => {};
    const asked = deferred<void>();
    const desk = await guarded((event) => {
      asked.resolve();
      return new Promise((resolve) => {
        admit = () => resolve(policy("Allow", event.methodArn));
      });
    });
    const arrived = connect(desk);
    await asked.promise;
    expect([await arrived.kinds(), desk.local.connectionCount]).toEqual([[], 0]);
    admit();
    await arrived.client.opened;
    expect(await arrived.kinds()).toEqual(["connect"]);
  });

  onDesk("1.1 $connect's integration may still refuse whom the authorizer let in", AUTHORIZER, async () => {
    expect((await handshake(await guarded(admitting), { status: 402 })).status).toBe(402);
  });

  onDesk("1.1 messages and $disconnect are not authorized again", AUTHORIZER, async () => {
    let asked = 0;
    const desk = await guarded((event) => {
      asked++;
      return policy("Allow", event.methodArn);
    });
    const arrived = await connected(desk);
    for (const body of ["one", "two"]) expect(await echo(arrived, body)).toBe(body);
    arrived.client.socket.close();
    await arrived.called("disconnect");
    expect(asked).toBe(1);
  });

  onDesk("1.1 another authorizer does not touch sockets that are open", AUTHORIZER, async () => {
    const desk = await guarded(admitting);
    const arrived = await connected(desk);
    const authorization = { type: "CUSTOM", handler: () => policy("Deny", "*") } as const;
    desk.local.deploy({
      routes: {
        $connect: route(desk.backend, "connect", { authorization }),
        $default: route(desk.backend, "default", { routeResponse: true }),
      },
    });
    expect(await echo(arrived, "still here")).toBe("still here");
    expect((await handshake(desk)).status).toBe(403);
  });

  onDesk(
    "6.3 who was asked about before a deployment goes to the $connect of that time",
    AUTHORIZER,
    async () => {
      const asked = deferred<string>();
      const answer = deferred<object>();
      const desk = await guarded(({ methodArn }) => {
        asked.resolve(methodArn);
        return answer.promise;
      });
      const arrived = connect(desk);
      const methodArn = await asked.promise;
      desk.local.deploy({ routes: { $connect: route(desk.backend, "unguarded") } });
      answer.resolve(policy("Allow", methodArn));
      await arrived.client.opened;
      expect(await arrived.kinds()).toEqual(["connect"]);
    },
  );

  onDesk("1.6 it is asked at every connect: nothing is cached", AUTHORIZER, async () => {
    let asked = 0;
    const desk = await guarded(
      (event) => {
        asked++;
        return policy("Allow", event.methodArn);
      },
      { identitySource: ["route.request.querystring.token"] },
    );
    for (const _ of [1, 2]) await connected(desk, { token: "the same" });
    expect(asked).toBe(2);
  });

  onDesk("1.2 no $disconnect follows whom the authorizer refused", AUTHORIZER, async () => {
    const desk = await guarded(({ methodArn, queryStringParameters }) => {
      return policy(queryStringParameters.in ? "Allow" : "Deny", methodArn);
    });
    const refused = connect(desk);
    await expect(refused.client.opened).rejects.toThrow("403");
    const another = await connected(desk, { in: "yes" });
    another.client.socket.close();
    await another.called("disconnect");
    expect(await refused.kinds()).toEqual([]);
  });
});

describe("1.2 identity sources", () => {
  const sources = [
    ["route.request.header.X-Token", {}, { "x-token": "t" }],
    ["route.request.querystring.token", { token: "t" }, {}],
    ["context.identity.userAgent", {}, { "user-agent": "node" }],
  ] as const;

  for (const [source, query, headers] of sources) {
    onDesk(`1.2 without ${source} it is 401, and nobody is asked`, AUTHORIZER, async () => {
      let asked = 0;
      const desk = await guarded(
        (event) => {
          asked++;
          return policy("Allow", event.methodArn);
        },
        { identitySource: [source] },
      );
      expect(await arrival(desk)).toEqual([401, false]);
      expect(asked).toBe(0);
      expect(await arrival(desk, query, headers)).toEqual([101, true]);
      expect(asked).toBe(1);
    });
  }

  onDesk("1.2 without a stage variable that is a source it is 401", AUTHORIZER, async () => {
    const identitySource = ["stageVariables.color"];
    expect(await arrival(await guarded(admitting, { identitySource }))).toEqual([401, false]);
    const variables = { color: "red" };
    expect(await arrival(await guarded(admitting, { identitySource, variables }))).toEqual([101, true]);
  });

  onDesk("1.2 an empty source is a missing one", AUTHORIZER, async () => {
    const desk = await guarded(admitting, { identitySource: ["route.request.querystring.token"] });
    expect(await arrival(desk, { token: "" })).toEqual([401, false]);
  });

  onDesk("1.2 of several values the last one counts, as in the event", AUTHORIZER, async () => {
    const seen: unknown[] = [];
    const desk = await guarded(
      ({ methodArn, queryStringParameters }) => {
        seen.push(queryStringParameters.token);
        return policy("Allow", methodArn);
      },
      { identitySource: ["route.request.querystring.token"] },
    );
    const withQuery = (query: string) => ({ url: `${desk.url}?${query}`, backend: desk.backend });
    expect((await handshake(withQuery("token=&token=x"))).status).toBe(101);
    expect((await handshake(withQuery("token=x&token="))).status).toBe(401);
    expect(seen).toEqual(["x"]);
  });

  onDesk("1.2 every source must be there", AUTHORIZER, async () => {
    const identitySource = ["route.request.querystring.token", "route.request.header.x-token"];
    const desk = await guarded(admitting, { identitySource });
    expect(await arrival(desk, { token: "t" })).toEqual([401, false]);
    expect(await arrival(desk, {}, { "x-token": "t" })).toEqual([401, false]);
    expect(await arrival(desk, { token: "t" }, { "x-token": "t" })).toEqual([101, true]);
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
    onDesk(`1.6 ${source} is no identity source`, AUTHORIZER, async () => {
      await expect(guarded(admitting, { identitySource: [source] })).rejects.toThrow(
        /is not an identity source/,
      );
    });
  }
});

describe("1.2 what an authorizer says", () => {
  for (const [how, handler] of [
    [
      "throws",
      () => {
        throw new Error("Unauthorized");
      },
    ],
    ["rejects", () => Promise.reject(new Error("Unauthorized"))],
    ["rejects with the text itself", () => Promise.reject("Unauthorized")],
    ["calls back with", (_event, _context, callback) => callback("Unauthorized")],
  ] satisfies readonly (readonly [string, LambdaFunction])[]) {
    onDesk(`1.2 one that ${how} Unauthorized is 401`, AUTHORIZER, async () => {
      expect(await arrival(await guarded(handler))).toEqual([401, false]);
    });
  }

  onDesk(
    "1.2 one with rest parameters that returns nothing is 500, without waiting for its timeout",
    AUTHORIZER,
    async () => {
      const desk = await guarded((..._all: unknown[]) => undefined);
      // Its timeout never comes, because timers stand still.
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      onTestFinished(() => void vi.useRealTimers());
      expect(await arrival(desk)).toEqual([500, false]);
    },
  );

  onDesk("1.2 one that calls back with a policy lets in", AUTHORIZER, async () => {
    const desk = await guarded(({ methodArn }, _context, callback) => {
      setImmediate(() => callback(null, policy("Allow", methodArn)));
    });
    expect(await arrival(desk)).toEqual([101, true]);
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
    ["allows among others", [statement("Allow", ["arn:aws:s3:::x", arn], ["s3:Get*", "execute-api:*"])], 101],
    ["allows an action in another case", [statement("Allow", arn, "EXECUTE-API:invoke")], 101],
    ["is one statement alone", statement("Allow", arn), 101],
    ["denies", [statement("Deny", arn)], 403],
    ["denies and allows", [statement("Allow", "*"), statement("Deny", arn)], 403],
    ["denies another stage", [statement("Allow", "*"), statement("Deny", arn.replace("dev", "test"))], 101],
    ["allows nothing", [], 403],
    ["allows another route", [statement("Allow", arn.replace("$connect", "send"))], 403],
    ["allows a part of the resource", [statement("Allow", arn.slice(0, -1))], 403],
    ["allows another action", [statement("Allow", arn, "execute-api:ManageConnections")], 403],
  ] as const) {
    onDesk(`1.2 a policy that ${what} is ${status}`, AUTHORIZER, async () => {
      const Statement = statements;
      const desk = await guarded(() => ({
        principalId: "anna",
        policyDocument: { Version: "2012-10-17", Statement },
      }));
      expect(await arrival(desk)).toEqual([status, status === 101]);
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
    // A matcher that backtracks does not finish the long ones at all.
    onDesk(`1.2 a policy that allows ${shown} is ${status}`, AUTHORIZER, async () => {
      const desk = await guarded(() => policy("Allow", pattern));
      expect(await arrival(desk)).toEqual([status, status === 101]);
    });
  }

  onDesk("1.2 what fails is told of, and a refusal is not", AUTHORIZER, async () => {
    const errors: string[] = [];
    const onError = (error: unknown, where: string) => errors.push(`${where}: ${error}`);
    const answers = [() => Promise.reject(new Error("a bug")), () => policy("Deny", "*"), () => null];
    const handler = () => answers.shift()?.();
    const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } as const;
    const routes = { $connect: { integration, authorization: { type: "CUSTOM", handler } } } as const;
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }], onError });
    const statuses = [];
    for (const _ of [1, 2, 3]) statuses.push((await handshake(desk)).status);
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
    ["an HTTP API's simple answer", { isAuthorized: true }],
    ["a proxy's answer", { statusCode: 200 }],
    ["no principal", { ...good, principalId: undefined }],
    ["a principal that is no text", { ...good, principalId: 7 }],
    ["no policy", { principalId: "anna" }],
    ["a policy without statements", { principalId: "anna", policyDocument: { Version: "2012-10-17" } }],
    ["another effect", policy("Permit", "*")],
    ["a statement without a resource", policy("Allow", undefined)],
    ["a statement without an action", policy("Allow", "*", null)],
    ["a context that is no object", { ...good, context: "text" }],
    ["a context with an object in it", { ...good, context: { user: { id: 1 } } }],
    ["a context with a list in it", { ...good, context: { groups: ["a"] } }],
    ["more than 8 KB", { ...good, context: { filler: "x".repeat(8 * 1024) } }],
    ["what is no JSON", { ...good, context: { big: 1n } }],
  ] as const) {
    onDesk(`1.2 one that gives back ${what} is 500`, AUTHORIZER, async () => {
      expect(await arrival(await guarded(() => result))).toEqual([500, false]);
    });
  }

  onDesk("1.2 one that throws anything else is 500", AUTHORIZER, async () => {
    for (const message of ["a bug", "unauthorized", "Unauthorized: no token"]) {
      const desk = await guarded(() => Promise.reject(new Error(message)));
      expect(await arrival(desk), message).toEqual([500, false]);
    }
  });

  onDesk("1.2 one that is too slow is 500", AUTHORIZER, async () => {
    const desk = await guarded(() => new Promise(() => {}), { timeoutMs: 50 });
    expect(await arrival(desk)).toEqual([500, false]);
  });

  onDesk("4 one that gives back 8 KB lets in", AUTHORIZER, async () => {
    const empty = JSON.stringify({ ...good, context: { filler: "" } });
    const context = { filler: "x".repeat(8 * 1024 - empty.length) };
    expect(await arrival(await guarded(() => ({ ...good, context })))).toEqual([101, true]);
    context.filler += "x";
    expect(await arrival(await guarded(() => ({ ...good, context })))).toEqual([500, false]);
  });
});

describe("1.1 where authorization cannot be", () => {
  const integration = { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } as const;
  const authorization = { type: "CUSTOM", handler: admitting } as const;

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
      "with a time-out of 30 s",
      { $connect: { integration, authorization: { ...authorization, timeoutMs: 30_000 } } },
      /timeoutMs must be a number of milliseconds from 50 to 29000/,
    ],
  ] as const) {
    onDesk(`1.1 an authorization ${what} is refused`, "an API of one's own", async () => {
      const { local } = await openDesk({});
      expect(() => local.deploy({ routes: routes as never })).toThrow(words);
    });
  }
});
