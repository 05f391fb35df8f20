import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { cloudFormationTemplate, defineGateway, gatewayPolicies } from "../../src/aws.ts";
import { installPackages } from "../packages/install.ts";
import { EXAMPLES } from "./deploy-examples.ts";
import { importFrom, type Untyped } from "./installed-beside.ts";

const FOLDER = join(EXAMPLES, "terraform");
const TARGET = "https://www.example.com/ws/chat";
const LAMBDA = "arn:aws:lambda:eu-west-1:123456789012:function:chat";

/** Values of the expressions of the module that the resources contain. */
const VALUES: Readonly<Record<string, string>> = {
  "aws_apigatewayv2_api.this.id": "API",
  "data.aws_partition.current.partition": "aws",
  "data.aws_region.current.id": "eu-west-1",
  "data.aws_caller_identity.current.account_id": "ACCOUNT",
  "random_password.secret[0].result": "SECRET",
  "var.function.arn": LAMBDA,
  "var.name": "chat",
  "var.stage": "production",
  "var.target_url": TARGET,
};

let files: Readonly<Record<string, Untyped>>;
beforeAll(async () => {
  const { parse } = await importFrom(await installPackages("deploy"), "@cdktf/hcl2json");
  const names = readdirSync(FOLDER).filter((name) => name.endsWith(".tf"));
  const parsed = names.map(async (name) => [
    name,
    await parse(name, readFileSync(join(FOLDER, name), "utf8")),
  ]);
  files = Object.fromEntries(await Promise.all(parsed));
});

function resource(type: string, name: string): Untyped {
  return files["main.tf"].resource[type][name][0];
}

/** Replaces `${…}` in a text of the module by known values. */
function evaluated(text: string, values: Readonly<Record<string, string>> = {}): string {
  return text.replace(
    /\$\{([^}]+)\}/g,
    (expression, name: string) => values[name] ?? VALUES[name] ?? expression,
  );
}

/** Returns the properties of all resources of a type in the template of `gateway export`, as one text for each. */
function exported(target: string | { lambda: string }, type: string): Untyped[] {
  const { Resources } = cloudFormationTemplate(defineGateway({ name: "chat", region: "eu-west-1", target }));
  return Object.values(Resources)
    .filter(({ Type }) => Type === type)
    .map(({ Properties }) => JSON.parse(JSON.stringify(Properties)));
}

function integrations(name: "url" | "function"): Untyped[] {
  const { locals } = files["main.tf"];
  const integration = resource("aws_apigatewayv2_integration", name);
  return Object.entries<string>(locals[0].routes).map(([key, path]) => {
    const each = { "each.key": key, "each.value": path };
    const [, secret = ""] = /= "('[^"]*')"/.exec(integration.request_parameters ?? "") ?? [];
    return {
      ApiId: { Ref: "Api" },
      Description: evaluated(integration.description, each),
      IntegrationType: integration.integration_type,
      IntegrationMethod: integration.integration_method,
      IntegrationUri: evaluated(integration.integration_uri, each),
      ConnectionType: integration.connection_type,
      PassthroughBehavior: integration.passthrough_behavior,
      PayloadFormatVersion: integration.payload_format_version,
      TimeoutInMillis: integration.timeout_milliseconds,
      ...(secret && {
        RequestParameters: {
          ...locals[0].context_headers,
          "integration.request.header.x-sallyport-secret": {
            "Fn::Sub": evaluated(secret).replace("SECRET", `\${SallyportSecret}`),
          },
        },
      }),
    };
  });
}

test.each([
  ["url", TARGET],
  ["function", { lambda: LAMBDA }],
] as const)("the module has the integrations of a %s that gateway export prints", (name, target) => {
  const sorted = (list: Untyped[]) =>
    list.sort((one, other) => one.Description.localeCompare(other.Description));
  expect(sorted(integrations(name))).toEqual(sorted(exported(target, "AWS::ApiGatewayV2::Integration")));
});

test("the module has the API and the routes that gateway export prints", () => {
  const [api] = exported(TARGET, "AWS::ApiGatewayV2::Api");
  const { name, protocol_type, route_selection_expression, api_key_selection_expression } = resource(
    "aws_apigatewayv2_api",
    "this",
  );
  expect(api).toMatchObject({
    Name: evaluated(name),
    ProtocolType: protocol_type,
    RouteSelectionExpression: route_selection_expression,
    ApiKeySelectionExpression: api_key_selection_expression,
  });
  const routes = exported(TARGET, "AWS::ApiGatewayV2::Route");
  const { locals } = files["main.tf"];
  expect(routes.map(({ RouteKey }) => RouteKey).sort()).toEqual(Object.keys(locals[0].routes).sort());
  const answered = routes.filter((route) => route.RouteResponseSelectionExpression === "$default");
  expect(locals[0].answered_routes).toContain(JSON.stringify(answered.map(({ RouteKey }) => RouteKey)));
  expect(resource("aws_apigatewayv2_route_response", "this")).toMatchObject({
    for_each: `\${local.answered_routes}`,
    route_response_key: "$default",
  });
});

test("the module allows the function to be invoked by the API and by a rule each minute only", () => {
  const { locals } = files["main.tf"];
  const callArn = evaluated(locals[0].call_arn);
  const [permission] = exported({ lambda: LAMBDA }, "AWS::Lambda::Permission");
  const { source_arn, function_name, action, principal } = resource("aws_lambda_permission", "api");
  expect({
    FunctionName: evaluated(function_name),
    Action: action,
    Principal: principal,
    SourceArn: {
      "Fn::Sub": evaluated(source_arn, { "local.call_arn": callArn })
        .replace("ACCOUNT", `\${AWS::AccountId}`)
        .replace("API", `\${Api}`),
    },
  }).toEqual(permission);
  expect(Object.keys(files["main.tf"].resource.aws_lambda_permission)).toEqual(["api", "each_minute"]);
  expect(resource("aws_cloudwatch_event_rule", "each_minute").schedule_expression).toBe("rate(1 minute)");
});

test("the policy of the module is the policy of the app that gateway policy prints", () => {
  const definition = defineGateway({ name: "chat", region: "eu-west-1", target: TARGET });
  const { runtime } = gatewayPolicies(definition, { apiId: "a1b2c3", account: "123456789012" });
  const { locals, data } = files["main.tf"];
  const [{ statement }] = data.aws_iam_policy_document.manage_connections;
  const [, methods = "[]", form = ""] =
    /for method in (\[[^\]]*\]) : "([^"]*)"/.exec(statement[0].resources) ?? [];
  const callArn = evaluated(locals[0].call_arn).replace("ACCOUNT", "123456789012").replace("API", "a1b2c3");
  const arns = JSON.parse(methods).map((method: string) =>
    evaluated(form, { method, "local.call_arn": callArn }),
  );
  expect([statement[0].actions, arns]).toEqual([
    runtime.Statement[0]?.Action,
    runtime.Statement[0]?.Resource,
  ]);
});

test("every variable and resource that the module refers to is declared", () => {
  const text = Object.keys(files)
    .map((name) => readFileSync(join(FOLDER, name), "utf8"))
    .join("\n");
  const { variable } = files["variables.tf"];
  for (const [, name = ""] of text.matchAll(/\bvar\.(\w+)/g)) expect(Object.keys(variable)).toContain(name);
  for (const name of Object.keys(variable)) expect(text).toContain(`var.${name}`);
  const { resource: resources, data, locals } = files["main.tf"];
  for (const [, name = ""] of text.matchAll(/\blocal\.(\w+)/g))
    expect(Object.keys(locals[0])).toContain(name);
  for (const [, prefix, type = "", name = ""] of text.matchAll(/(\bdata\.)?\b((?:aws|random)_\w+)\.(\w+)/g))
    expect(Object.keys((prefix ? data : resources)[type] ?? {}), `${type}.${name}`).toContain(name);
});

const hasTerraform = spawnSync("terraform", ["version"]).status === 0;

test.skipIf(!hasTerraform)("terraform fmt changes nothing (skipped without terraform)", () => {
  const { status, stdout } = spawnSync("terraform", ["fmt", "-check", "-diff", FOLDER], { encoding: "utf8" });
  expect([status, stdout]).toEqual([0, ""]);
});
