import { describe, expect } from "vitest";
import type { FunctionAuthorizer, LambdaFunction, LocalApi } from "../../../src/local/emulator.ts";
import { openClient } from "../../local/rig.ts";
import {
  connect,
  connected,
  type Desk,
  echo,
  handshake,
  headerOf,
  onDesk,
  openBackend,
  openDesk,
  route,
} from "./desk.ts";

const KEYS = "an API that asks for keys";
const parameters = {
  "integration.request.header.x-key": "context.identity.apiKey",
  "integration.request.header.x-key-id": "context.identity.apiKeyId",
};

/** A desk whose first stage has two keys and whose second has none. */
async function keyed(
  more: Partial<LocalApi> = {},
  authorization?: FunctionAuthorizer,
  apiKeyRequired = true,
): Promise<Desk> {
  const backend = await openBackend();
  const guard = authorization ? { authorization, apiKeyRequired } : { apiKeyRequired };
  const routes = {
    $connect: route(backend, "connect", { parameters, ...guard }),
    $default: route(backend, "default", { parameters, routeResponse: true }),
  };
  const stages = { dev: { apiKeys: { one: "value-of-one", two: "value-of-two" } }, test: {} };
  return openDesk({ apis: [{ routes, stages, ...more }] }, backend);
}

const offered = (key: string) => ({ headers: { "x-api-key": key } });

describe("1.2 API keys on $connect", () => {
  onDesk("1.2 without a key it is 403, and $connect is not called", KEYS, async () => {
    const refused = connect(await keyed());
    await expect(refused.client.opened).rejects.toThrow("403");
    expect(await refused.kinds()).toEqual([]);
  });

  for (const key of ["another", "one", "VALUE-OF-ONE", "value-of-one, value-of-two"]) {
    onDesk(`1.2 with the key ${key} it is 403`, KEYS, async () => {
      expect((await handshake(await keyed(), {}, offered(key))).status).toBe(403);
    });
  }

  onDesk("1.2 with a key of another stage it is 403", KEYS, async () => {
    const { url, backend } = await keyed();
    const test = { url: url.replace(/dev$/, "test"), backend };
    expect((await handshake(test, {}, offered("value-of-one"))).status).toBe(403);
  });

  onDesk("1.1 with one of its stage's keys it is let in", KEYS, async () => {
    const desk = await keyed();
    for (const key of ["value-of-one", "value-of-two"])
      expect((await handshake(desk, {}, offered(key))).status).toBe(101);
  });

  onDesk("1.1 messages need no key", KEYS, async () => {
    expect(await echo(await connected(await keyed(), {}, offered("value-of-one")), "heard")).toBe("heard");
  });

  onDesk("1.5 $connect is told the key and its id, and nothing later", KEYS, async () => {
    const arrived = await connected(await keyed(), {}, offered("value-of-two"));
    await echo(arrived, "ok");
    const told = [];
    for (const call of [await arrived.called("connect"), await arrived.called("default")])
      told.push([headerOf(call, "x-key"), headerOf(call, "x-key-id")]);
    expect(told).toEqual([
      ["value-of-two", "two"],
      [undefined, undefined],
    ]);
  });

  onDesk("1.6 so is a function", KEYS, async () => {
    const identities: unknown[] = [];
    const handler: LambdaFunction = ({ requestContext }) => {
      identities.push(requestContext.identity);
      return { statusCode: 200, body: "heard" };
    };
    const integration = { type: "AWS_PROXY", handler } as const;
    const routes = {
      $connect: { integration, apiKeyRequired: true },
      $default: { integration, routeResponse: true },
    };
    const apis = [{ routes, stages: { dev: { apiKeys: { one: "value-of-one" } } } }];
    const client = await openClient((await openDesk({ apis })).url, [], offered("value-of-one"));
    client.socket.send("now");
    await client.text();
    const sourceIp = "127.0.0.1";
    expect(identities).toEqual([{ sourceIp, apiKey: "value-of-one", apiKeyId: "one" }, { sourceIp }]);
  });

  onDesk("1.5 a key that no route asks for is not told of", KEYS, async () => {
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

  onDesk("1.2 by usageIdentifierKey one that is good is let in, and told of", KEYS, async () => {
    const arrived = await connected(await keyed({ apiKeySelectionExpression }, naming), {
      key: "value-of-one",
    });
    expect(headerOf(await arrived.called("connect"), "x-key-id")).toBe("one");
  });

  onDesk("1.2 by usageIdentifierKey another, or none, is 403", KEYS, async () => {
    const desk = await keyed({ apiKeySelectionExpression }, naming);
    expect((await handshake(desk, { key: "another" })).status).toBe(403);
    expect((await handshake(desk)).status).toBe(403);
  });

  onDesk("1.2 by usageIdentifierKey the client's header does not count", KEYS, async () => {
    const desk = await keyed({ apiKeySelectionExpression }, naming);
    expect((await handshake(desk, {}, offered("value-of-one"))).status).toBe(403);
  });

  onDesk("1.2 by the header usageIdentifierKey does not count", KEYS, async () => {
    const desk = await keyed({}, naming);
    expect((await handshake(desk, { key: "value-of-one" })).status).toBe(403);
    expect((await handshake(desk, {}, offered("value-of-one"))).status).toBe(101);
  });

  onDesk("1.2 whom the authorizer does not let in is refused whatever its key", KEYS, async () => {
    const handler = () => Promise.reject(new Error("Unauthorized"));
    const desk = await keyed({}, { type: "CUSTOM", handler });
    expect((await handshake(desk, {}, offered("value-of-one"))).status).toBe(401);
  });

  onDesk("1.2 without an authorizer there is nobody who names one", "an API of one's own", async () => {
    await expect(keyed({ apiKeySelectionExpression })).rejects.toThrow(/reads the result of an authorizer/);
  });
});

describe("1.2 where API keys cannot be", () => {
  const $default = { integration: { type: "HTTP_PROXY", uri: "http://127.0.0.1:9/" } } as const;

  for (const [what, api, words] of [
    [
      "another expression",
      { apiKeySelectionExpression: "$request.querystring.key" },
      /apiKeySelectionExpression must be "\$request\.header\.x-api-key" or/,
    ],
    [
      "a key that $default asks for",
      { routes: { $default: { ...$default, apiKeyRequired: true } } },
      /apiKeyRequired is allowed on \$connect only/,
    ],
    [
      "a key without a value",
      { stages: { dev: { apiKeys: { one: "" } } } },
      /needs a unique value without outer spaces/,
    ],
    [
      "two keys of one value",
      { stages: { dev: { apiKeys: { one: "same", two: "same" } } } },
      /"two" needs a unique value without outer spaces/,
    ],
  ] as const) {
    onDesk(`1.2 ${what} is refused at the start`, "an API of one's own", async () => {
      const apis = [{ routes: { $default }, stages: { dev: {} }, ...api }] as never;
      await expect(openDesk({ apis }, "http://127.0.0.1:9")).rejects.toThrow(words);
    });
  }
});
