import { describe, expect, test } from "vitest";
import { defineGateway, type GatewayOptions } from "./definition.ts";
import { gatewayPolicies, type PolicyDocument } from "./policies.ts";

const define = (options: Partial<GatewayOptions> = {}) =>
  defineGateway({ name: "chat", region: "eu-west-1", target: "https://www.example.com/ws/chat", ...options });

const CHAT = "arn:aws:lambda:eu-west-1:123456789012:function:chat:live";
const MODERATION = "arn:aws:lambda:eu-west-1:123456789012:function:moderation";
const CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d";
const LOG_GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:chat";
const EVERYTHING: Partial<GatewayOptions> = {
  stage: "live",
  target: { lambda: CHAT },
  routes: {
    again: { lambda: CHAT },
    history: "https://www.example.com/ws/chat/history",
    moderate: { lambda: MODERATION },
  },
  domain: { name: "ws.example.com", certificateArn: CERTIFICATE, mappingKey: "chat" },
  accessLog: { destinationArn: LOG_GROUP },
};

describe("the policies of a gateway", () => {
  test("of servers alone allow its API, tags, and a look at domains", () => {
    expect(gatewayPolicies(define())).toEqual({
      deploy: {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: "FindOrMakeTheApi",
            Effect: "Allow",
            Action: ["apigateway:GET", "apigateway:POST"],
            Resource: ["arn:aws:apigateway:eu-west-1::/apis"],
          },
          {
            Sid: "ChangeTheApi",
            Effect: "Allow",
            Action: ["apigateway:GET", "apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"],
            Resource: ["arn:aws:apigateway:eu-west-1::/apis/*", "arn:aws:apigateway:eu-west-1::/apis/*/*"],
          },
          {
            Sid: "TagIt",
            Effect: "Allow",
            Action: ["apigateway:POST", "apigateway:PUT", "apigateway:DELETE"],
            Resource: ["arn:aws:apigateway:eu-west-1::/tags/*"],
          },
          {
            Sid: "SeeDomains",
            Effect: "Allow",
            Action: ["apigateway:GET"],
            Resource: [
              "arn:aws:apigateway:eu-west-1::/domainnames",
              "arn:aws:apigateway:eu-west-1::/domainnames/*",
            ],
          },
        ],
      },
      runtime: {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: "SendAndClose",
            Effect: "Allow",
            Action: ["execute-api:ManageConnections"],
            Resource: [
              "arn:aws:execute-api:eu-west-1:*:*/production/POST/@connections/*",
              "arn:aws:execute-api:eu-west-1:*:*/production/DELETE/@connections/*",
            ],
          },
        ],
      },
    });
  });

  test("with everything allow its domain, each of its functions once, and its log besides", () => {
    const { deploy, runtime } = gatewayPolicies(define(EVERYTHING), { apiId: "a1b2c3d4e5" });
    expect(deploy.Statement.slice(4)).toEqual([
      {
        Sid: "MakeTheDomain",
        Effect: "Allow",
        Action: ["apigateway:POST"],
        Resource: ["arn:aws:apigateway:eu-west-1::/domainnames"],
      },
      {
        Sid: "ChangeTheDomain",
        Effect: "Allow",
        Action: ["apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"],
        Resource: [
          "arn:aws:apigateway:eu-west-1::/domainnames/ws.example.com",
          "arn:aws:apigateway:eu-west-1::/domainnames/ws.example.com/*",
        ],
      },
      {
        Sid: "FirstDomainOfAnAccount",
        Effect: "Allow",
        Action: ["iam:CreateServiceLinkedRole"],
        Resource: ["arn:aws:iam::*:role/aws-service-role/ops.apigateway.amazonaws.com/*"],
        Condition: { StringLike: { "iam:AWSServiceName": "ops.apigateway.amazonaws.com" } },
      },
      {
        Sid: "LetTheApiCallFunctions",
        Effect: "Allow",
        Action: ["lambda:GetPolicy", "lambda:AddPermission", "lambda:RemovePermission"],
        Resource: [CHAT, MODERATION],
      },
      {
        Sid: "WriteTheAccessLog",
        Effect: "Allow",
        Action: [
          "logs:CreateLogDelivery",
          "logs:GetLogDelivery",
          "logs:UpdateLogDelivery",
          "logs:DeleteLogDelivery",
          "logs:ListLogDeliveries",
          "logs:PutResourcePolicy",
          "logs:DescribeResourcePolicies",
          "logs:DescribeLogGroups",
        ],
        Resource: ["*"],
      },
    ]);
    expect(deploy.Statement.slice(0, 4).map(({ Sid }) => Sid)).toEqual([
      "FindOrMakeTheApi",
      "ChangeTheApi",
      "TagIt",
      "SeeDomains",
    ]);
    expect(runtime.Statement.flatMap(({ Resource }) => Resource)).toEqual([
      "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/live/POST/@connections/*",
      "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/live/DELETE/@connections/*",
    ]);
  });

  test.each<[string, string, Partial<GatewayOptions>]>([
    ["aws-cn", "cn-north-1", {}],
    ["aws-us-gov", "us-gov-west-1", {}],
    [
      "aws-cn",
      "cn-northwest-1",
      {
        routes: { moderate: { lambda: "arn:aws-cn:lambda:cn-northwest-1:123456789012:function:moderation" } },
        domain: {
          name: "ws.example.com",
          certificateArn: "arn:aws-cn:acm:cn-northwest-1:123456789012:certificate/x",
        },
      },
    ],
  ])("name only what is in %s, where %s is", (partition, region, options) => {
    const { deploy, runtime } = gatewayPolicies(define({ region, ...options }));
    const resources = [deploy, runtime].flatMap(resourcesOf);
    expect(resources.length).toBeGreaterThan(6);
    for (const resource of resources) {
      expect(resource).toMatch(new RegExp(`^arn:${partition}:`));
      if (!resource.includes(":iam:")) expect(resource.split(":")[3]).toBe(region);
    }
  });

  test.each<[string, Partial<GatewayOptions>, string]>([
    ["nothing", {}, "*"],
    ["its function", { target: { lambda: MODERATION } }, "123456789012"],
    ["a route's function", { routes: { moderate: { lambda: MODERATION } } }, "123456789012"],
    ["its certificate", { domain: { name: "ws.example.com", certificateArn: CERTIFICATE } }, "123456789012"],
    ["its log", { accessLog: { destinationArn: LOG_GROUP } }, "123456789012"],
    [
      "a function before its certificate, whose account is not the API's as a matter of course",
      {
        target: { lambda: MODERATION },
        domain: {
          name: "ws.example.com",
          certificateArn: CERTIFICATE.replace("123456789012", "210987654321"),
        },
      },
      "123456789012",
    ],
  ])("find the account in %s", (_, options, account) => {
    const { runtime } = gatewayPolicies(define(options));
    expect(resourcesOf(runtime).map((resource) => resource.split(":")[4])).toEqual([account, account]);
  });

  test("take the account that is given, whatever the gateway names", () => {
    const { runtime } = gatewayPolicies(define(EVERYTHING), { account: "210987654321" });
    expect(resourcesOf(runtime).map((resource) => resource.split(":")[4])).toEqual(
      Array(2).fill("210987654321"),
    );
  });

  test("allow nothing of another API once this one's id is known", () => {
    const { deploy, runtime } = gatewayPolicies(define(EVERYTHING), { apiId: "a1b2c3d4e5" });
    const api = (id: string, rest = "") => `arn:aws:apigateway:eu-west-1::/apis/${id}${rest}`;
    const socket = (id: string, rest: string) => `arn:aws:execute-api:eu-west-1:123456789012:${id}/${rest}`;
    for (const [id, isOurs] of [
      ["a1b2c3d4e5", true],
      ["zzzzzzzzzz", false],
      ["a1b2c3d4e5z", false],
    ] as const) {
      for (const method of ["GET", "PATCH", "DELETE"])
        expect(allows(deploy, `apigateway:${method}`, api(id)), `${method} ${id}`).toBe(isOurs);
      expect(allows(deploy, "apigateway:POST", api(id, "/deployments")), id).toBe(isOurs);
      expect(allows(deploy, "apigateway:DELETE", api(id, "/routes/r/routeresponses/x")), id).toBe(isOurs);
      for (const method of ["POST", "DELETE"])
        expect(
          allows(runtime, "execute-api:ManageConnections", socket(id, `live/${method}/@connections/x=`)),
          `${method} ${id}`,
        ).toBe(isOurs);
    }
    expect(
      allows(runtime, "execute-api:ManageConnections", socket("a1b2c3d4e5", "other/POST/@connections/x")),
    ).toBe(false);
    expect(allows(runtime, "execute-api:Invoke", socket("a1b2c3d4e5", "live/$connect"))).toBe(false);
  });

  test("allow nothing of another domain or function", () => {
    const { deploy } = gatewayPolicies(define(EVERYTHING));
    for (const [domain, isOurs] of [
      ["ws.example.com", true],
      ["other.example.com", false],
    ] as const) {
      const at = `arn:aws:apigateway:eu-west-1::/domainnames/${domain}`;
      expect(allows(deploy, "apigateway:PATCH", at)).toBe(isOurs);
      expect(allows(deploy, "apigateway:POST", `${at}/apimappings`)).toBe(isOurs);
      expect(allows(deploy, "apigateway:DELETE", `${at}/apimappings/x`)).toBe(isOurs);
    }
    expect(allows(deploy, "lambda:AddPermission", MODERATION)).toBe(true);
    expect(allows(deploy, "lambda:AddPermission", `${MODERATION}-other`)).toBe(false);
    expect(allows(deploy, "lambda:InvokeFunction", MODERATION)).toBe(false);
  });
});

function resourcesOf({ Statement }: PolicyDocument): readonly string[] {
  return Statement.flatMap(({ Resource }) => Resource);
}

/** As IAM reads a policy: a star stands for anything, slashes included. */
function allows({ Statement }: PolicyDocument, action: string, arn: string): boolean {
  const matches = (pattern: string, text: string) =>
    new RegExp(`^${pattern.split("*").map(escaped).join(".*")}$`).test(text);
  return Statement.some(
    ({ Action, Resource }) =>
      Action.some((each) => matches(each, action)) && Resource.some((each) => matches(each, arn)),
  );
}

function escaped(text: string): string {
  return text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
}
