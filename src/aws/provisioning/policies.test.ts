import { describe, expect, test } from "vitest";
import { defineGateway, type GatewayOptions } from "../define-gateway.ts";
import { gatewayPolicies, type PolicyDocument } from "../policies.ts";

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
  test("for HTTP targets before the first apply allow an API to be created but not changed", () => {
    expect(gatewayPolicies(define())).toEqual({
      deploy: {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: "FindTheApi",
            Effect: "Allow",
            Action: ["apigateway:GET"],
            Resource: ["arn:aws:apigateway:eu-west-1::/apis", "arn:aws:apigateway:eu-west-1::/apis/*"],
          },
          {
            Sid: "MakeTheApi",
            Effect: "Allow",
            Action: ["apigateway:POST"],
            Resource: ["arn:aws:apigateway:eu-west-1::/apis"],
          },
          {
            Sid: "FillTheApi",
            Effect: "Allow",
            Action: ["apigateway:POST"],
            Resource: [
              "arn:aws:apigateway:eu-west-1::/apis/*/integrations",
              "arn:aws:apigateway:eu-west-1::/apis/*/routes",
              "arn:aws:apigateway:eu-west-1::/apis/*/routes/*/routeresponses",
              "arn:aws:apigateway:eu-west-1::/apis/*/stages",
              "arn:aws:apigateway:eu-west-1::/apis/*/deployments",
            ],
          },
          {
            Sid: "MakeAStageWithTags",
            Effect: "Allow",
            Action: ["apigateway:TagResource"],
            Resource: ["arn:aws:apigateway:eu-west-1::/apis/*/stages"],
          },
          {
            Sid: "TagNewResources",
            Effect: "Allow",
            Action: ["apigateway:POST", "apigateway:PUT"],
            Resource: [
              "arn:aws:apigateway:eu-west-1::/tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Fapis%2F*",
              "arn:aws:apigateway:eu-west-1::/tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Fv2%2Fapis%2F*",
            ],
          },
          {
            Sid: "SeeDomains",
            Effect: "Allow",
            Action: ["apigateway:GET"],
            Resource: [
              "arn:aws:apigateway:eu-west-1::/domainnames",
              "arn:aws:apigateway:eu-west-1::/domainnames/*/apimappings",
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
              "arn:aws:execute-api:eu-west-1:*:*/production/GET/@connections/*",
            ],
          },
        ],
      },
    });
  });

  test("with all options allow changes of the API, the domain, the functions and the access log", () => {
    const { deploy, runtime } = gatewayPolicies(define(EVERYTHING), { apiId: "a1b2c3d4e5" });
    const tags = "arn:aws:apigateway:eu-west-1::/tags/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2F";
    const invoker = { StringEquals: { "lambda:Principal": "apigateway.amazonaws.com" } };
    expect(deploy.Statement.map(({ Sid }) => Sid)).toEqual([
      "FindTheApi",
      "FillTheApi",
      "MakeAStageWithTags",
      "ChangeTheApi",
      "TagTheApi",
      "SeeDomains",
      "MakeTheDomain",
      "TagTheDomain",
      "ChangeTheDomain",
      "ReadFunctionPolicies",
      "AddInvokePermissions",
      "RemoveInvokePermissions",
      "WriteTheAccessLog",
      "CreateTheServiceLinkedRole",
    ]);
    expect(deploy.Statement[0]?.Resource).toEqual([
      "arn:aws:apigateway:eu-west-1::/apis",
      "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5",
      "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5/*",
    ]);
    expect(deploy.Statement.slice(3)).toEqual([
      {
        Sid: "ChangeTheApi",
        Effect: "Allow",
        Action: ["apigateway:PATCH", "apigateway:DELETE"],
        Resource: [
          "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5",
          "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5/*",
        ],
      },
      {
        Sid: "TagTheApi",
        Effect: "Allow",
        Action: ["apigateway:POST", "apigateway:PUT", "apigateway:DELETE"],
        Resource: [
          `${tags}apis%2Fa1b2c3d4e5`,
          `${tags}v2%2Fapis%2Fa1b2c3d4e5`,
          `${tags}apis%2Fa1b2c3d4e5%2Fstages%2Flive`,
          `${tags}v2%2Fapis%2Fa1b2c3d4e5%2Fstages%2Flive`,
        ],
      },
      expect.objectContaining({ Sid: "SeeDomains" }),
      {
        Sid: "MakeTheDomain",
        Effect: "Allow",
        Action: ["apigateway:POST"],
        Resource: [
          "arn:aws:apigateway:eu-west-1::/domainnames",
          "arn:aws:apigateway:eu-west-1::/domainnames/ws.example.com/apimappings",
        ],
      },
      {
        Sid: "TagTheDomain",
        Effect: "Allow",
        Action: ["apigateway:POST", "apigateway:PUT"],
        Resource: [`${tags}domainnames%2Fws.example.com`, `${tags}v2%2Fdomainnames%2Fws.example.com`],
      },
      {
        Sid: "ChangeTheDomain",
        Effect: "Allow",
        Action: ["apigateway:PATCH", "apigateway:DELETE"],
        Resource: [
          "arn:aws:apigateway:eu-west-1::/domainnames/ws.example.com",
          "arn:aws:apigateway:eu-west-1::/domainnames/ws.example.com/apimappings/*",
        ],
      },
      {
        Sid: "ReadFunctionPolicies",
        Effect: "Allow",
        Action: ["lambda:GetPolicy"],
        Resource: [CHAT, MODERATION],
      },
      {
        Sid: "AddInvokePermissions",
        Effect: "Allow",
        Action: ["lambda:AddPermission"],
        Resource: [CHAT, MODERATION],
        Condition: invoker,
      },
      {
        Sid: "RemoveInvokePermissions",
        Effect: "Allow",
        Action: ["lambda:RemovePermission"],
        Resource: [CHAT, MODERATION],
        Condition: invoker,
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
      {
        Sid: "CreateTheServiceLinkedRole",
        Effect: "Allow",
        Action: ["iam:CreateServiceLinkedRole"],
        Resource: [
          "arn:aws:iam::123456789012:role/aws-service-role/ops.apigateway.amazonaws.com/AWSServiceRoleForAPIGateway",
        ],
        Condition: { StringEquals: { "iam:AWSServiceName": "ops.apigateway.amazonaws.com" } },
      },
    ]);
    expect(runtime.Statement.flatMap(({ Resource }) => Resource)).toEqual([
      "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/live/POST/@connections/*",
      "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/live/DELETE/@connections/*",
      "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/live/GET/@connections/*",
    ]);
  });

  test("with a Firehose access log allow the service-linked role and no CloudWatch actions", () => {
    const stream = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/amazon-apigateway-chat";
    const { deploy } = gatewayPolicies(define({ accessLog: { destinationArn: stream } }));
    expect(deploy.Statement.map(({ Sid }) => Sid)).toContain("CreateTheServiceLinkedRole");
    expect(JSON.stringify(deploy)).not.toContain('"logs:');
  });

  test("for any API allow the actions of the first apply and of later ones", () => {
    const { deploy } = gatewayPolicies(define(), { apiId: "*" });
    expect(deploy.Statement.map(({ Sid }) => Sid)).toEqual([
      "FindTheApi",
      "MakeTheApi",
      "FillTheApi",
      "MakeAStageWithTags",
      "ChangeTheApi",
      "TagTheApi",
      "SeeDomains",
    ]);
  });

  test("allow former domains, functions and logs to be removed, but not created or changed", () => {
    const { deploy } = gatewayPolicies(define(), {
      apiId: "a1b2c3d4e5",
      former: ["old.example.com", MODERATION, LOG_GROUP],
    });
    const old = "arn:aws:apigateway:eu-west-1::/domainnames/old.example.com";
    for (const path of [old, `${old}/apimappings/x`]) {
      expect(allows(deploy, "apigateway:DELETE", path)).toBe(true);
      for (const verb of ["POST", "PATCH"]) expect(allows(deploy, `apigateway:${verb}`, path)).toBe(false);
    }
    expect(allows(deploy, "lambda:GetPolicy", MODERATION)).toBe(true);
    expect(allows(deploy, "lambda:RemovePermission", MODERATION)).toBe(true);
    expect(allows(deploy, "lambda:AddPermission", MODERATION)).toBe(false);
    expect(allows(deploy, "logs:DeleteLogDelivery", "*")).toBe(true);
    const named = ["ws.example.com", CHAT, LOG_GROUP];
    const options = { apiId: "a1b2c3d4e5" };
    expect(gatewayPolicies(define(EVERYTHING), { ...options, former: named })).toEqual(
      gatewayPolicies(define(EVERYTHING), options),
    );
  });

  test.each(["*", "*.example.com", "arn:aws:lambda:eu-west-1:123456789012:function:*", "arn:aws:s3:::x", ""])(
    "reject the former resource %j",
    (former) => {
      expect(() => gatewayPolicies(define(), { former: [former] })).toThrow(
        `gatewayPolicies(): former[0] must be the name of a domain, or the ARN of a function or an access log, but received "${former}"`,
      );
    },
  );

  test.each(["a1b2/../c3", "", "a*"])("reject the API id %j", (apiId) => {
    expect(() => gatewayPolicies(define(), { apiId })).toThrow(
      /apiId must be the id of an API such as a1b2c3d4e5, or "\*", but received/,
    );
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
  ])("contain only resources of partition %s for region %s", (partition, region, options) => {
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
    ["the function of a route", { routes: { moderate: { lambda: MODERATION } } }, "123456789012"],
    ["its certificate", { domain: { name: "ws.example.com", certificateArn: CERTIFICATE } }, "123456789012"],
    ["its log", { accessLog: { destinationArn: LOG_GROUP } }, "123456789012"],
    [
      "its certificate before a function, which may belong to another account",
      {
        target: { lambda: MODERATION.replace("123456789012", "210987654321") },
        domain: { name: "ws.example.com", certificateArn: CERTIFICATE },
      },
      "123456789012",
    ],
    ["the account option", { account: "210987654321" }, "210987654321"],
  ])("take the account from %s", (_, options, account) => {
    const { runtime } = gatewayPolicies(define(options));
    expect(resourcesOf(runtime).map((resource) => resource.split(":")[4])).toEqual([
      account,
      account,
      account,
    ]);
  });

  test("reject an invalid account", () => {
    for (const account of ["abc:*", "", "12345678901", "*:*"])
      expect(() => gatewayPolicies(define(), { account })).toThrow(
        `account must be the 12 digits of an account, or "*", but received ${JSON.stringify(account)}`,
      );
  });

  test("use the account option instead of the account of the gateway", () => {
    const { runtime } = gatewayPolicies(define(EVERYTHING), { account: "210987654321" });
    expect(resourcesOf(runtime).map((resource) => resource.split(":")[4])).toEqual(
      Array(3).fill("210987654321"),
    );
  });

  test("allow no actions on another API if the API id is given", () => {
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
      for (const method of ["POST", "DELETE", "GET"])
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

  test("allow no actions on other domains or functions", () => {
    const { deploy } = gatewayPolicies(define(EVERYTHING), { apiId: "a1b2c3d4e5" });
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

/** Evaluates a policy as IAM does: a star matches any text, slashes included. */
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
