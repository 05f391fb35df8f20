import { describe, expect, test } from "vitest";
import { cloudFormationTemplate } from "./cloudformation.ts";
import { defineGateway, type GatewayOptions } from "./definition.ts";
import { desiredApi, SECRET_PARAMETER } from "./desired.ts";
import { gatewayPolicies } from "./policies.ts";

const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat";
const define = (options: Partial<GatewayOptions> = {}) =>
  defineGateway({ name: "chat", region: "eu-west-1", target: "https://www.example.com/ws/chat", ...options });
const EVERYTHING: Partial<GatewayOptions> = {
  routes: {
    "a-b": { lambda: LAMBDA },
    "a b": "https://www.example.com/ws/chat/ab",
    "a.b": "https://www.example.com/ws/chat/a_b",
  },
  domain: {
    name: "ws.example.com",
    certificateArn: "arn:aws:acm:eu-west-1:123456789012:certificate/x",
    mappingKey: "chat",
  },
  throttling: { ratePerSecond: 100, burst: 200 },
  accessLog: { destinationArn: "arn:aws:logs:eu-west-1:123456789012:log-group:chat" },
  tags: { team: "chat" },
};

describe("policies", () => {
  test("let the app send to its stage and close its sockets, and nothing else", () => {
    const { runtime } = gatewayPolicies(define(), { account: "123456789012", apiId: "a1b2c3d4e5" });
    const connections = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/production";
    expect(runtime.Statement).toEqual([
      {
        Sid: "SendAndClose",
        Effect: "Allow",
        Action: ["execute-api:ManageConnections"],
        Resource: [`${connections}/POST/@connections/*`, `${connections}/DELETE/@connections/*`],
      },
    ]);
  });

  test("let whoever provisions reach this API alone once it is there, and domains, functions and logs where they are wanted", () => {
    const plain = gatewayPolicies(define(), { apiId: "a1b2c3d4e5" }).deploy.Statement;
    expect(plain.map(({ Sid }) => Sid)).toEqual(["FindOrMakeTheApi", "ChangeTheApi", "TagIt", "SeeDomains"]);
    expect(plain[1]?.Resource).toEqual([
      "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5",
      "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5/*",
    ]);
    const all = gatewayPolicies(define(EVERYTHING)).deploy.Statement;
    expect(all.map(({ Sid }) => Sid)).toEqual([
      "FindOrMakeTheApi",
      "ChangeTheApi",
      "TagIt",
      "SeeDomains",
      "MakeTheDomain",
      "ChangeTheDomain",
      "FirstDomainOfAnAccount",
      "LetTheApiCallFunctions",
      "WriteTheAccessLog",
    ]);
    expect(all.find(({ Sid }) => Sid === "LetTheApiCallFunctions")?.Resource).toEqual([LAMBDA]);
    expect(all.find(({ Sid }) => Sid === "ChangeTheDomain")?.Resource[0]).toMatch(
      /\/domainnames\/ws\.example\.com$/,
    );
  });

  test("find the account in what the gateway names, and AWS's other parts by the region", () => {
    expect(gatewayPolicies(define(EVERYTHING)).runtime.Statement[0]?.Resource[0]).toContain(
      ":eu-west-1:123456789012:*/production/",
    );
    expect(gatewayPolicies(define()).runtime.Statement[0]?.Resource[0]).toContain(
      ":eu-west-1:*:*/production/",
    );
    const china = define({ region: "cn-north-1" });
    expect(JSON.stringify(gatewayPolicies(china))).not.toContain("arn:aws:");
    expect(JSON.stringify(gatewayPolicies(china))).toContain("arn:aws-cn:execute-api:cn-north-1:");
  });
});

describe("a template of CloudFormation", () => {
  test.each([
    ["plain", define()],
    ["with everything", define(EVERYTHING)],
    ["of functions", define({ target: { lambda: LAMBDA } })],
  ])("%s names nothing that it has not", (_, definition) => {
    const template = cloudFormationTemplate(definition);
    expect(JSON.parse(JSON.stringify(template))).toEqual(template);
    const known = new Set([...Object.keys(template.Resources), ...Object.keys(template.Parameters ?? {})]);
    for (const id of known) expect(id).toMatch(/^[A-Za-z0-9]+$/);
    const text = JSON.stringify(template);
    const named = [
      ...[...text.matchAll(/\{"Ref":"([^"]+)"\}/g)].map(([, id]) => id),
      ...[...text.matchAll(/"Fn::GetAtt":\["([^"]+)"/g)].map(([, id]) => id),
      ...[...text.matchAll(/"Fn::Sub":"([^"]+)"/g)].flatMap(([, sub = ""]) =>
        [...sub.matchAll(/\$\{([^}]+)\}/g)].map(([, id]) => id),
      ),
    ].filter((id) => !id?.startsWith("AWS::"));
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((id) => !known.has(id ?? ""))).toEqual([]);
  });

  test("says what apply would make, with the secret as a parameter", () => {
    const definition = define(EVERYTHING);
    const { Resources, Parameters } = cloudFormationTemplate(definition);
    const of = (type: string) =>
      Object.values(Resources).filter(({ Type }) => Type === `AWS::ApiGatewayV2::${type}`);
    const { routes } = desiredApi(definition, "the secret");
    expect(of("Route").map(({ Properties }) => (Properties as { RouteKey: string }).RouteKey)).toEqual(
      routes.map(({ key }) => key),
    );
    expect(of("RouteResponse")).toHaveLength(routes.filter(({ isAnswered }) => isAnswered).length);
    for (const [index, { integration }] of routes.entries()) {
      const properties = (of("Integration")[index]?.Properties ?? {}) as Record<
        string,
        Record<string, unknown>
      >;
      const { ApiId: _, RequestParameters = {}, ...fields } = properties;
      const { RequestParameters: wanted, ...same } = integration;
      expect(fields).toEqual(same);
      const secret = { "Fn::Sub": `'\${SallyportSecret}'` };
      expect(RequestParameters).toEqual(
        SECRET_PARAMETER in wanted ? { ...wanted, [SECRET_PARAMETER]: secret } : wanted,
      );
    }
    expect(Object.keys(Parameters ?? {})).toEqual(["SallyportSecret"]);
    expect(cloudFormationTemplate(define({ target: { lambda: LAMBDA } })).Parameters).toBeUndefined();
  });
});
