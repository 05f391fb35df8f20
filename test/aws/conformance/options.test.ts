import { describe, expect } from "vitest";
import type { LocalGatewayOptions } from "../../../src/local/emulator.ts";
import { connected, echo, handshake, onDesk, openBackend, openDesk, route } from "./desk.ts";
import { admitting } from "./guarded.ts";

const OWN = "a gateway of one's own";
const uri = "http://127.0.0.1:9/";
const integration = { type: "HTTP_PROXY", uri } as const;
const custom = { type: "CUSTOM", handler: admitting } as const;

/** Options of a gateway with one API, a part of which is another. */
const withApi = (api: object) => ({
  apis: [{ routes: { $default: { integration } }, stages: { dev: {} }, ...api }],
});
const withConnect = (connect: object) => withApi({ routes: { $connect: { integration, ...connect } } });
const withIntegration = (more: object) => withConnect({ integration: { ...integration, ...more } });
const withStage = (stage: object) => withApi({ stages: { dev: stage } });
const withMapping = (domain: string, key: string) => ({
  ...withApi({ id: "first00000" }),
  domains: { [domain]: { [key]: { apiId: "first00000", stage: "dev" } } },
});

/** Options that are not understood, by the words that they are refused with. */
const NOT_UNDERSTOOD: readonly (readonly [words: RegExp, options: object])[] = [
  [/has no option "idleTimeout"\. Did you mean "idleTimeoutMs"/, { idleTimeout: 1 }],
  [/an API has no option "route"\. Did you mean "routes"/, withApi({ route: {} })],
  [
    /routes\["\$connect"\] has no option "authorisation"\. Did you mean "authorization"/,
    withConnect({ authorisation: custom }),
  ],
  [/has no option "apiKeyRequire"\. Did you mean "apiKeyRequired"/, withConnect({ apiKeyRequire: true })],
  [/apiKeyRequired is to be a boolean, not "true"/, withConnect({ apiKeyRequired: "true" })],
  [
    /has no option "modelSelectionExpression"\. Models are not played/,
    withConnect({ modelSelectionExpression: "x" }),
  ],
  [/has no option "requestModels"\. Models are not played/, withConnect({ requestModels: {} })],
  [
    /has no option "routeResponseSelectionExpression"\. Write routeResponse/,
    withConnect({ routeResponseSelectionExpression: "$default" }),
  ],
  [
    /has no option "contentHandlingStrategy"\. Content handling/,
    withIntegration({ contentHandlingStrategy: "CONVERT_TO_BINARY" }),
  ],
  [/has no option "connectionType"\. VPC links/, withIntegration({ connectionType: "VPC_LINK" })],
  [/has no option "passthroughBehavior"\. Templates/, withIntegration({ passthroughBehavior: "NEVER" })],
  [/has no option "requestTemplates"\. Templates/, withIntegration({ requestTemplates: {} })],
  [/has no option "timeoutInMillis"\. Write timeoutMs/, withIntegration({ timeoutInMillis: 50 })],
  [/"G ET" is no method/, withIntegration({ method: "G ET" })],
  [/uri is to be a text or list of texts, not 5/, withIntegration({ uri: 5 })],
  [/has no integration\. Write/, withApi({ routes: { $connect: {} } })],
  [/routes is to be an object of objects/, withApi({ routes: { $connect: null } })],
  [/stages is to be an object of objects/, withApi({ stages: { dev: null } })],
  [/an API is to be an object, not null/, { apis: [null] }],
  [/apis is to be a list/, { apis: {} }],
  [
    /identitySource is to be a list of texts, not "text"/,
    withConnect({ authorization: { ...custom, identitySource: "text" } }),
  ],
  [
    /authorization has no option "identitySources"/,
    withConnect({ authorization: { ...custom, identitySources: [] } }),
  ],
  [
    /authorization has no option "handler"/,
    { ...withConnect({ authorization: { ...custom, type: "AWS_IAM" } }) },
  ],
  [/stage "dev" has no option "variable"\. Did you mean "variables"/, withStage({ variable: {} })],
  [
    /stage "dev" has no option "defaultRouteSettings"\. Write throttling/,
    withStage({ defaultRouteSettings: {} }),
  ],
  [/apiKeys is to be an object of texts/, withStage({ apiKeys: ["a"] })],
  [/"one" has no value of its own/, withStage({ apiKeys: { one: " value" } })],
  [
    /routeSettings\["nobody"\] is for a route that is not there/,
    withStage({ routeSettings: { nobody: { ratePerSecond: 1, burst: 1 } } }),
  ],
  [/routeSettings\["\$default"\] is no throttling/, withStage({ routeSettings: { $default: { burst: 1 } } })],
  [
    /throttling has no option "throttlingRateLimit"\. Write ratePerSecond/,
    withStage({ throttling: { throttlingRateLimit: 1 } }),
  ],
  [/accountThrottling has no option "ratePerSecond"/, { accountThrottling: { ratePerSecond: 1 } }],
  [/managementThrottling is to be an object, not null/, { managementThrottling: null }],
  [/credentials are not complete/, { credentials: {} }],
  [/credentials are not complete/, { credentials: { accessKeyId: "a", secretKey: "b" } }],
  [/onHttpError is "body" or "errorFrame" or "silent", not "nonsense"/, { onHttpError: "nonsense" }],
  [/onThrottledMessage is "silent" or "errorFrame", not "close"/, { onThrottledMessage: "close" }],
  [/host is to be a text, not 5/, { host: 5 }],
  [/onError is to be a function/, { onError: "log" }],
  [/clock tells no time/, { clock: {} }],
  [/tls has no option "passphrase"/, { tls: { key: "x", cert: "y", passphrase: "z" } }],
  [/"FIRST00000" is no API id\. Use lower-case/, withApi({ id: "FIRST00000" })],
  [/"WS\.example\.test" is no domain/, withMapping("WS.example.test", "")],
  [/"ws\.example\.test:443" is no domain/, withMapping("ws.example.test:443", "")],
  [/"ws\.example\.test\/a b" is no key that AWS takes/, withMapping("ws.example.test", "a b")],
  [/"ws\.example\.test\/ping" is no key that AWS takes/, withMapping("ws.example.test", "ping")],
];

describe("options that are not understood", () => {
  for (const [words, options] of NOT_UNDERSTOOD) {
    onDesk(`6.2 are refused at the start: ${words.source}`, OWN, async () => {
      const starting = openDesk(options as Partial<LocalGatewayOptions>, "http://127.0.0.1:9");
      await expect(starting).rejects.toMatchObject({
        name: "ConfigurationError",
        message: expect.stringMatching(words),
      });
    });
  }

  for (const [words, api, to] of [
    [/at least one route/, {}, {}],
    [/deploy\(\): the API is to be an object, not undefined/, undefined, {}],
    [/the API has no option "stages"/, withApi({}).apis[0], {}],
    [/deploy\(\) has no option "name"/, { routes: {} }, { name: "dev" }],
    [
      /There is no API "another" to deploy to/,
      { routes: { $default: { integration } } },
      { apiId: "another" },
    ],
    [/stage "dev" is there already/, { routes: { $default: { integration } } }, { options: {} }],
  ] as const) {
    onDesk(`6.2 are refused by deploy(): ${words.source}`, OWN, async () => {
      const { local } = await openDesk({});
      expect(() => local.deploy(api as never, to as never)).toThrow(
        expect.objectContaining({ name: "ConfigurationError", message: expect.stringMatching(words) }),
      );
    });
  }

  onDesk("§9.21 are refused by setFaults(): a name that is misspelt", OWN, async () => {
    const { local } = await openDesk({});
    expect(() => local.setFaults({ drops: 1 } as never)).toThrow(/no option "drops"\. Did you mean "drop"/);
  });
});

describe("an impairment that there is not", () => {
  onDesk("§9.22 is refused", OWN, async () => {
    const { local } = await openDesk({});
    expect(() => local.impair("L0SM9cOFvHcCIhw=", "broken" as never)).toThrow(
      'impairment is "none" or "half-open" or "not-reading", not "broken".',
    );
  });
});

describe("4 throttling by route", () => {
  onDesk(
    "4 a route's own settings count for it in place of its stage's",
    "a stage of one's own",
    async () => {
      const backend = await openBackend();
      const routes = {
        $connect: route(backend, "connect"),
        $default: route(backend, "default", { routeResponse: true }),
        custom: route(backend, "custom", { routeResponse: true }),
      };
      const routeSettings = {
        $connect: { ratePerSecond: 0.001, burst: 2 },
        custom: { ratePerSecond: 1000, burst: 1000 },
      };
      const stages = { dev: { throttling: { ratePerSecond: 0.001, burst: 1 }, routeSettings } };
      const desk = await openDesk({ apis: [{ routes, stages }], onThrottledMessage: "errorFrame" }, backend);
      const arrived = await connected(desk);
      for (const body of ["one", "two", "three"])
        expect(await echo(arrived, body, { action: "custom" })).toBe(body);
      expect(await echo(arrived, "first")).toBe("first");
      expect(await echo(arrived, "second")).toContain("Too Many Requests");
      expect([(await handshake(desk)).status, (await handshake(desk)).status]).toEqual([101, 429]);
    },
  );
});
