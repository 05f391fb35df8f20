import { describe, expect } from "vitest";
import type { LambdaFunction } from "../../../src/local/emulator.ts";
import { deferred, openClient } from "../../local/rig.ts";
import { connected, headerOf, LOCAL_KEY, onDesk, openBackend, openDesk, route, say } from "./desk.ts";
import { AUTHORIZER, guarded, policy } from "./guarded.ts";

/** What an authorizer was asked. */
interface Asked {
  readonly [name: string]: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly multiValueHeaders: Readonly<Record<string, readonly string[]>>;
  readonly requestContext: Readonly<Record<string, unknown>>;
}

async function askedBy(
  query = "",
  headers: Record<string, string | string[]> = {},
  variables: Record<string, string> = {},
): Promise<Asked> {
  const asked = deferred<Asked>();
  const handler: LambdaFunction = (event) => {
    asked.resolve(event);
    return policy("Allow", event.methodArn);
  };
  const desk = await guarded(handler, { variables });
  await openClient(desk.url + query, [], { headers: headers as Record<string, string> });
  return asked.promise;
}

describe("1.6 the event of an authorizer", () => {
  onDesk("1.6 it has just these keys", AUTHORIZER, async () => {
    expect(Object.keys(await askedBy()).sort()).toEqual([
      "headers",
      "methodArn",
      "multiValueHeaders",
      "multiValueQueryStringParameters",
      "queryStringParameters",
      "requestContext",
      "stageVariables",
      "type",
    ]);
  });

  onDesk("1.6 it is a REQUEST for the ARN of $connect", AUTHORIZER, async () => {
    expect(await askedBy()).toMatchObject({
      type: "REQUEST",
      methodArn: "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev/$connect",
    });
  });

  onDesk("1.6 the ARN has the region of the gateway's credentials", AUTHORIZER, async () => {
    const asked = deferred<string>();
    const handler: LambdaFunction = ({ methodArn }) => {
      asked.resolve(methodArn);
      return policy("Allow", methodArn);
    };
    const integration = { type: "AWS_PROXY", handler: () => ({ statusCode: 200 }) } as const;
    const routes = { $connect: { integration, authorization: { type: "CUSTOM", handler } } } as const;
    const credentials = { ...LOCAL_KEY, region: "eu-west-1" };
    const desk = await openDesk({ apis: [{ id: "a1b2c3d4e5", routes, stages: { dev: {} } }], credentials });
    await openClient(desk.url);
    expect(await asked.promise).toBe("arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/dev/$connect");
  });

  onDesk("1.6 its length is 0 and said once, whatever the client says of its own", AUTHORIZER, async () => {
    const { headers, multiValueHeaders } = await askedBy("", { "Content-Length": "0" });
    const lengths = Object.entries(multiValueHeaders).filter(([name]) => /^content-length$/i.test(name));
    expect([headers["content-length"], lengths]).toEqual(["0", [["content-length", ["0"]]]]);
  });

  onDesk(
    "1.6 its headers are the client's with Connection, Upgrade and a length of 0",
    AUTHORIZER,
    async () => {
      const { headers, multiValueHeaders } = await askedBy("", { cookie: "a=1", "X-Own": ["1", "2"] });
      expect(headers).toMatchObject({
        Connection: "upgrade",
        Upgrade: "websocket",
        "content-length": "0",
        cookie: "a=1",
        "X-Own": "2",
        "X-Forwarded-For": "127.0.0.1",
        "Sec-WebSocket-Version": "13",
      });
      expect(multiValueHeaders).toMatchObject({ Connection: ["upgrade"], "X-Own": ["1", "2"] });
      expect(Object.keys(multiValueHeaders).sort()).toEqual(Object.keys(headers).sort());
      expect(Object.keys(headers).filter((name) => /^(connection|upgrade)$/i.test(name))).toHaveLength(2);
    },
  );

  onDesk("1.6 its query is the client's, in both forms", AUTHORIZER, async () => {
    expect(await askedBy("?a=1&a=2&b=c%2Fd")).toMatchObject({
      queryStringParameters: { a: "2", b: "c/d" },
      multiValueQueryStringParameters: { a: ["1", "2"], b: ["c/d"] },
    });
    expect(await askedBy()).toMatchObject({ queryStringParameters: {}, multiValueQueryStringParameters: {} });
  });

  onDesk("1.6 it has the stage's variables", AUTHORIZER, async () => {
    expect((await askedBy("", {}, { color: "red" })).stageVariables).toEqual({ color: "red" });
  });

  onDesk("1.6 its context is the CONNECT's", AUTHORIZER, async () => {
    const events: Asked[] = [];
    const handler: LambdaFunction = (event) => {
      events.push(event);
      return event.type === "REQUEST" ? policy("Allow", event.methodArn) : { statusCode: 200 };
    };
    const $connect = {
      authorization: { type: "CUSTOM", handler },
      integration: { type: "AWS_PROXY", handler },
    } as const;
    await openClient((await openDesk({ apis: [{ routes: { $connect }, stages: { dev: {} } }] })).url);
    const [asked, hello] = events.map(({ requestContext }) => requestContext);
    const { authorizer, ...context } = hello ?? {};
    expect(authorizer).toBeDefined();
    expect(asked).toEqual(context);
    const traces = events.map(({ headers }) => headers["X-Amzn-Trace-Id"]);
    expect(traces).toEqual([expect.stringMatching(/^Root=1-/), traces[0]]);
    expect(asked).toMatchObject({ eventType: "CONNECT", routeKey: "$connect" });
  });
});

describe("1.6 what an authorizer says of a client", () => {
  const context = { user: "7", level: 3, isAdmin: true, isGuest: false, nothing: "" };
  const telling: LambdaFunction = ({ methodArn }) => ({ ...policy("Allow", methodArn), context });

  onDesk("1.6 reaches an HTTP backend by its mappings, for all of its life", AUTHORIZER, async () => {
    const names = ["principalId", "user", "level", "isAdmin", "isGuest", "nothing", "other"];
    const parameters = Object.fromEntries(
      names.map((name) => [`integration.request.header.x-${name}`, `context.authorizer.${name}`]),
    );
    const arrived = await connected(await guarded(telling, { parameters }));
    say(arrived, {});
    await arrived.called("default");
    arrived.client.socket.close();
    for (const kind of ["connect", "default", "disconnect"]) {
      const call = await arrived.called(kind);
      const told = names.map((name) => headerOf(call, `x-${name}`));
      expect(told, kind).toEqual(["anna", "7", "3", "true", "false", undefined, undefined]);
    }
  });

  onDesk("7 a client cannot forge what is mapped", AUTHORIZER, async () => {
    const parameters = {
      "integration.request.header.x-user": "context.authorizer.user",
      "integration.request.header.x-other": "context.authorizer.other",
    };
    const headers = { "x-user": "forged", "x-other": "forged" };
    const arrived = await connected(await guarded(telling, { parameters }), {}, { headers });
    const call = await arrived.called("connect");
    expect([headerOf(call, "x-user"), headerOf(call, "x-other")]).toEqual(["7", undefined]);
  });

  onDesk("1.4 without an authorizer such a mapping is no header", "an API without one", async () => {
    const backend = await openBackend();
    const parameters = { "integration.request.header.x-user": "context.authorizer.principalId" };
    const routes = { $connect: route(backend, "connect", { parameters }) };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    expect(headerOf(await (await connected(desk)).called("connect"), "x-user")).toBeUndefined();
  });

  onDesk("1.6 reaches functions as texts, in every event", AUTHORIZER, async () => {
    const events: Record<string, { readonly authorizer: Readonly<Record<string, unknown>> }> = {};
    const ended = deferred<void>();
    const handler: LambdaFunction = ({ requestContext }) => {
      events[requestContext.eventType] = requestContext;
      if (requestContext.eventType === "DISCONNECT") ended.resolve();
      return { statusCode: 200, body: "heard" };
    };
    const integration = { type: "AWS_PROXY", handler } as const;
    const routes = {
      $connect: { integration, authorization: { type: "CUSTOM", handler: telling } },
      $default: { integration, routeResponse: true },
      $disconnect: { integration },
    } as const;
    const client = await openClient((await openDesk({ apis: [{ routes, stages: { dev: {} } }] })).url);
    client.socket.send("hello");
    await client.text();
    client.socket.close();
    await ended.promise;
    const told = {
      principalId: "anna",
      user: "7",
      level: "3",
      isAdmin: "true",
      isGuest: "false",
      nothing: "",
    };
    expect(events.CONNECT?.authorizer).toEqual({ ...told, integrationLatency: expect.any(Number) });
    expect(events.MESSAGE?.authorizer).toEqual(told);
    expect(events.DISCONNECT?.authorizer).toEqual(told);
  });
});
