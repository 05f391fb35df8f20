import { readdirSync, readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer } from "../../bench/src/postgres-server.ts";
import { hasCfnLint, lintTemplate } from "./cfn-lint.ts";
import { run } from "./commands.ts";
import { compileExamples } from "./deploy-examples.ts";
import type { Untyped } from "./installed-beside.ts";

/** The Lambda functions then have the paths of their bundles, as with the CDK command. */
const METADATA = { "aws:cdk:enable-asset-metadata": true };

let folder: string;
beforeAll(async () => {
  folder = await compileExamples();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Synthesizes a recipe with the settings of its cdk.json, as `cdk synth` does. */
async function synthesize(recipe: string): Promise<Untyped> {
  const cwd = join(folder, recipe);
  const { context } = JSON.parse(readFileSync(join(cwd, "cdk.json"), "utf8"));
  const env = {
    CDK_OUTDIR: join(cwd, "cdk.out"),
    CDK_CONTEXT_JSON: JSON.stringify({ ...context, ...METADATA }),
  };
  await run([process.execPath, "app.js"], { cwd, env });
  // Lambda runs each bundle in a folder of its own, in which a .js file is CommonJS.
  await writeFile(join(cwd, "cdk.out/package.json"), '{ "type": "commonjs" }');
  return JSON.parse(readFileSync(join(cwd, "cdk.out/Chat.template.json"), "utf8"));
}

/** Returns the properties of all resources of a type. */
function properties(template: Untyped, type: string): Untyped[] {
  return Object.values(template.Resources as Untyped)
    .filter((resource) => (resource as Untyped).Type === type)
    .map((resource) => (resource as Untyped).Properties);
}

function lint(recipe: string): string {
  return hasCfnLint ? lintTemplate(join(folder, recipe, "cdk.out/Chat.template.json")) : "";
}

describe("the recipe cdk-lambda", () => {
  let template: Untyped;
  beforeAll(async () => {
    template = await synthesize("cdk-lambda");
  });

  test("has a template without errors, with the API, its schedule and the database", () => {
    expect(lint("cdk-lambda")).toBe("");
    expect(properties(template, "AWS::ApiGatewayV2::Route").map(({ RouteKey }) => RouteKey)).toEqual([
      "$connect",
      "$disconnect",
      "$default",
      "POST /api/ws-token",
      "OPTIONS /api/ws-token",
    ]);
    const schedules = properties(template, "AWS::Events::Rule").map((rule) => rule.ScheduleExpression);
    expect(schedules.sort()).toEqual(["rate(1 hour)", "rate(1 minute)"]);
    expect(properties(template, "AWS::RDS::DBProxy")).toMatchObject([
      { RequireTLS: true, Auth: [{ IAMAuth: "REQUIRED" }] },
    ]);
    expect(JSON.stringify(template)).not.toMatch(/"DATABASE_PASSWORD"|postgres:\/\/[^"@]*:[^"@]*@/);
  });

  test("has functions that migrate, serve tokens and events, and follow the schedule", async () => {
    const server = await startServer();
    try {
      const bundles = Object.fromEntries(
        ["Migrate", "Token", "Chat", "Cleanup"].map((name) => [name, bundleOf(template, name)]),
      );
      const gateway = { name: "chat production", apiId: "a1b2c3d4e5", stage: "production" };
      const endpoint = "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/production";
      const env = {
        ...{ DATABASE_URL: server.url, SESSION_KEY: "a key" },
        SALLYPORT_GATEWAY: JSON.stringify({ ...gateway, endpoint, replies: "route" }),
      };
      const script = join(import.meta.dirname, "deploy/invoke.mjs");
      const command = [process.execPath, script, JSON.stringify(bundles), join(folder, "app")];
      expect(JSON.parse(await run(command, { cwd: folder, env }))).toEqual({
        token: 200,
        connected: 200,
        answer: expect.objectContaining({ id: 1, ok: true, result: { user: "ann" } }),
        scheduled: 200,
      });
    } finally {
      await server.stop();
    }
  });
});

describe("the recipe cdk-fargate", () => {
  let template: Untyped;
  beforeAll(async () => {
    template = await synthesize("cdk-fargate");
  });

  test("has a template without errors, with the API, its DNS records and the load balancer", () => {
    expect(lint("cdk-fargate")).toBe("");
    expect(
      properties(template, "AWS::Route53::RecordSet")
        .map(({ Name }) => Name)
        .sort(),
    ).toEqual(["ws.example.com.", "www.example.com."]);
    const uris = properties(template, "AWS::ApiGatewayV2::Integration").map((each) => each.IntegrationUri);
    expect(uris.sort()).toEqual(
      ["connect", "default", "disconnect"].map((route) => `https://www.example.com/ws/chat/${route}`),
    );
    expect(properties(template, "AWS::ElasticLoadBalancingV2::TargetGroup")).toMatchObject([
      { HealthCheckPath: "/healthz", Port: 80 },
    ]);
    expect(properties(template, "AWS::Events::Rule")).toEqual([]);
  });

  test("passes the registration and the secrets to the container, and lets it send", () => {
    const [{ ContainerDefinitions, TaskRoleArn }] = properties(template, "AWS::ECS::TaskDefinition");
    const [{ Environment, Secrets }] = ContainerDefinitions;
    const names = (list: Untyped[]) => list.map(({ Name }) => Name).sort();
    expect(names(Environment)).toEqual(["DATABASE_URL", "ORIGINS", "PORT", "SALLYPORT_GATEWAY"]);
    expect(names(Secrets)).toEqual(["DATABASE_PASSWORD", "SALLYPORT_SECRET"]);
    const [role] = TaskRoleArn["Fn::GetAtt"];
    const policies = properties(template, "AWS::IAM::Policy").filter(({ Roles }) => Roles[0].Ref === role);
    expect(policies.map(({ PolicyDocument }) => PolicyDocument.Statement[0].Action)).toEqual([
      "execute-api:ManageConnections",
    ]);
  });

  test("has an image of the Dockerfile, without the packages of the developer", () => {
    const { dockerImages } = JSON.parse(
      readFileSync(join(folder, "cdk-fargate/cdk.out/Chat.assets.json"), "utf8"),
    );
    const [{ source }] = Object.values(dockerImages) as Untyped[];
    expect(source.dockerFile).toBe("docker/Dockerfile");
    const context = join(folder, "cdk-fargate/cdk.out", source.directory);
    expect(readdirSync(context)).toEqual(expect.arrayContaining(["app", "package.json", "tsconfig.json"]));
    expect(readdirSync(context)).not.toContain("node_modules");
  });
});

/** Returns the path of the bundle that esbuild wrote for a function of the recipe cdk-lambda. */
function bundleOf(template: Untyped, name: string): string {
  const [, resource] = Object.entries(template.Resources as Untyped).find(
    ([id, { Type }]: [string, Untyped]) => Type === "AWS::Lambda::Function" && id.startsWith(name),
  ) as [string, Untyped];
  return join(folder, "cdk-lambda/cdk.out", resource.Metadata["aws:asset:path"], "index.js");
}
