import { describe, expect } from "vitest";
import type { LocalGatewayOptions } from "../../../src/local/emulator.ts";
import { allowAll } from "./authorizer-gateway.ts";
import {
  connected,
  echo,
  handshake,
  openBackend,
  openGateway,
  route,
  testLocally,
} from "./gateway-under-test.ts";

const OWN = "a separate gateway";
const uri = "http://127.0.0.1:9/";
const integration = { type: "HTTP_PROXY", uri } as const;
const custom = { type: "CUSTOM", handler: allowAll } as const;

/** Returns the options of a gateway with one API, with some parts replaced. */
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

/** Invalid options, by the message that rejects them. */
const NOT_UNDERSTOOD: readonly (readonly [words: RegExp, options: object])[] = [
  [/idleTimeout is not an option\. Did you mean "idleTimeoutMs"/, { idleTimeout: 1 }],
  [/an API: route is not an option\. Did you mean "routes"/, withApi({ route: {} })],
  [
    /routes\["\$connect"\]: authorisation is not an option\. Did you mean "authorization"/,
    withConnect({ authorisation: custom }),
  ],
  [/apiKeyRequire is not an option\. Did you mean "apiKeyRequired"/, withConnect({ apiKeyRequire: true })],
  [/apiKeyRequired must be true or false, but received "true"/, withConnect({ apiKeyRequired: "true" })],
  [
    /modelSelectionExpression is not an option\. The emulator has no models/,
    withConnect({ modelSelectionExpression: "x" }),
  ],
  [/requestModels is not an option\. The emulator has no models/, withConnect({ requestModels: {} })],
  [
    /routeResponseSelectionExpression is not an option\. Write routeResponse/,
    withConnect({ routeResponseSelectionExpression: "$default" }),
  ],
  [
    /contentHandlingStrategy is not an option\. The emulator does not convert/,
    withIntegration({ contentHandlingStrategy: "CONVERT_TO_BINARY" }),
  ],
  [
    /connectionType is not an option\. The emulator has no VPC links/,
    withIntegration({ connectionType: "VPC_LINK" }),
  ],
  [
    /passthroughBehavior is not an option\. The emulator has no templates/,
    withIntegration({ passthroughBehavior: "NEVER" }),
  ],
  [
    /requestTemplates is not an option\. The emulator has no templates/,
    withIntegration({ requestTemplates: {} }),
  ],
  [/timeoutInMillis is not an option\. Write timeoutMs/, withIntegration({ timeoutInMillis: 50 })],
  [/"G ET" is not an HTTP method/, withIntegration({ method: "G ET" })],
  [/uri must be a string or an array of strings, but received 5/, withIntegration({ uri: 5 })],
  [/has no integration\. Write/, withApi({ routes: { $connect: {} } })],
  [/routes\.\$connect must be an object, but received null/, withApi({ routes: { $connect: null } })],
  [/stages\.dev must be an object, but received null/, withApi({ stages: { dev: null } })],
  [/an API: the options must be a plain object, but received null/, { apis: [null] }],
  [/apis must be an array, but received an empty object/, { apis: {} }],
  [
    /identitySource must be an array of strings, but received "text"/,
    withConnect({ authorization: { ...custom, identitySource: "text" } }),
  ],
  [
    /authorization: identitySources is not an option/,
    withConnect({ authorization: { ...custom, identitySources: [] } }),
  ],
  [
    /authorization: handler is not an option/,
    { ...withConnect({ authorization: { ...custom, type: "AWS_IAM" } }) },
  ],
  [/stage "dev": variable is not an option\. Did you mean "variables"/, withStage({ variable: {} })],
  [
    /stage "dev": defaultRouteSettings is not an option\. Write throttling/,
    withStage({ defaultRouteSettings: {} }),
  ],
  [/apiKeys must be an object of strings/, withStage({ apiKeys: ["a"] })],
  [/"one" needs a unique value without outer spaces/, withStage({ apiKeys: { one: " value" } })],
  [
    /routeSettings\["nobody"\] is for a route that does not exist/,
    withStage({ routeSettings: { nobody: { ratePerSecond: 1, burst: 1 } } }),
  ],
  [
    /routeSettings\["\$default"\] must have a rate and a burst of at least 0/,
    withStage({ routeSettings: { $default: { burst: 1 } } }),
  ],
  [
    /throttling: throttlingRateLimit is not an option\. Write ratePerSecond/,
    withStage({ throttling: { throttlingRateLimit: 1 } }),
  ],
  [/accountThrottling: ratePerSecond is not an option/, { accountThrottling: { ratePerSecond: 1 } }],
  [/managementThrottling must be an object, but received null/, { managementThrottling: null }],
  [/credentials are not complete/, { credentials: {} }],
  [/credentials are not complete/, { credentials: { accessKeyId: "a", secretKey: "b" } }],
  [
    /onHttpError must be "body" or "errorFrame" or "silent", but received "nonsense"/,
    { onHttpError: "nonsense" },
  ],
  [
    /onThrottledMessage must be "silent" or "errorFrame", but received "close"/,
    { onThrottledMessage: "close" },
  ],
  [/host must be a string, but received 5/, { host: 5 }],
  [/onError must be a function/, { onError: "log" }],
  [/clock must be an object with the functions now and after/, { clock: {} }],
  [/tls: passphrase is not an option/, { tls: { key: "x", cert: "y", passphrase: "z" } }],
  [
    /apiId must be .* lower-case letters and digits, but received "FIRST00000"/,
    withApi({ id: "FIRST00000" }),
  ],
  [/"WS\.example\.test" is not a domain name/, withMapping("WS.example.test", "")],
  [/"ws\.example\.test:443" is not a domain name/, withMapping("ws.example.test:443", "")],
  [/"ws\.example\.test\/a b" is not a key that AWS accepts/, withMapping("ws.example.test", "a b")],
  [/"ws\.example\.test\/ping" is not a key that AWS accepts/, withMapping("ws.example.test", "ping")],
];

describe("invalid options", () => {
  for (const [words, options] of NOT_UNDERSTOOD) {
    testLocally(`6.2 are rejected at startup: ${words.source}`, OWN, async () => {
      const starting = openGateway(options as Partial<LocalGatewayOptions>, "http://127.0.0.1:9");
      await expect(starting).rejects.toMatchObject({
        name: "ConfigurationError",
        message: expect.stringMatching(words),
      });
    });
  }

  for (const [words, api, to] of [
    [/at least one route/, {}, {}],
    [/deploy\(\): the API: the options must be a plain object, but received undefined/, undefined, {}],
    [/the API: stages is not an option/, withApi({}).apis[0], {}],
    [/deploy\(\): name is not an option/, { routes: {} }, { name: "dev" }],
    [
      /There is no API "another" to deploy to/,
      { routes: { $default: { integration } } },
      { apiId: "another" },
    ],
    [/stage "dev" exists already/, { routes: { $default: { integration } } }, { options: {} }],
  ] as const) {
    testLocally(`6.2 are rejected by deploy(): ${words.source}`, OWN, async () => {
      const { local } = await openGateway({});
      expect(() => local.deploy(api as never, to as never)).toThrow(
        expect.objectContaining({ name: "ConfigurationError", message: expect.stringMatching(words) }),
      );
    });
  }

  testLocally("§9.21 are rejected by setFaults(): a misspelled name", OWN, async () => {
    const { local } = await openGateway({});
    expect(() => local.setFaults({ drops: 1 } as never)).toThrow(
      /drops is not an option\. Did you mean "drop"/,
    );
  });
});

describe("an unknown impairment", () => {
  testLocally("§9.22 is rejected", OWN, async () => {
    const { local } = await openGateway({});
    expect(() => local.impair("L0SM9cOFvHcCIhw=", "broken" as never)).toThrow(
      'fault must be "none" or "half-open" or "not-reading", but received "broken".',
    );
  });
});

describe("4 throttling by route", () => {
  testLocally("4 the settings of a route replace those of its stage", "a separate stage", async () => {
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
    const gateway = await openGateway(
      { apis: [{ routes, stages }], onThrottledMessage: "errorFrame" },
      backend,
    );
    const arrived = await connected(gateway);
    for (const body of ["one", "two", "three"])
      expect(await echo(arrived, body, { action: "custom" })).toBe(body);
    expect(await echo(arrived, "first")).toBe("first");
    expect(await echo(arrived, "second")).toContain("Too Many Requests");
    expect([(await handshake(gateway)).status, (await handshake(gateway)).status]).toEqual([101, 429]);
  });
});
