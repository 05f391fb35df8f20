import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { cloudFormationTemplate, defineGateway } from "../../src/aws.ts";
import { hasCfnLint, lintTemplate } from "./cfn-lint.ts";
import { importFrom, installBeside, type Untyped } from "./installed-beside.ts";

const ENV = { region: "eu-west-1", account: "123456789012" };
const TARGET = "https://www.example.com/ws/chat";
const CERTIFICATE = `arn:aws:acm:${ENV.region}:${ENV.account}:certificate/11111111-2222-3333-4444-555555555555`;

let cdk: Untyped;
let AwsSolutionsChecks: Untyped;
let SallyportApi: Untyped;

beforeAll(async () => {
  const folder = await installBeside("cdk");
  cdk = await importFrom(folder, "aws-cdk-lib");
  ({ AwsSolutionsChecks } = await importFrom(folder, "cdk-nag"));
  ({ SallyportApi } = await importFrom(folder, "sallyport/cdk"));
});

/** Creates an app, whose synthesis applies the rules of CDK for templates as errors. */
function createApp(): { app: Untyped; stack: Untyped; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "sallyport-cdk-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const context = { "@aws-cdk/core:validateAgainstDefaultRules": true };
  const app = new cdk.App({ outdir: folder, context });
  return { app, stack: new cdk.Stack(app, "Chat", { env: ENV }), folder };
}

function createApi(stack: Untyped): Untyped {
  const accessLogGroup = new cdk.aws_logs.LogGroup(stack, "Log");
  const definition = {
    name: "chat",
    throttling: { ratePerSecond: 100, burst: 200 },
    tags: { team: "chat" },
  };
  const { Certificate } = cdk.aws_certificatemanager;
  const { HostedZone } = cdk.aws_route53;
  const certificate = Certificate.fromCertificateArn(stack, "Certificate", CERTIFICATE);
  const zone = { zoneName: "example.com", hostedZoneId: "Z0123456789ABCDEFGHIJ" };
  const hostedZone = HostedZone.fromHostedZoneAttributes(stack, "Zone", zone);
  const api = new SallyportApi(stack, "Ws", {
    definition,
    url: TARGET,
    domain: { name: "ws.example.com", certificate, hostedZone },
    routeHandlers: { search: createFunction(stack, "Search") },
    accessLogGroup,
  });
  new SallyportApi(stack, "OfFunction", {
    definition: { name: "other" },
    handler: createFunction(stack, "Handler"),
    accessLogGroup,
  });
  return api;
}

function createFunction(stack: Untyped, id: string): Untyped {
  const { aws_lambda: lambda } = cdk;
  return new lambda.Function(stack, id, {
    runtime: lambda.Runtime.NODEJS_24_X ?? lambda.Runtime.NODEJS_22_X,
    handler: "index.handler",
    code: lambda.Code.fromInline("exports.handler = async () => ({});"),
  });
}

test("cdk-nag reports only the findings that docs/reference/cdk.md explains", () => {
  const { app, stack, folder } = createApp();
  createApi(stack);
  cdk.Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  expect(() => app.synth()).toThrow();
  const found = new Map<string, Set<string>>();
  const { pluginReports } = JSON.parse(readFileSync(join(folder, "validation-report.json"), "utf8"));
  for (const { ruleName, violatingConstructs } of pluginReports.flatMap((each: Untyped) => each.violations)) {
    const rule = ruleName.replace(/\[.*/, "").replace("AwsSolutions-", "");
    for (const { constructPath } of violatingConstructs) {
      // The role of the function is created by aws-cdk-lib.
      if (/\/ServiceRole\/Resource$/.test(constructPath)) continue;
      const [, part] = /^Chat\/\w+\/(.*)$/.exec(constructPath) ?? [];
      found.set(rule, (found.get(rule) ?? new Set()).add(part ?? ""));
    }
  }
  expect(Object.fromEntries([...found].map(([rule, parts]) => [rule, [...parts].sort()]))).toEqual({
    APIG4: ["RouteConnect", "RouteDefault", "RouteDisconnect", "RouteSearch241932"],
    IAM5: ["ServiceRole/DefaultPolicy/Resource"],
    SMG4: ["Secret/Resource"],
  });
  const page = readFileSync(join(import.meta.dirname, "../../docs/reference/cdk.md"), "utf8");
  for (const rule of found.keys()) expect(page).toContain(`AwsSolutions-${rule}`);
});

test("the rules of CDK for templates find no error", () => {
  const { app, stack } = createApp();
  createApi(stack);
  expect(() => app.synth()).not.toThrow();
});

test.skipIf(!hasCfnLint)("cfn-lint finds nothing in the template (skipped without cfn-lint)", () => {
  const { app, stack, folder } = createApp();
  createApi(stack);
  app.synth();
  expect(lintTemplate(join(folder, "Chat.template.json"))).toBe("");
});

test.skipIf(!hasCfnLint)(
  "cfn-lint finds nothing in the template of gateway export (skipped without cfn-lint)",
  () => {
    const { folder } = createApp();
    const definition = defineGateway({
      name: "chat",
      region: ENV.region,
      target: TARGET,
      routes: { search: { lambda: `arn:aws:lambda:${ENV.region}:${ENV.account}:function:search` } },
      domain: { name: "ws.example.com", certificateArn: CERTIFICATE },
    });
    const file = join(folder, "export.json");
    writeFileSync(file, JSON.stringify(cloudFormationTemplate(definition)));
    expect(lintTemplate(file)).toBe("");
  },
);
