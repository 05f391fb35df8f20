import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gatewaySecret, isSecret } from "../../auth/gateways.ts";
import { defineGateway, type GatewayDefinition, type GatewayOptions } from "../define-gateway.ts";
import type { Target } from "../targets.ts";
import { type CloudFormationTemplate, cloudFormationTemplate } from "../template.ts";
import { desiredApi, endpointOf, needsSecret, SECRET_PARAMETER, urlOf } from "./desired.ts";

const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat:live";
const OTHER_LAMBDA = "arn:aws:lambda:eu-west-1:210987654321:function:moderation";
const LOG_GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:chat";
const DOMAIN = {
  name: "ws.example.com",
  certificateArn: "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d",
};

const define = (options: Partial<GatewayOptions> = {}) =>
  defineGateway({ name: "chat", region: "eu-west-1", target: "https://www.example.com/ws/chat", ...options });

const GATEWAYS: readonly (readonly [string, GatewayDefinition])[] = [
  ["of one server", define()],
  [
    "with everything",
    define({
      description: "The chat",
      stage: "live",
      timeoutMs: 5000,
      routes: {
        "a-b": "https://www.example.com/ws/chat/a",
        "a b": "https://www.example.com/ws/chat/b",
        "a.b": { lambda: LAMBDA },
        ab: { lambda: OTHER_LAMBDA },
        again: { lambda: LAMBDA },
        connect: "https://www.example.com/ws/chat/c",
      },
      domain: { ...DOMAIN, mappingKey: "chat" },
      disableExecuteApiEndpoint: true,
      throttling: { ratePerSecond: 100, burst: 200 },
      accessLog: { destinationArn: LOG_GROUP },
      tags: { team: "chat" },
    }),
  ],
  [
    "with several domains",
    define({ domain: [DOMAIN, { ...DOMAIN, name: "ws.example.org" }, { ...DOMAIN, mappingKey: "v1" }] }),
  ],
  ["whose answers are pushed", define({ replies: "push", domain: DOMAIN })],
  [
    "of functions alone",
    define({
      target: { lambda: LAMBDA },
      routes: { moderate: { lambda: OTHER_LAMBDA } },
      account: "123456789012",
    }),
  ],
];

describe("a CloudFormation template", () => {
  test.each(GATEWAYS)(
    "%s refers only to its own resources and parameters, and uses each parameter",
    (_, definition) => {
      const template = cloudFormationTemplate(definition);
      const there = new Set([...Object.keys(template.Resources), ...Object.keys(template.Parameters ?? {})]);
      const named = namesIn(template);
      expect(named).toContain("Api");
      expect(named.filter((name) => !there.has(name) && !name.startsWith("AWS::"))).toEqual([]);
      for (const name of Object.keys(template.Parameters ?? {})) expect(named).toContain(name);
    },
  );

  test.each(GATEWAYS)("%s is plain JSON and the same each time", (_, definition) => {
    const template = cloudFormationTemplate(definition);
    expect(JSON.parse(JSON.stringify(template))).toStrictEqual(template);
    expect(JSON.stringify(cloudFormationTemplate(definition))).toBe(JSON.stringify(template));
  });

  test.each(GATEWAYS)("%s contains the routes that apply would create", (_, definition) => {
    const template = cloudFormationTemplate(definition);
    const { routes } = desiredApi(definition, needsSecret(definition) ? "given" : undefined);
    expect(routesOf(template, "given")).toEqual(routes);
    for (const type of ["Integration", "Route"]) expect(of(template, type)).toHaveLength(routes.length);
    expect(of(template, "RouteResponse")).toHaveLength(routes.filter(({ isAnswered }) => isAnswered).length);
  });

  test.each(GATEWAYS)("%s contains the API and the stage that apply would create", (_, definition) => {
    const template = cloudFormationTemplate(definition);
    const { api } = desiredApi(definition, undefined);
    // Without the tags of Sallyport, by which apply and destroy would find the API.
    const { tags } = definition;
    const tagged = Object.keys(tags).length > 0 ? { Tags: tags } : {};
    expect(of(template, "Api")).toEqual([{ ...api, ProtocolType: "WEBSOCKET", ...tagged }]);
    expect(of(template, "Stage")).toMatchObject([
      { ApiId: { Ref: "Api" }, StageName: definition.stage, AutoDeploy: true, ...tagged },
    ]);
  });

  test.each(GATEWAYS)(
    "%s has no Fn::Sub without a variable and no empty object, such as Tags",
    (_, definition) => {
      const template = cloudFormationTemplate(definition);
      const subs: string[] = [];
      const empty: string[] = [];
      const visit = (value: unknown, path: string): void => {
        if (typeof value !== "object" || value === null) return;
        if (Object.keys(value).length === 0) empty.push(path);
        for (const [name, inner] of Object.entries(value)) {
          if (name === "Fn::Sub") subs.push(String(inner));
          visit(inner, `${path}.${name}`);
        }
      };
      visit(template, "");
      expect(subs.filter((text) => !/\$\{[^!]/.test(text))).toEqual([]);
      expect(empty).toEqual([]);
    },
  );

  test("sets throttling and the access log of the stage only if they are defined", () => {
    const [plain] = of(cloudFormationTemplate(define()), "Stage");
    expect(plain).not.toHaveProperty("DefaultRouteSettings");
    expect(plain).not.toHaveProperty("AccessLogSettings");
    const definition = define({
      throttling: { ratePerSecond: 0.5, burst: 1 },
      accessLog: { destinationArn: LOG_GROUP, format: "$context.requestId" },
    });
    expect(of(cloudFormationTemplate(definition), "Stage")).toMatchObject([
      {
        DefaultRouteSettings: { ThrottlingRateLimit: 0.5, ThrottlingBurstLimit: 1 },
        AccessLogSettings: { DestinationArn: LOG_GROUP, Format: "$context.requestId" },
      },
    ]);
  });

  test.each(GATEWAYS)("%s contains the secret only as a reference to its parameter", (_, definition) => {
    const template = cloudFormationTemplate(definition);
    const secrets = of(template, "Integration").flatMap(({ RequestParameters = {} }) =>
      Object.entries(RequestParameters as object).filter(([name]) => name === SECRET_PARAMETER),
    );
    const http = of(template, "Integration").filter(
      ({ IntegrationType }) => IntegrationType === "HTTP_PROXY",
    );
    expect(secrets).toEqual(http.map(() => [SECRET_PARAMETER, { "Fn::Sub": `'\${SallyportSecret}'` }]));
    expect(Object.keys(template.Parameters ?? {})).toEqual(http.length > 0 ? ["SallyportSecret"] : []);
    expect(JSON.stringify(template)).not.toContain("'secret'");
  });

  test("accepts the same secrets as registerGateway() and hides them with NoEcho", () => {
    const parameter = cloudFormationTemplate(define()).Parameters?.SallyportSecret as Record<string, unknown>;
    expect(parameter).toMatchObject({ Type: "String", NoEcho: true });
    expect(parameter).not.toHaveProperty("Default");
    const pattern = new RegExp(`^(?:${parameter.AllowedPattern})$`);
    const x = "x".repeat(31);
    for (const secret of [
      gatewaySecret(),
      x,
      `${x}x`,
      "x".repeat(256),
      "x".repeat(257),
      `${x}'`,
      `${x},`,
      `${x}_-`,
    ])
      expect(pattern.test(secret), secret).toBe(isSecret(secret));
  });

  test("has separate resources for routes that differ only in punctuation or case", () => {
    const keys = ["a-b", "a b", "a.b", "a_b", "ab", "AB", "aB", "a/b", "ä", "ö", "connect", "default", "✓"];
    const routes = Object.fromEntries(keys.map((key) => [key, { lambda: LAMBDA }]));
    const template = cloudFormationTemplate(define({ routes }));
    expect(of(template, "Route").map(({ RouteKey }) => RouteKey)).toEqual([
      "$connect",
      "$disconnect",
      "$default",
      ...[...keys].sort(),
    ]);
    const targets = of(template, "Route").map(({ Target }) => JSON.stringify(Target));
    expect(new Set(targets).size).toBe(keys.length + 3);
  });

  test("has unique alphanumeric resource names for any route keys", () => {
    const key = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 30 })
      .filter((text) => /^[^$\s](.*\S)?$/s.test(text));
    const target: fc.Arbitrary<Target> = fc.constantFrom("https://www.example.com/ws/chat/x", {
      lambda: LAMBDA,
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(key, target), { maxLength: 12, selector: ([name]) => name }),
        (routes) => {
          const definition = define({ routes: Object.fromEntries(routes) });
          const template = cloudFormationTemplate(definition);
          for (const id of Object.keys(template.Resources)) expect(id).toMatch(/^[A-Za-z0-9]{1,255}$/);
          expect(routesOf(template, "given")).toEqual(desiredApi(definition, "given").routes);
        },
      ),
    );
  });

  test("has resource names of at most 255 characters for the longest route key", () => {
    const routes = { ["k".repeat(128)]: { lambda: LAMBDA } };
    for (const id of Object.keys(cloudFormationTemplate(define({ routes })).Resources))
      expect(id.length).toBeLessThanOrEqual(255);
  });

  test("is rejected if it has more than 500 resources", () => {
    const routes = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, n) => [`r${n}`, `https://www.example.com/ws/chat/r${n}`]),
      );
    // API and stage are 2 resources, the three base routes 7, and each custom route 3.
    const { Resources } = cloudFormationTemplate(define({ routes: routes(163) }));
    expect(Object.keys(Resources)).toHaveLength(2 + 7 + 3 * 163);
    expect(() => cloudFormationTemplate(define({ routes: routes(164) }))).toThrow(
      /needs 501 resources, but a CloudFormation template can have at most 500/,
    );
  });

  test("allows only this API to invoke each function, with one permission per function", () => {
    const [, everything] = GATEWAYS[1] ?? [];
    const permissions = Object.values(
      cloudFormationTemplate(everything as GatewayDefinition).Resources,
    ).filter(({ Type }) => Type === "AWS::Lambda::Permission");
    const permission = (lambda: string) => ({
      FunctionName: lambda,
      Action: "lambda:InvokeFunction",
      Principal: "apigateway.amazonaws.com",
      SourceArn: { "Fn::Sub": `arn:aws:execute-api:eu-west-1:\${AWS::AccountId}:\${Api}/*` },
    });
    expect(permissions.map(({ Properties }) => Properties)).toEqual([
      permission(LAMBDA),
      permission(OTHER_LAMBDA),
    ]);
    const china = define({
      region: "cn-north-1",
      target: { lambda: "arn:aws-cn:lambda:cn-north-1:123456789012:function:chat" },
    });
    expect(JSON.stringify(cloudFormationTemplate(china))).not.toContain("arn:aws:");
  });

  test("maps a custom domain to the stage, with its mapping key if it has one", () => {
    const mappingOf = (domain: GatewayOptions["domain"]) =>
      of(cloudFormationTemplate(define(domain ? { domain } : {})), "ApiMapping");
    const mapping = { ApiId: { Ref: "Api" }, DomainName: { Ref: "Domain" }, Stage: { Ref: "Stage" } };
    expect(mappingOf(DOMAIN)).toEqual([mapping]);
    expect(mappingOf({ ...DOMAIN, mappingKey: "chat" })).toEqual([{ ...mapping, ApiMappingKey: "chat" }]);
    expect(mappingOf(undefined)).toEqual([]);
    expect(of(cloudFormationTemplate(define({ domain: DOMAIN })), "DomainName")).toEqual([
      {
        DomainName: "ws.example.com",
        DomainNameConfigurations: [
          { CertificateArn: DOMAIN.certificateArn, EndpointType: "REGIONAL", SecurityPolicy: "TLS_1_2" },
        ],
      },
    ]);
  });

  test.each(GATEWAYS)("%s outputs the addresses that apply would store", (_, definition) => {
    const { Outputs } = cloudFormationTemplate(definition);
    const api = {
      ApiId: "a1b2c3d4e5",
      ApiEndpoint: "wss://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com",
    };
    expect(resolved(Outputs.ApiId?.Value)).toBe("a1b2c3d4e5");
    expect(resolved(Outputs.Endpoint?.Value)).toBe(endpointOf(definition, api, undefined));
    expect(resolved(Outputs.Url?.Value)).toBe(urlOf(definition, api));
    expect(Outputs.Stage?.Value).toEqual({ Ref: "Stage" });
    expect(Outputs.Replies?.Value).toBe(definition.replies);
    const of = (attribute: string) =>
      definition.domains.length > 0 ? { "Fn::GetAtt": ["Domain", attribute] } : undefined;
    expect(Outputs.DnsTarget?.Value).toEqual(of("RegionalDomainName"));
    expect(Outputs.DnsTargetZone?.Value).toEqual(of("RegionalHostedZoneId"));
  });
});

type Properties = Readonly<Record<string, unknown>>;

/** Returns the properties of all resources of an API Gateway type. */
function of(template: CloudFormationTemplate, type: string): readonly Properties[] {
  return Object.values(template.Resources)
    .filter(({ Type }) => Type === `AWS::ApiGatewayV2::${type}`)
    .map(({ Properties }) => Properties as Properties);
}

/** Returns the routes of a template in the form of desiredApi(). */
function routesOf(template: CloudFormationTemplate, secret: string) {
  const responses = of(template, "RouteResponse").map(({ RouteId, RouteResponseKey, ApiId }) => {
    expect([RouteResponseKey, ApiId]).toEqual(["$default", { Ref: "Api" }]);
    return (RouteId as { readonly Ref: string }).Ref;
  });
  return Object.entries(template.Resources).flatMap(([id, { Type, Properties }]) => {
    if (Type !== "AWS::ApiGatewayV2::Route") return [];
    const { RouteKey, Target, RouteResponseSelectionExpression, ...rest } = Properties as Properties;
    expect(rest).toEqual({ ApiId: { Ref: "Api" }, AuthorizationType: "NONE" });
    const [, target = ""] =
      /^integrations\/\$\{(\w+)\}$/.exec((Target as { "Fn::Sub": string })["Fn::Sub"]) ?? [];
    const {
      ApiId,
      RequestParameters = {},
      ...fields
    } = (template.Resources[target]?.Properties ?? {}) as Properties;
    expect(ApiId).toEqual({ Ref: "Api" });
    const parameters = { ...(RequestParameters as Properties) };
    if (SECRET_PARAMETER in parameters) parameters[SECRET_PARAMETER] = `'${secret}'`;
    const isAnswered = RouteResponseSelectionExpression === "$default";
    expect(responses.includes(id)).toBe(isAnswered);
    return [{ key: RouteKey, integration: { ...fields, RequestParameters: parameters }, isAnswered }];
  });
}

/** Returns each name that a part of a template refers to. */
function namesIn(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.flatMap(namesIn);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (key === "Ref") return [String(inner)];
    if (key === "Fn::GetAtt") return [String((inner as readonly unknown[])[0])];
    if (key === "DependsOn") return [inner].flat().map(String);
    if (key === "Fn::Sub")
      return [...String(inner).matchAll(/\$\{([^!}][^.}]*)[^}]*\}/g)].map(([, name = ""]) => name);
    return namesIn(inner);
  });
}

/** Resolves a reference as CloudFormation does, with the API id a1b2c3d4e5. */
function resolved(value: unknown): string {
  const values: Readonly<Record<string, string>> = {
    Api: "a1b2c3d4e5",
    "AWS::Region": "eu-west-1",
    "AWS::URLSuffix": "amazonaws.com",
  };
  if (typeof value === "string") return value;
  const { Ref = "", "Fn::Sub": text } = value as { readonly Ref?: string; readonly "Fn::Sub"?: string };
  return text?.replace(/\$\{([^}]+)\}/g, (_, name: string) => values[name] ?? "") ?? values[Ref] ?? "";
}
