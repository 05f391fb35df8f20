import { createRequire } from "node:module";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  type CloudFormationTemplate,
  cloudFormationTemplate,
  defineGateway,
  gatewayPolicies,
} from "../../src/aws.ts";
import { importFrom, installBeside, type Untyped } from "./installed-beside.ts";

const REGION = "eu-west-1";
const ACCOUNT = "123456789012";
const LAMBDA = `arn:aws:lambda:${REGION}:${ACCOUNT}:function:chat:live`;
const OTHER_LAMBDA = `arn:aws:lambda:${REGION}:210987654321:function:moderation`;
const TARGET = "https://www.example.com/ws/chat";
const DOMAIN = {
  name: "ws.example.com",
  certificateArn: `arn:aws:acm:${REGION}:${ACCOUNT}:certificate/0a1b2c3d`,
};

const DEFINITIONS = [
  ["of one server", { target: TARGET }],
  [
    "with every option",
    {
      target: TARGET,
      description: "The chat",
      stage: "live",
      timeoutMs: 5000,
      account: ACCOUNT,
      routes: {
        "a-b": `${TARGET}/a`,
        "a b": { service: "https://billing.example.com/ws/billing/default" },
        "a.b": { lambda: LAMBDA },
        ab: { lambda: OTHER_LAMBDA },
        again: { lambda: LAMBDA },
      },
      domain: { ...DOMAIN, mappingKey: "chat" },
      disableExecuteApiEndpoint: true,
      throttling: { ratePerSecond: 100, burst: 200 },
      accessLog: { destinationArn: `arn:aws:logs:${REGION}:${ACCOUNT}:log-group:chat` },
      tags: { Team: "chat", a: "b" },
      apiKeySelectionExpression: "$context.authorizer.usageIdentifierKey",
    },
  ],
  [
    "with several domains",
    {
      target: TARGET,
      domain: [DOMAIN, { ...DOMAIN, name: "ws.example.org" }, { ...DOMAIN, mappingKey: "v1" }],
    },
  ],
  ["that pushes its answers", { target: TARGET, replies: "push", domain: DOMAIN }],
  [
    "of functions alone",
    { target: { lambda: LAMBDA }, routes: { moderate: { lambda: OTHER_LAMBDA } }, account: ACCOUNT },
  ],
] as const;

describe.each(["cdk", "cdk-lowest"])("SallyportApi with the packages of test/packages/%s", (packages) => {
  let folder: string;
  let cdk: Untyped;
  let lambda: Untyped;
  let SallyportApi: Untyped;
  /** The same definition as the construct's, from the same copy of the package. */
  let aws: Untyped;

  beforeAll(async () => {
    folder = await installBeside(packages);
    cdk = await importFrom(folder, "aws-cdk-lib");
    lambda = cdk.aws_lambda;
    ({ SallyportApi } = await importFrom(folder, "sallyport/cdk"));
    aws = await importFrom(folder, "sallyport/aws");
  });

  const createStack = (env: object = { region: REGION, account: ACCOUNT }, id = "Chat") =>
    new cdk.Stack(new cdk.App(), id, { env });
  const createFunction = (stack: Untyped, id = "Function") =>
    new lambda.Function(stack, id, {
      runtime: lambda.Runtime.NODEJS_20_X,
      handler: "index.handler",
      code: lambda.Code.fromInline("exports.handler = async () => ({});"),
    });
  const synthesize = (stack: Untyped): Untyped => cdk.assertions.Template.fromStack(stack).toJSON();
  const resources = (stack: Untyped, type: string): Untyped[] =>
    Object.values(cdk.assertions.Template.fromStack(stack).findResources(type)).map(
      (resource) => (resource as Untyped).Properties,
    );

  test.each(DEFINITIONS)("a gateway %s has the resources that gateway export prints", (_, options) => {
    const given = { name: "chat", region: REGION, ...options };
    const exported = cloudFormationTemplate(defineGateway(given));
    for (const definition of [given, aws.defineGateway(given)]) {
      const stack = createStack();
      const api = new SallyportApi(stack, "Ws", { definition });
      expect(exportedForm(stack, api, synthesize(stack), exported)).toEqual(exported.Resources);
    }
  });

  test("has the resources that gateway export prints, with tokens for the function and the domain", () => {
    const stack = createStack();
    const handler = createFunction(stack);
    const certificate = new cdk.aws_certificatemanager.Certificate(stack, "Certificate", {
      domainName: "ws.example.com",
    });
    const accessLogGroup = new cdk.aws_logs.LogGroup(stack, "Log");
    const api = new SallyportApi(stack, "Ws", {
      definition: { name: "chat" },
      handler,
      routeHandlers: { moderate: handler },
      domain: { name: "ws.example.com", certificate },
      accessLogGroup,
      schedule: false,
    });
    const exported = cloudFormationTemplate(
      defineGateway({
        name: "chat",
        region: REGION,
        target: { lambda: LAMBDA },
        routes: { moderate: { lambda: LAMBDA } },
        domain: DOMAIN,
        accessLog: { destinationArn: `arn:aws:logs:${REGION}:${ACCOUNT}:log-group:chat` },
      }),
    );
    const idOf = (construct: Untyped) => stack.getLogicalId(construct.node.defaultChild);
    const literals = {
      [`${idOf(handler)}.Arn`]: LAMBDA,
      [idOf(certificate)]: DOMAIN.certificateArn,
      [idOf(accessLogGroup)]: "chat",
    };
    expect(exportedForm(stack, api, synthesize(stack), exported, literals)).toEqual(exported.Resources);
  });

  test("a function is invoked by this API and by a rule each minute, and can call the Management API", () => {
    const stack = createStack();
    const handler = createFunction(stack);
    const api = new SallyportApi(stack, "Ws", { definition: { name: "chat", stage: "live" }, handler });
    expect(api.secret).toBeUndefined();
    const apiId = { Ref: stack.getLogicalId(api.api) };
    const functionArn = { "Fn::GetAtt": [stack.getLogicalId(handler.node.defaultChild), "Arn"] };
    expect(resources(stack, "AWS::Events::Rule")).toEqual([
      {
        Description: 'Ends grants on time at the gateway "chat"',
        ScheduleExpression: "rate(1 minute)",
        State: "ENABLED",
        Targets: [{ Arn: functionArn, Id: "Target0" }],
      },
    ]);
    const permissions = resources(stack, "AWS::Lambda::Permission");
    expect(permissions.map(({ Principal, Action }) => [Principal, Action]).sort()).toEqual([
      ["apigateway.amazonaws.com", "lambda:InvokeFunction"],
      ["events.amazonaws.com", "lambda:InvokeFunction"],
    ]);
    const [policy] = resources(stack, "AWS::IAM::Policy");
    const connections = (method: string) => ({
      "Fn::Join": [
        "",
        [`arn:aws:execute-api:${REGION}:${ACCOUNT}:`, apiId, `/live/${method}/@connections/*`],
      ],
    });
    expect(policy.PolicyDocument.Statement).toEqual([
      {
        Action: "execute-api:ManageConnections",
        Effect: "Allow",
        Resource: ["POST", "DELETE", "GET"].map(connections),
      },
    ]);
  });

  test("a function can receive the registration of the gateway without a circular dependency", () => {
    const stack = createStack();
    const handler = createFunction(stack);
    const api = new SallyportApi(stack, "Ws", { definition: { name: "chat", replies: "push" }, handler });
    handler.addEnvironment("SALLYPORT_GATEWAY", api.registrationJson);
    const [{ Environment }] = resources(stack, "AWS::Lambda::Function");
    const id = { Ref: stack.getLogicalId(api.api) };
    expect(Environment.Variables.SALLYPORT_GATEWAY).toEqual({
      "Fn::Join": [
        "",
        [
          '{"name":"chat","apiId":"',
          id,
          '","endpoint":"https://',
          id,
          `.execute-api.${REGION}.`,
          { Ref: "AWS::URLSuffix" },
          '/production","stage":"production","replies":"push"}',
        ],
      ],
    });
  });

  test("an API with a URL sends a secret of Secrets Manager, which the template does not contain", () => {
    const stack = createStack();
    const api = new SallyportApi(stack, "Ws", { definition: { name: "chat" }, url: `${TARGET}/` });
    expect(resources(stack, "AWS::SecretsManager::Secret")).toEqual([
      {
        Description: 'Sent by the WebSocket API of the gateway "chat"',
        GenerateSecretString: { ExcludePunctuation: true, PasswordLength: 64 },
      },
    ]);
    const [integration] = resources(stack, "AWS::ApiGatewayV2::Integration");
    expect(integration.IntegrationUri).toBe(`${TARGET}/connect`);
    const secret = { Ref: stack.getLogicalId(api.secret.node.defaultChild) };
    expect(integration.RequestParameters["integration.request.header.x-sallyport-secret"]).toEqual({
      "Fn::Join": ["", ["'{{resolve:secretsmanager:", secret, ":SecretString:::}}'"]],
    });
    expect(resources(stack, "AWS::Events::Rule")).toEqual([]);
    expect(resources(stack, "AWS::IAM::Policy")).toEqual([]);
  });

  test("allows a role to call the Management API as the policy of gateway policy does", () => {
    const stack = createStack();
    const api = new SallyportApi(stack, "Ws", { definition: { name: "chat", target: TARGET } });
    const role = new cdk.aws_iam.Role(stack, "Role", { assumedBy: new cdk.aws_iam.AccountRootPrincipal() });
    expect(api.grantManageConnections(role).success).toBe(true);
    const [policy] = resources(stack, "AWS::IAM::Policy");
    const definition = defineGateway({ name: "chat", region: REGION, target: TARGET, account: ACCOUNT });
    const { runtime } = gatewayPolicies(definition, { apiId: "a1b2c3" });
    const id = stack.getLogicalId(api.api);
    const [{ Action, Resource }] = policy.PolicyDocument.Statement;
    expect([Action]).toEqual(runtime.Statement[0]?.Action);
    expect(
      Resource.map((arn: Untyped) =>
        arn["Fn::Join"][1].map((part: Untyped) => (part.Ref === id ? "a1b2c3" : part)).join(""),
      ),
    ).toEqual(runtime.Statement[0]?.Resource);
  });

  test("uses a given secret, and the given version of it", () => {
    const stack = createStack();
    const secretArn = `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:chat-a1b2c3`;
    const secret = cdk.aws_secretsmanager.Secret.fromSecretCompleteArn(stack, "Secret", secretArn);
    const secretVersionId = "11111111-2222-3333-4444-555555555555";
    const definition = { name: "chat", target: TARGET };
    const api = new SallyportApi(stack, "Ws", { definition, secret, secretVersionId });
    expect(api.secret).toBe(secret);
    expect(resources(stack, "AWS::SecretsManager::Secret")).toEqual([]);
    expect(JSON.stringify(synthesize(stack))).toContain(
      `'{{resolve:secretsmanager:${secretArn}:SecretString:::${secretVersionId}}}'`,
    );
  });

  test("creates an alias record for a domain with a hosted zone", () => {
    const stack = createStack();
    const hostedZone = new cdk.aws_route53.PublicHostedZone(stack, "Zone", { zoneName: "example.com" });
    const certificate = cdk.aws_certificatemanager.Certificate.fromCertificateArn(
      stack,
      "Certificate",
      DOMAIN.certificateArn,
    );
    const api = new SallyportApi(stack, "Ws", {
      definition: { name: "chat", disableExecuteApiEndpoint: true },
      url: TARGET,
      domain: [
        { name: "ws.example.com", certificate, hostedZone },
        { name: "ws.example.com", certificate, mappingKey: "v1" },
        { name: "ws.example.org", certificate },
      ],
    });
    const domain = stack.getLogicalId(api.node.findChild("Domain"));
    expect(resources(stack, "AWS::Route53::RecordSet")).toEqual([
      {
        Name: "ws.example.com.",
        Type: "A",
        HostedZoneId: { Ref: stack.getLogicalId(hostedZone.node.defaultChild) },
        AliasTarget: {
          DNSName: { "Fn::GetAtt": [domain, "RegionalDomainName"] },
          HostedZoneId: { "Fn::GetAtt": [domain, "RegionalHostedZoneId"] },
        },
      },
    ]);
    expect([api.url, api.endpoint]).toEqual(["wss://ws.example.com", "https://ws.example.com"]);
    expect(api.dnsRecords.map(({ name }: Untyped) => name)).toEqual(["ws.example.com", "ws.example.org"]);
    expect(stack.resolve(api.dnsRecords[1].target)).toEqual({
      "Fn::GetAtt": [stack.getLogicalId(api.node.findChild("Domain3")), "RegionalDomainName"],
    });
  });

  test("accepts tokens in the URL, the name of a domain and the ARN of a function", () => {
    const stack = createStack();
    const host = cdk.Token.asString({ Ref: "Host" });
    const zone = cdk.Token.asString({ Ref: "Zone" });
    const certificate = new cdk.aws_certificatemanager.Certificate(stack, "Certificate", {
      domainName: "x.example.com",
    });
    new SallyportApi(stack, "Ws", {
      definition: { name: "chat" },
      url: `https://${host}/ws/chat`,
      domain: { name: `ws.${zone}`, certificate },
      routeHandlers: { search: createFunction(stack).currentVersion },
    });
    const [integration] = resources(stack, "AWS::ApiGatewayV2::Integration");
    expect(integration.IntegrationUri).toEqual({
      "Fn::Join": ["", ["https://", { Ref: "Host" }, "/ws/chat/connect"]],
    });
    expect(resources(stack, "AWS::ApiGatewayV2::DomainName")[0].DomainName).toEqual({
      "Fn::Join": ["", ["ws.", { Ref: "Zone" }]],
    });
  });

  test("other stacks can refer to its attributes", () => {
    const app = new cdk.App();
    const env = { region: REGION, account: ACCOUNT };
    const stack = new cdk.Stack(app, "Chat", { env });
    const api = new SallyportApi(stack, "Ws", { definition: { name: "chat", target: TARGET } });
    const other = new cdk.Stack(app, "Other", { env });
    new cdk.CfnOutput(other, "Url", { value: api.url });
    const [{ Value }] = Object.values(synthesize(other).Outputs) as Untyped[];
    expect(JSON.stringify(Value)).toContain("Fn::ImportValue");
    expect(Object.keys(synthesize(stack).Outputs ?? {})).toHaveLength(1);
  });

  test("its resources receive the tags of a scope", () => {
    const stack = createStack();
    new SallyportApi(stack, "Ws", { definition: { name: "chat", target: TARGET, tags: { own: "1" } } });
    cdk.Tags.of(stack).add("team", "chat");
    for (const type of ["Api", "Stage"])
      expect(resources(stack, `AWS::ApiGatewayV2::${type}`)[0].Tags).toEqual({ own: "1", team: "chat" });
  });

  test("can be loaded by require(), as apps of `cdk init` do", () => {
    const required = createRequire(join(folder, "package.json"))("sallyport/cdk");
    expect(required.SallyportApi).toBe(SallyportApi);
  });

  const scope = (region: string | undefined = REGION, account: string | undefined = ACCOUNT) =>
    createStack({ ...(region ? { region } : {}), ...(account ? { account } : {}) });
  const chat = { name: "chat", target: TARGET };

  test.each<[string, (stack: Untyped) => Untyped, RegExp]>([
    [
      "an unknown property",
      () => ({ definition: chat, uri: TARGET }),
      /^SallyportApi "Chat\/Ws": uri is not an option\. Did you mean "url"/,
    ],
    [
      "no definition",
      () => ({ url: TARGET }),
      /definition is missing\. It must be the result of defineGateway\(\)/,
    ],
    [
      "an unknown option of the definition",
      () => ({ definition: { ...chat, stages: "x" } }),
      /^Gateway "chat": stages is not an option/,
    ],
    ["no target", () => ({ definition: { name: "chat" } }), /the API has no target\. Add handler .* or url/],
    [
      "a handler and a URL",
      (stack) => ({ definition: chat, handler: createFunction(stack), url: TARGET }),
      /handler and url are both set/,
    ],
    [
      "a handler that is no function",
      () => ({ definition: chat, handler: LAMBDA }),
      /handler must be a Lambda function/,
    ],
    [
      "a URL over http",
      () => ({ definition: { name: "chat" }, url: "http://www.example.com/ws" }),
      /must begin with https/,
    ],
    [
      "a token for the whole URL",
      () => ({ definition: { name: "chat" }, url: cdk.Token.asString({ Ref: "Url" }) }),
      /must be a URL such as/,
    ],
    [
      "the $LATEST version of a function",
      (stack) => ({ definition: chat, handler: createFunction(stack).latestVersion }),
      /ends with :\$LATEST/,
    ],
    [
      "a route key that begins with $",
      (stack) => ({ definition: chat, routeHandlers: { $x: createFunction(stack) } }),
      /do not begin with \$/,
    ],
    [
      "a certificate as a string",
      () => ({ definition: chat, domain: { name: "ws.example.com", certificate: DOMAIN.certificateArn } }),
      /domain\.certificate must be a certificate of aws-certificatemanager/,
    ],
    [
      "a certificate of another region",
      (stack) => ({
        definition: chat,
        domain: {
          name: "ws.example.com",
          certificate: cdk.aws_certificatemanager.Certificate.fromCertificateArn(
            stack,
            "C",
            DOMAIN.certificateArn.replace(REGION, "us-east-1"),
          ),
        },
      }),
      /is in us-east-1, but the certificate must be in eu-west-1/,
    ],
    [
      "a secret that nothing uses",
      (stack) => ({
        definition: { name: "chat" },
        handler: createFunction(stack),
        secret: new cdk.aws_secretsmanager.Secret(stack, "S"),
      }),
      /secret is not used, because every target is a Lambda function/,
    ],
    [
      "a schedule without a handler",
      () => ({ definition: chat, schedule: true }),
      /schedule is true, but there is no handler/,
    ],
    [
      "another region than the stack",
      () => ({ definition: { ...chat, region: "us-east-1" } }),
      /for the region us-east-1, but the stack is in eu-west-1/,
    ],
    [
      "another account than the stack",
      () => ({ definition: { ...chat, account: "210987654321" } }),
      /for the account 210987654321, but the stack is in 123456789012/,
    ],
  ])("rejects %s", (_, props, message) => {
    const stack = scope();
    expect(() => new SallyportApi(stack, "Ws", props(stack))).toThrow(message);
  });

  test("rejects a stack without a region, and accepts one without an account", () => {
    expect(() => new SallyportApi(createStack({}), "Ws", { definition: chat })).toThrow(
      /the region of the stack is not known, .*Pass it to the stack, such as env: \{ region/,
    );
    const stack = createStack({ region: REGION });
    const api = new SallyportApi(stack, "Ws", {
      definition: { name: "chat" },
      handler: createFunction(stack),
    });
    expect(JSON.stringify(synthesize(stack))).not.toContain("000000000000");
    expect(api.apiId).toBeDefined();
  });
});

/**
 * Returns the resources of a construct with the names and intrinsic functions of `gateway export`.
 *
 * @param literals values of references, such as `{ "FunctionA1B2.Arn": "arn:…" }`
 */
function exportedForm(
  stack: Untyped,
  api: Untyped,
  template: Untyped,
  { Resources }: CloudFormationTemplate,
  literals: Readonly<Record<string, string>> = {},
): Untyped {
  const names = new Map<string, string>(
    Object.keys(Resources).map((id) => [stack.getLogicalId(api.node.findChild(id)), id]),
  );
  const secret = api.secret ? stack.getLogicalId(api.secret.node.defaultChild) : undefined;
  const own = Object.entries(template.Resources).filter(([id]) => names.has(id));
  return Object.fromEntries(own.map(([id, value]) => [names.get(id), normalized(value)]));

  function normalized(value: Untyped): Untyped {
    if (Array.isArray(value)) return value.map(normalized);
    if (typeof value !== "object" || value === null) return value;
    if ("Ref" in value) return literals[value.Ref] ?? { Ref: names.get(value.Ref) ?? value.Ref };
    if ("Fn::GetAtt" in value) return literals[value["Fn::GetAtt"].join(".")] ?? value;
    if ("Fn::Join" in value) {
      const text: string = value["Fn::Join"][1].map(textOf).join("");
      const reference = `{{resolve:secretsmanager:\${${secret}}:SecretString:::}}`;
      return text.includes("${") ? { "Fn::Sub": text.replace(reference, `\${SallyportSecret}`) } : text;
    }
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, normalized(each)]));
  }

  function textOf(part: Untyped): string {
    if (typeof part === "string") return part;
    const name = part.Ref ?? part["Fn::GetAtt"].join(".");
    return literals[name] ?? `\${${names.get(name) ?? name}}`;
  }
}
