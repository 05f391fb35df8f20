import { describe, expect } from "vitest";
import type { FunctionAuthorizer, LambdaFunction, LocalApi } from "../../../src/local/emulator.ts";
import { openClient } from "../../local/rig.ts";
import {
  connect,
  connected,
  echo,
  type GatewayUnderTest,
  handshake,
  headerOf,
  openBackend,
  openGateway,
  route,
  testLocally,
} from "./gateway-under-test.ts";

const KEYS = "an API with API keys";
const parameters = {
  "integration.request.header.x-key": "context.identity.apiKey",
  "integration.request.header.x-key-id": "context.identity.apiKeyId",
};

/** Opens a gateway whose first stage has two keys. Its second stage has none. */
async function keyed(
  more: Partial<LocalApi> = {},
  authorization?: FunctionAuthorizer,
  apiKeyRequired = true,
): Promise<GatewayUnderTest> {
  const backend = await openBackend();
  const options = authorization ? { authorization, apiKeyRequired } : { apiKeyRequired };
  const routes = {
    $connect: route(backend, "connect", { parameters, ...options }),
    $default: route(backend, "default", { parameters, routeResponse: true }),
  };
  const stages = { dev: { apiKeys: { one: "value-of-one", two: "value-of-two" } }, test: {} };
  return openGateway({ apis: [{ routes, stages, ...more }] }, backend);
}

const offered = (key: string) => ({ headers: { "x-api-key": key } });

describe("1.2 API keys on $connect", () => {
  testLocally("1.2 without a key it is 403, and $connect is not called", KEYS, async () => {
    const rejected = connect(await keyed());
    await expect(rejected.client.opened).rejects.toThrow("403");
    expect(await rejected.kinds()).toEqual([]);
  });

  for (const key of ["another", "one", "VALUE-OF-ONE", "value-of-one, value-of-two"]) {
    testLocally(`1.2 with the key ${key} it is 403`, KEYS, async () => {
      expect((await handshake(await keyed(), {}, offered(key))).status).toBe(403);
    });
  }

  testLocally("1.2 a key of another stage is rejected with 403", KEYS, async () => {
    const { url, backend } = await keyed();
    const test = { url: url.replace(/dev$/, "test"), backend };
    expect((await handshake(test, {}, offered("value-of-one"))).status).toBe(403);
  });

  testLocally("1.1 a key of its stage is accepted", KEYS, async () => {
    const gateway = await keyed();
    for (const key of ["value-of-one", "value-of-two"])
      expect((await handshake(gateway, {}, offered(key))).status).toBe(101);
  });

  testLocally("1.1 messages need no key", KEYS, async () => {
    expect(await echo(await connected(await keyed(), {}, offered("value-of-one")), "received")).toBe(
      "received",
    );
  });

  testLocally("1.5 $connect contains the key and its id, and later events do not", KEYS, async () => {
    const arrived = await connected(await keyed(), {}, offered("value-of-two"));
    await echo(arrived, "ok");
    const received = [];
    for (const call of [await arrived.called("connect"), await arrived.called("default")])
      received.push([headerOf(call, "x-key"), headerOf(call, "x-key-id")]);
    expect(received).toEqual([
      ["value-of-two", "two"],
      [undefined, undefined],
    ]);
  });

  testLocally("1.6 the same holds for a function", KEYS, async () => {
    const identities: unknown[] = [];
    const handler: LambdaFunction = ({ requestContext }) => {
      identities.push(requestContext.identity);
      return { statusCode: 200, body: "received" };
    };
    const integration = { type: "AWS_PROXY", handler } as const;
    const routes = {
      $connect: { integration, apiKeyRequired: true },
      $default: { integration, routeResponse: true },
    };
    const apis = [{ routes, stages: { dev: { apiKeys: { one: "value-of-one" } } } }];
    const client = await openClient((await openGateway({ apis })).url, [], offered("value-of-one"));
    client.socket.send("now");
    await client.text();
    const sourceIp = "127.0.0.1";
    expect(identities).toEqual([{ sourceIp, apiKey: "value-of-one", apiKeyId: "one" }, { sourceIp }]);
  });

  testLocally("1.5 a key on a route that requires none is not forwarded", KEYS, async () => {
    const arrived = await connected(await keyed({}, undefined, false), {}, offered("value-of-two"));
    const call = await arrived.called("connect");
    expect([headerOf(call, "x-key"), headerOf(call, "x-key-id")]).toEqual([undefined, undefined]);
  });
});

describe("1.2 API keys that an authorizer names", () => {
  const naming: FunctionAuthorizer = {
    type: "CUSTOM",
    handler: ({ methodArn, queryStringParameters }) => ({
      principalId: "anna",
      policyDocument: {
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "execute-api:Invoke", Resource: methodArn }],
      },
      usageIdentifierKey: queryStringParameters.key,
    }),
  };
  const apiKeySelectionExpression = "$context.authorizer.usageIdentifierKey";

  testLocally("1.2 a valid usageIdentifierKey is accepted and forwarded", KEYS, async () => {
    const arrived = await connected(await keyed({ apiKeySelectionExpression }, naming), {
      key: "value-of-one",
    });
    expect(headerOf(await arrived.called("connect"), "x-key-id")).toBe("one");
  });

  testLocally("1.2 an invalid or missing usageIdentifierKey is rejected with 403", KEYS, async () => {
    const gateway = await keyed({ apiKeySelectionExpression }, naming);
    expect((await handshake(gateway, { key: "another" })).status).toBe(403);
    expect((await handshake(gateway)).status).toBe(403);
  });

  testLocally("1.2 with the source AUTHORIZER the header of the client is ignored", KEYS, async () => {
    const gateway = await keyed({ apiKeySelectionExpression }, naming);
    expect((await handshake(gateway, {}, offered("value-of-one"))).status).toBe(403);
  });

  testLocally("1.2 with the source HEADER usageIdentifierKey is ignored", KEYS, async () => {
    const gateway = await keyed({}, naming);
    expect((await handshake(gateway, { key: "value-of-one" })).status).toBe(403);
    expect((await handshake(gateway, {}, offered("value-of-one"))).status).toBe(101);
  });

  testLocally("1.2 a client that the authorizer denies is rejected with any key", KEYS, async () => {
    const handler = () => Promise.reject(new Error("Unauthorized"));
    const gateway = await keyed({}, { type: "CUSTOM", handler });
    expect((await handshake(gateway, {}, offered("value-of-one"))).status).toBe(401);
  });

  testLocally("1.2 the source AUTHORIZER needs an authorizer", "a separate API", async () => {
    await expect(keyed({ apiKeySelectionExpression })).rejects.toThrow(/reads the result of an authorizer/);
  });
});

describe("1.2 invalid API keys", () => {
  const $default = { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } } as const;

  for (const [what, api, words] of [
    [
      "another expression",
      { apiKeySelectionExpression: "$request.querystring.key" },
      /apiKeySelectionExpression must be "\$request\.header\.x-api-key" or/,
    ],
    [
      "a key that $default requires",
      { routes: { $default: { ...$default, apiKeyRequired: true } } },
      /apiKeyRequired is allowed on \$connect only/,
    ],
    [
      "a key without a value",
      { stages: { dev: { apiKeys: { one: "" } } } },
      /needs a unique value without outer spaces/,
    ],
    [
      "two keys with the same value",
      { stages: { dev: { apiKeys: { one: "same", two: "same" } } } },
      /"two" needs a unique value without outer spaces/,
    ],
  ] as const) {
    testLocally(`1.2 ${what} is rejected at startup`, "a separate gateway", async () => {
      const apis = [{ routes: { $default }, stages: { dev: {} }, ...api }] as never;
      await expect(openGateway({ apis }, "http://127.0.0.1:9")).rejects.toThrow(words);
    });
  }
});
