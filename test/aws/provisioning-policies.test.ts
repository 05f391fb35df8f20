import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { DOMAIN_TAG } from "../../src/aws/names.ts";
import type { Plan, Provisioner } from "../../src/aws/provisioning.ts";
import {
  defineGateway,
  type GatewayOptions,
  gatewayPolicies,
  type PolicyDocument,
  type PolicyOptions,
} from "../../src/aws.ts";
import { HttpManagementApi } from "../../src/delivery/management-api.ts";
import { allows, type Demand } from "./control-plane/iam.ts";
import { ProvisioningWorld, REGION } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
  for (const lambda of [MODERATION, FORMER_FUNCTION]) world.aws.functions.add(lambda);
  byHand("CreateDomainName", { ...domainOf("stranger.example.com"), Tags: {} });
});
afterEach(() => world.close());

const words = ({ steps }: Plan) => steps.map(({ action, what }) => `${action} ${what}`);
const ACCOUNT = "123456789012";
const lambda = (name: string) => `arn:aws:lambda:${REGION}:${ACCOUNT}:function:${name}`;
const [MODERATION, FORMER_FUNCTION] = [lambda("moderation:live"), lambda("former")];
const certificate = (number: number) =>
  `arn:aws:acm:${REGION}:${ACCOUNT}:certificate/0a1b2c3d-0000-4000-8000-00000000000${number}`;
const log = (name: string) => `arn:aws:logs:${REGION}:${ACCOUNT}:log-group:${name}`;
const STREAM = `arn:aws:firehose:${REGION}:${ACCOUNT}:deliverystream/amazon-apigateway-chat`;
const DOMAIN = { name: "ws.example.com", certificateArn: certificate(1), mappingKey: "chat" };
const FORMER_DOMAIN = { ...DOMAIN, name: "old.example.com" };
const at = (path: string) => `arn:aws:apigateway:${REGION}::/${path}`;

/** A definition with one of each resource that a policy depends on. */
const EVERYTHING: Partial<GatewayOptions> = {
  routes: { moderate: { lambda: MODERATION } },
  tags: { team: "chat" },
  accessLog: { destinationArn: log("chat") },
  domain: DOMAIN,
};

/**
 * The gateway for a user with exactly the policy that `sallyport gateway policy` prints at this
 * time.
 */
async function printed(options: Partial<GatewayOptions>, given: PolicyOptions = {}): Promise<Provisioner> {
  const provisioner = world.define(options);
  const record = await world.record();
  world.aws.iam.policy = gatewayPolicies(world.app.gatewayDefinition("chat"), {
    account: ACCOUNT,
    apiId: record?.apiId ?? undefined,
    ...given,
  }).deploy;
  return provisioner;
}

/** Runs an operation as another user with all permissions. */
function byHand<Output>(operation: string, input: object): Output {
  return world.aws.apis.run(operation, input) as Output;
}

/** Creates a domain as another owner does. */
function domainOf(DomainName: string, number = 1) {
  const configuration = { CertificateArn: certificate(number), EndpointType: "REGIONAL" };
  return { DomainName, DomainNameConfigurations: [configuration] };
}

/** Returns the actions and resources of a policy that no call needed. */
function needless(policy: PolicyDocument, asked: readonly Demand[]): readonly string[] {
  return policy.Statement.flatMap((statement, index) =>
    (["Action", "Resource"] as const).flatMap((part) =>
      statement[part]
        .filter((each) => {
          const narrower = { ...statement, [part]: statement[part].filter((other) => other !== each) };
          const Statement = policy.Statement.map((other, place) => (place === index ? narrower : other));
          return asked.every((demand) => allows({ ...policy, Statement }, demand));
        })
        .map((each) => `${statement.Sid}: ${each}`),
    ),
  );
}

/** Creates an API without a stage as another owner does, and returns its id. */
function madeByOthers(): string {
  const { ApiId = "" } = byHand<{ ApiId?: string }>("CreateApi", {
    Name: "made by hand",
    ProtocolType: "WEBSOCKET",
    RouteSelectionExpression: "$request.body.action",
  });
  return ApiId;
}

describe("with the policy that is printed before the first apply", () => {
  test.each<[string, Partial<GatewayOptions>]>([
    ["servers", {}],
    ["everything", EVERYTHING],
    ["only a function", { target: { lambda: MODERATION } }],
    ["an access log with Firehose", { accessLog: { destinationArn: STREAM } }],
  ])("a gateway of %s is planned, created and read, and no permission is unnecessary", async (_, options) => {
    const provisioner = await printed(options);
    await provisioner.plan();
    await provisioner.apply();
    expect(await provisioner.status()).toMatchObject({ steps: [] });
    expect(await provisioner.apply()).toEqual({ steps: [] });
    const { policy, asked } = world.aws.iam;
    expect(policy && needless(policy, asked)).toEqual([]);
  });

  test("an interrupted run is continued", async () => {
    const provisioner = await printed(EVERYTHING);
    world.aws.fault = (_, change) => (change % 3 === 0 ? { kind: "answer lost" } : undefined);
    for (let run = 1; run <= 10; run++) await provisioner.apply().catch(() => undefined);
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("nothing is changed or removed, and the error of AWS names the missing permission", async () => {
    const other = madeByOthers();
    await (await printed(EVERYTHING)).apply();
    const first = world.aws.iam.policy as PolicyDocument;
    for (const verb of ["PATCH", "PUT", "DELETE"]) {
      for (const api of [other, world.apiId()]) {
        for (const path of [`apis/${api}`, `apis/${api}/routes/r`, `apis/${api}/stages/production`])
          expect(allows(first, { action: `apigateway:${verb}`, resource: at(path) }), path).toBe(false);
      }
    }
    const before = world.aws.changes;
    const changed = world.define({ ...EVERYTHING, description: "another" });
    await expect(changed.apply()).rejects.toThrow(
      `UpdateApi in ${REGION} was answered 403: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/deploy/ci is not authorized to perform: apigateway:PATCH on resource: ${at(`apis/${world.apiId()}`)} because no identity-based policy allows the apigateway:PATCH action`,
    );
    expect(world.aws.changes).toBe(before + 1);
    await (await printed({ ...EVERYTHING, description: "another" })).apply();
  });
});

describe("with the policy that is printed afterwards", () => {
  test("a gateway is changed in all ways, each time with the policy of that definition", async () => {
    const change = async (options: Partial<GatewayOptions>, former: readonly string[] = []) => {
      const provisioner = await printed(options, { former });
      const done = words(await provisioner.apply());
      // Permissions for removed resources are no longer necessary.
      expect(await (await printed(options)).status()).toMatchObject({ steps: [] });
      return done;
    };
    await (await printed({})).apply();
    await change(EVERYTHING);
    await change({ ...EVERYTHING, description: "The chat", tags: { owner: "ops" }, replies: "push" });
    await change({ ...EVERYTHING, throttling: { ratePerSecond: 10, burst: 20 } });
    await change({ ...EVERYTHING, domain: { ...DOMAIN, certificateArn: certificate(2) } });
    await change({ ...EVERYTHING, domain: { ...DOMAIN, mappingKey: "v2" } });
    expect(await change({ ...EVERYTHING, domain: FORMER_DOMAIN }, [DOMAIN.name])).toContain(
      "remove mapping of ws.example.com/v2",
    );
    await change({ ...EVERYTHING, accessLog: { destinationArn: STREAM } }, [FORMER_DOMAIN.name, log("chat")]);
    await change(EVERYTHING);
    const provisioner = await printed(EVERYTHING);
    await provisioner.rotateSecret();
    byHand("UpdateStage", { ApiId: world.apiId(), StageName: "production", AutoDeploy: true });
    await provisioner.apply();
    expect(
      await change({ routes: { moderate: "https://www.example.com/ws/moderation/moderate" } }, [
        MODERATION,
        DOMAIN.name,
        log("chat"),
      ]),
    ).toEqual(expect.arrayContaining([`remove permission to invoke ${MODERATION}`]));
    await (await printed({})).destroy();
    expect(world.aws.apis.all()).toEqual([]);
    expect(await world.record()).toBeUndefined();
  });

  test("all resources are destroyed", async () => {
    await (await printed(EVERYTHING)).apply();
    expect(words(await (await printed(EVERYTHING)).destroy())).toEqual([
      "remove mapping of ws.example.com/chat",
      "remove domain ws.example.com",
      `remove permission to invoke ${MODERATION}`,
      "change note in the database that the API is being removed",
      'remove API "chat"',
      "remove record in the database, with the rows of its connections",
    ]);
  });

  test("no permission is unnecessary for all operations", async () => {
    const apiId = madeByOthers();
    const former = [FORMER_DOMAIN.name, FORMER_FUNCTION];
    const provisioner = await printed(EVERYTHING, { apiId, former });
    await provisioner.adopt(apiId);
    await provisioner.apply();

    const StageName = "production";
    byHand("CreateDomainName", { ...domainOf(FORMER_DOMAIN.name), Tags: { [DOMAIN_TAG]: "chat" } });
    byHand("CreateApiMapping", { ApiId: apiId, DomainName: FORMER_DOMAIN.name, Stage: StageName });
    const uri = `arn:aws:apigateway:${REGION}:lambda:path/2015-03-31/functions/${FORMER_FUNCTION}/invocations`;
    const { IntegrationId } = byHand<{ IntegrationId?: string }>("CreateIntegration", {
      ApiId: apiId,
      IntegrationType: "AWS_PROXY",
      IntegrationMethod: "POST",
      IntegrationUri: uri,
    });
    byHand("CreateRoute", { ApiId: apiId, RouteKey: "former", Target: `integrations/${IntegrationId}` });
    world.aws.functions.AddPermission({
      FunctionName: FORMER_FUNCTION,
      StatementId: `sallyport-${apiId}`,
      Action: "lambda:InvokeFunction",
      Principal: "apigateway.amazonaws.com",
    });
    byHand("UpdateApi", { ApiId: apiId, Description: "by somebody else" });
    byHand("UpdateDomainName", domainOf(DOMAIN.name, 2));
    const [mapping] = byHand<{ Items: { ApiMappingId?: string }[] }>("GetApiMappings", {
      DomainName: DOMAIN.name,
    }).Items;
    byHand("UpdateApiMapping", {
      ApiId: apiId,
      DomainName: DOMAIN.name,
      ApiMappingId: mapping?.ApiMappingId,
      ApiMappingKey: "elsewhere",
    });
    for (const path of [`apis/${apiId}`, `apis/${apiId}/stages/${StageName}`])
      byHand("TagResource", { ResourceArn: at(path), Tags: { team: "another", stray: "yes" } });
    await provisioner.apply();
    expect(await provisioner.status()).toMatchObject({ steps: [] });
    await provisioner.destroy();

    const { policy, asked } = world.aws.iam;
    expect(policy && needless(policy, asked)).toEqual([]);
  });

  test("one role creates, changes and destroys gateways with any API", async () => {
    for (const description of ["one", "two"]) {
      const provisioner = await printed({ description, replies: "push" }, { apiId: "*" });
      await world.define({ tags: { team: "chat" } }).apply();
      await provisioner.apply();
      await provisioner.rotateSecret();
      await provisioner.adopt(world.apiId());
      await provisioner.destroy();
    }
    expect(world.aws.apis.all()).toEqual([]);
    const { policy, asked } = world.aws.iam;
    expect(policy && needless(policy, asked)).toEqual([]);
  });

  test("resources of a former definition are not removed until they are passed as former resources", async () => {
    await (await printed(EVERYTHING)).apply();
    const rejected =
      /AccessDeniedException: .* is not authorized to perform: (\S+) on resource: (\S+) because/;
    const missing = async (options: Partial<GatewayOptions>) => {
      const error: unknown = await (await printed(options)).apply().catch((error: unknown) => error);
      return rejected.exec(String(error))?.slice(1);
    };
    const { routes: _, ...withoutFunction } = EVERYTHING;
    expect(await missing(withoutFunction)).toEqual(["lambda:GetPolicy", MODERATION]);
    const { domain: __, ...withoutDomain } = EVERYTHING;
    expect(await missing(withoutDomain)).toEqual([
      "apigateway:DELETE",
      expect.stringMatching(
        /^arn:aws:apigateway:eu-west-1::\/domainnames\/ws\.example\.com\/apimappings\/\w+$/,
      ),
    ]);
    const { accessLog: ___, ...withoutLog } = EVERYTHING;
    await expect((await printed(withoutLog)).apply()).rejects.toThrow(
      /BadRequestException: Insufficient permissions to enable logging\. User: .* logs:CreateLogDelivery/,
    );
    const former = [MODERATION, DOMAIN.name, log("chat")];
    const last = await printed({ tags: { team: "chat" } }, { former });
    await last.apply();
    expect(await last.plan()).toEqual({ steps: [] });
  });

  test("no other API, domain or function can be changed", async () => {
    await (await printed(EVERYTHING)).apply();
    const apiId = world.apiId();
    await printed(EVERYTHING, { former: [FORMER_DOMAIN.name] });
    const policy = world.aws.iam.policy as PolicyDocument;
    const may = (action: string, resource: string, context: Demand["context"] = {}) =>
      allows(policy, { action, resource, context });
    const tagged = (path: string) => at(`tags/${encodeURIComponent(at(path))}`);
    for (const [api, isOurs] of [
      [apiId, true],
      [`${apiId}z`, false],
      ["zzzzzzzzzz", false],
    ] as const) {
      for (const path of [`apis/${api}`, `apis/${api}/routes/r`, `apis/${api}/stages/production`])
        for (const verb of ["PATCH", "DELETE"])
          expect(may(`apigateway:${verb}`, at(path)), `${verb} ${path}`).toBe(isOurs);
      for (const part of ["integrations", "routes", "routes/r/routeresponses", "stages", "deployments"])
        expect(may("apigateway:POST", at(`apis/${api}/${part}`)), part).toBe(isOurs);
      for (const path of [`apis/${api}`, `v2/apis/${api}`, `apis/${api}/stages/production`])
        for (const verb of ["POST", "PUT", "DELETE"])
          expect(may(`apigateway:${verb}`, tagged(path)), `${verb} ${path}`).toBe(isOurs);
      expect(may("apigateway:GET", at(`apis/${api}/integrations`))).toBe(isOurs);
      expect(may("apigateway:TagResource", at(`apis/${api}/stages`))).toBe(isOurs);
    }
    expect(may("apigateway:POST", at("apis"))).toBe(false);
    expect(may("apigateway:POST", tagged(`apis/${apiId}/stages/other`))).toBe(false);
    for (const [domain, isOurs] of [
      [DOMAIN.name, true],
      ["stranger.example.com", false],
    ] as const) {
      for (const path of [`domainnames/${domain}`, `domainnames/${domain}/apimappings/m`])
        for (const verb of ["PATCH", "DELETE"])
          expect(may(`apigateway:${verb}`, at(path)), `${verb} ${path}`).toBe(isOurs);
      expect(may("apigateway:POST", at(`domainnames/${domain}/apimappings`))).toBe(isOurs);
      expect(may("apigateway:PUT", tagged(`domainnames/${domain}`))).toBe(isOurs);
    }
    for (const path of ["", "/apimappings/m"].map((rest) => at(`domainnames/${FORMER_DOMAIN.name}${rest}`))) {
      expect(may("apigateway:DELETE", path)).toBe(true);
      for (const verb of ["POST", "PATCH"]) expect(may(`apigateway:${verb}`, path)).toBe(false);
    }
    const invoker = { "lambda:Principal": "apigateway.amazonaws.com" };
    for (const action of ["lambda:AddPermission", "lambda:RemovePermission"]) {
      expect(may(action, MODERATION, invoker)).toBe(true);
      expect(may(action, MODERATION, { "lambda:Principal": "*" })).toBe(false);
      expect(may(action, MODERATION)).toBe(false);
      for (const other of [FORMER_FUNCTION, lambda("moderation"), lambda("moderation:other")])
        expect(may(action, other, invoker), other).toBe(false);
    }
    expect(may("lambda:InvokeFunction", MODERATION)).toBe(false);
  });
});

describe("sallyport gateway policy", () => {
  const root = resolve(import.meta.dirname, "../..");

  /** Runs the command in a terminal, with an app whose gateway was not applied yet. */
  function policy(...args: string[]) {
    const env = {
      ...process.env,
      SALLYPORT_APP: join(root, "test/processes/gateway-app.ts"),
      TEST_DATABASE: database,
      NODE_NO_WARNINGS: "1",
    };
    return new Promise<{ out: string; err: string }>((done) => {
      execFile(process.execPath, [join(root, "bin/sallyport.js"), ...args], { env }, (_error, out, err) =>
        done({ out, err }),
      );
    });
  }

  let database: string;
  beforeEach(async () => {
    const folder = await mkdtemp(join(tmpdir(), "sallyport-policies-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    database = join(folder, "cli.db");
    await policy("migrate");
  });

  test("explains the policy and prints the requested parts", async () => {
    expect((await policy("gateway", "policy")).out).toMatch(
      /^To provision "chat" for the first time \(print the policy again after the first apply\):\n\{/,
    );
    const former = ["old.example.com", MODERATION];
    const args = ["--api", "a1b2c3d4e5", ...former.flatMap((each) => ["--former", each])];
    expect((await policy("gateway", "policy", ...args)).out).toMatch(/^To provision "chat":\n\{/);
    const domain = { name: "ws.example.com", certificateArn: certificate(0) };
    const target = "https://www.example.com/ws/chat";
    expect(JSON.parse((await policy("gateway", "policy", ...args, "--json")).out)).toEqual(
      gatewayPolicies(defineGateway({ name: "chat", region: REGION, target, domain }), {
        apiId: "a1b2c3d4e5",
        former,
      }),
    );
    expect((await policy("gateway", "policy", "--former", "*")).err).toMatch(
      /^sallyport: gatewayPolicies\(\): former\[0\] must be the name of a domain, .*, but received "\*"\.\n$/,
    );
  });
});

describe("the policy of the app that serves", () => {
  test("allows the Management API calls of the app, at this stage of this API", async () => {
    const arrived: { method: string; path: string }[] = [];
    const server = createServer(({ method = "", url: path = "" }, response) => {
      arrived.push({ method, path });
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const management = new HttpManagementApi();
    onTestFinished(async () => {
      await management.close();
      server.close();
    });
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/production`;
    await management.ready(endpoint);
    await management.post(endpoint, "L0SM9cOFvHcCIhw=", "hello");
    await management.get(endpoint, "L0SM9cOFvHcCIhw=");
    await management.delete(endpoint, "L0SM9cOFvHcCIhw=");
    expect(arrived.map(({ method }) => method)).toEqual(["POST", "GET", "DELETE"]);

    const definition = defineGateway({
      name: "chat",
      region: REGION,
      target: "https://www.example.com/ws/chat",
    });
    const { runtime } = gatewayPolicies(definition, { account: ACCOUNT, apiId: "a1b2c3d4e5" });
    const demand = (apiId: string, { method, path }: { method: string; path: string }): Demand => {
      const [, stage, ...rest] = decodeURIComponent(path).split("/");
      const resource = `arn:aws:execute-api:${REGION}:${ACCOUNT}:${apiId}/${stage}/${method}/${rest.join("/")}`;
      return { action: "execute-api:ManageConnections", resource };
    };
    const asked = arrived.map((call) => demand("a1b2c3d4e5", call));
    for (const each of asked) expect(allows(runtime, each), each.resource).toBe(true);
    expect(needless(runtime, asked)).toEqual([]);
    const [post] = arrived;
    for (const each of arrived) {
      expect(allows(runtime, demand("zzzzzzzzzz", each))).toBe(false);
      expect(
        allows(runtime, demand("a1b2c3d4e5", { ...each, path: each.path.replace("production", "other") })),
      ).toBe(false);
    }
    expect(allows(runtime, demand("a1b2c3d4e5", { method: "PUT", path: post?.path ?? "" }))).toBe(false);
    for (const { resource } of asked)
      expect(allows(runtime, { action: "execute-api:Invoke", resource })).toBe(false);
  });
});
