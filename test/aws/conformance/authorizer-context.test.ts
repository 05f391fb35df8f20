import { describe, expect } from "vitest";
import type { LambdaFunction } from "../../../src/local/emulator.ts";
import { deferred, openClient } from "../../local/rig.ts";
import { AUTHORIZER, openWithAuthorizer, policy } from "./authorizer-gateway.ts";
import {
  connected,
  headerOf,
  LOCAL_KEY,
  openBackend,
  openGateway,
  route,
  sendMessage,
  testLocally,
} from "./gateway-under-test.ts";

/** The events that an authorizer received. */
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
  const gateway = await openWithAuthorizer(handler, { variables });
  await openClient(gateway.url + query, [], { headers: headers as Record<string, string> });
  return asked.promise;
}

describe("1.6 the event of an authorizer", () => {
  testLocally("1.6 it has exactly these keys", AUTHORIZER, async () => {
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

  testLocally("1.6 it is a REQUEST for the ARN of $connect", AUTHORIZER, async () => {
    expect(await askedBy()).toMatchObject({
      type: "REQUEST",
      methodArn: "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/dev/$connect",
    });
  });

  testLocally("1.6 the ARN has the region of the gateway's credentials", AUTHORIZER, async () => {
    const asked = deferred<string>();
    const handler: LambdaFunction = ({ methodArn }) => {
      asked.resolve(methodArn);
      return policy("Allow", methodArn);
    };
    const integration = { type: "AWS_PROXY", handler: () => ({ statusCode: 200 }) } as const;
    const routes = { $connect: { integration, authorization: { type: "CUSTOM", handler } } } as const;
    const credentials = { ...LOCAL_KEY, region: "eu-west-1" };
    const gateway = await openGateway({
      apis: [{ id: "a1b2c3d4e5", routes, stages: { dev: {} } }],
      credentials,
    });
    await openClient(gateway.url);
    expect(await asked.promise).toBe("arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/dev/$connect");
  });

  testLocally("1.6 it has one content length of 0, whatever the client sends", AUTHORIZER, async () => {
    const { headers, multiValueHeaders } = await askedBy("", { "Content-Length": "0" });
    const lengths = Object.entries(multiValueHeaders).filter(([name]) => /^content-length$/i.test(name));
    expect([headers["content-length"], lengths]).toEqual(["0", [["content-length", ["0"]]]]);
  });

  testLocally(
    "1.6 its headers are those of the client, with Connection, Upgrade and a content length of 0",
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

  testLocally("1.6 it has the query of the client in both forms", AUTHORIZER, async () => {
    expect(await askedBy("?a=1&a=2&b=c%2Fd")).toMatchObject({
      queryStringParameters: { a: "2", b: "c/d" },
      multiValueQueryStringParameters: { a: ["1", "2"], b: ["c/d"] },
    });
    expect(await askedBy()).toMatchObject({ queryStringParameters: {}, multiValueQueryStringParameters: {} });
  });

  testLocally("1.6 it has the variables of the stage", AUTHORIZER, async () => {
    expect((await askedBy("", {}, { color: "red" })).stageVariables).toEqual({ color: "red" });
  });

  testLocally("1.6 its context is that of the CONNECT", AUTHORIZER, async () => {
    const events: Asked[] = [];
    const handler: LambdaFunction = (event) => {
      events.push(event);
      return event.type === "REQUEST" ? policy("Allow", event.methodArn) : { statusCode: 200 };
    };
    const $connect = {
      authorization: { type: "CUSTOM", handler },
      integration: { type: "AWS_PROXY", handler },
    } as const;
    await openClient((await openGateway({ apis: [{ routes: { $connect }, stages: { dev: {} } }] })).url);
    const [asked, hello] = events.map(({ requestContext }) => requestContext);
    const { authorizer, ...context } = hello ?? {};
    expect(authorizer).toBeDefined();
    expect(asked).toEqual(context);
    const traces = events.map(({ headers }) => headers["X-Amzn-Trace-Id"]);
    expect(traces).toEqual([expect.stringMatching(/^Root=1-/), traces[0]]);
    expect(asked).toMatchObject({ eventType: "CONNECT", routeKey: "$connect" });
  });
});

describe("1.6 the context that an authorizer returns", () => {
  const context = { user: "7", level: 3, isAdmin: true, isGuest: false, nothing: "" };
  const telling: LambdaFunction = ({ methodArn }) => ({ ...policy("Allow", methodArn), context });

  testLocally(
    "1.6 it is sent to an HTTP backend in mapped headers with every event",
    AUTHORIZER,
    async () => {
      const names = ["principalId", "user", "level", "isAdmin", "isGuest", "nothing", "other"];
      const parameters = Object.fromEntries(
        names.map((name) => [`integration.request.header.x-${name}`, `context.authorizer.${name}`]),
      );
      const arrived = await connected(await openWithAuthorizer(telling, { parameters }));
      sendMessage(arrived, {});
      await arrived.called("default");
      arrived.client.socket.close();
      for (const kind of ["connect", "default", "disconnect"]) {
        const call = await arrived.called(kind);
        const received = names.map((name) => headerOf(call, `x-${name}`));
        expect(received, kind).toEqual(["anna", "7", "3", "true", "false", undefined, undefined]);
      }
    },
  );

  testLocally("7 a client cannot forge a mapped header", AUTHORIZER, async () => {
    const parameters = {
      "integration.request.header.x-user": "context.authorizer.user",
      "integration.request.header.x-other": "context.authorizer.other",
    };
    const headers = { "x-user": "forged", "x-other": "forged" };
    const arrived = await connected(await openWithAuthorizer(telling, { parameters }), {}, { headers });
    const call = await arrived.called("connect");
    expect([headerOf(call, "x-user"), headerOf(call, "x-other")]).toEqual(["7", undefined]);
  });

  testLocally(
    "1.4 without an authorizer such a mapping adds no header",
    "an API without an authorizer",
    async () => {
      const backend = await openBackend();
      const parameters = { "integration.request.header.x-user": "context.authorizer.principalId" };
      const routes = { $connect: route(backend, "connect", { parameters }) };
      const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
      expect(headerOf(await (await connected(gateway)).called("connect"), "x-user")).toBeUndefined();
    },
  );

  testLocally("1.6 it is sent to functions as strings in every event", AUTHORIZER, async () => {
    const events: Record<string, { readonly authorizer: Readonly<Record<string, unknown>> }> = {};
    const ended = deferred<void>();
    const handler: LambdaFunction = ({ requestContext }) => {
      events[requestContext.eventType] = requestContext;
      if (requestContext.eventType === "DISCONNECT") ended.resolve();
      return { statusCode: 200, body: "received" };
    };
    const integration = { type: "AWS_PROXY", handler } as const;
    const routes = {
      $connect: { integration, authorization: { type: "CUSTOM", handler: telling } },
      $default: { integration, routeResponse: true },
      $disconnect: { integration },
    } as const;
    const client = await openClient((await openGateway({ apis: [{ routes, stages: { dev: {} } }] })).url);
    client.socket.send("hello");
    await client.text();
    client.socket.close();
    await ended.promise;
    const received = {
      principalId: "anna",
      user: "7",
      level: "3",
      isAdmin: "true",
      isGuest: "false",
      nothing: "",
    };
    expect(events.CONNECT?.authorizer).toEqual({ ...received, integrationLatency: expect.any(Number) });
    expect(events.MESSAGE?.authorizer).toEqual(received);
    expect(events.DISCONNECT?.authorizer).toEqual(received);
  });
});
