import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Plan, Provisioner } from "../../src/aws/provisioning.ts";
import type { GatewayOptions } from "../../src/aws.ts";
import { ProvisioningError } from "../../src/errors.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../../src/protocol/gateway-call.ts";
import type { Fault } from "./control-plane/server.ts";
import { CHAT, ProvisioningWorld, REGION, secretOf } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const words = ({ steps }: Plan) => steps.map(({ action, what }) => `${action} ${what}`);
const MODERATION = "https://www.example.com/ws/moderation/moderate";
const CERTIFICATE = `arn:aws:acm:${REGION}:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000`;
const LOG_GROUP = `arn:aws:logs:${REGION}:123456789012:log-group:chat`;

/** All options of an API with an HTTP backend. */
const EVERYTHING: Partial<GatewayOptions> = {
  routes: { moderate: MODERATION },
  description: "The chat",
  tags: { team: "chat" },
  throttling: { ratePerSecond: 100, burst: 200 },
  accessLog: { destinationArn: LOG_GROUP },
  domain: { name: "ws.example.com", certificateArn: CERTIFICATE, mappingKey: "chat" },
};

describe("apply", () => {
  test("F44 B53 creates an API with the secret and the mapped headers on each integration", async () => {
    const provisioner = world.define({ routes: { moderate: MODERATION } });
    await provisioner.apply();
    const created = world.aws.calls.find(({ operation }) => operation === "CreateApi");
    for (const member of ["RouteKey", "Target"]) expect(created?.input).not.toHaveProperty(member);
    const { api, routes, integrations } = world.served();
    expect(api).toMatchObject({
      Name: "chat",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
    });
    const uris = new Map(
      integrations.map(({ IntegrationId, IntegrationUri }) => [
        `integrations/${IntegrationId}`,
        IntegrationUri,
      ]),
    );
    expect(
      Object.fromEntries(routes.map(({ RouteKey, Target = "" }) => [RouteKey, uris.get(Target)])),
    ).toEqual({
      $connect: `${CHAT}/connect`,
      $disconnect: `${CHAT}/disconnect`,
      $default: `${CHAT}/default`,
      moderate: MODERATION,
    });
    const headers = Object.entries(CONTEXT_HEADERS).map(([name, variable]) => [
      `integration.request.header.${name}`,
      variable,
    ]);
    for (const integration of integrations) {
      expect(integration).toMatchObject({
        IntegrationType: "HTTP_PROXY",
        IntegrationMethod: "POST",
        TimeoutInMillis: 29_000,
      });
      const secret = secretOf(integration);
      expect(secret).toMatch(/^[0-9a-f]{64}$/);
      expect(integration.RequestParameters).toEqual({
        ...Object.fromEntries(headers),
        [`integration.request.header.${SECRET_HEADER}`]: `'${secret}'`,
      });
    }
    expect(new Set(integrations.map(secretOf)).size).toBe(1);
  });

  test("B54 sets both settings of a two-way route on message routes, and neither on the others", async () => {
    await world.define({ routes: { moderate: MODERATION } }).apply();
    const answers = world.served().routes.map(({ RouteKey, RouteResponseSelectionExpression, responses }) => {
      return [
        RouteKey,
        RouteResponseSelectionExpression,
        responses.map(({ RouteResponseKey }) => RouteResponseKey),
      ];
    });
    expect(answers).toEqual([
      ["$connect", undefined, []],
      ["$disconnect", undefined, []],
      ["$default", "$default", ["$default"]],
      ["moderate", "$default", ["$default"]],
    ]);
    await world.define({ replies: "push" }).apply();
    expect(world.served().routes.flatMap(({ responses }) => responses)).toEqual([]);
    expect(await world.record()).toMatchObject({ replies: "push" });
  });

  test("B46, B47 apply makes the changes that plan prints, and then nothing is left to do", async () => {
    const provisioner = world.define(EVERYTHING);
    const plan = await provisioner.plan();
    expect(world.aws.changes).toBe(0);
    expect(await provisioner.apply()).toEqual(plan);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    const changes = world.aws.changes;
    expect(await provisioner.apply()).toEqual({ steps: [] });
    expect(world.aws.changes).toBe(changes);
  });

  test("F52 records the gateway, so that the app accepts its calls, but not before", async () => {
    const provisioner = world.define();
    expect(await world.record()).toBeUndefined();
    await provisioner.apply();
    const apiId = world.apiId();
    expect(await world.record()).toMatchObject({
      apiId,
      stage: "production",
      endpoint: `https://${apiId}.execute-api.${REGION}.amazonaws.com/production`,
      replies: "route",
      secretHashes: world.servedSecrets(),
    });
    // Before the deployment that starts the calls.
    const made = world.aws.calls.filter(({ operation }) => !operation.startsWith("Get"));
    expect(made.at(-1)).toMatchObject({ operation: "CreateDeployment", input: { StageName: "production" } });
  });

  test("B23 returns the URL of the API if there is no custom domain", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    expect(await provisioner.status()).toMatchObject({
      url: `wss://${world.apiId()}.execute-api.${REGION}.amazonaws.com/production`,
    });
  });

  test("writes who changed what to the audit log, also for a failed run", async () => {
    await world.define().apply();
    world.aws.fault = (operation) => (operation === "CreateRoute" ? REJECTED : undefined);
    await expect(world.define({ routes: { moderate: MODERATION } }).apply()).rejects.toThrow(
      ProvisioningError,
    );
    const [failed, applied] = await world.app.access.audit.list();
    expect(applied).toMatchObject({
      action: "provision",
      by: "test",
      details: { gateway: "chat", run: "apply" },
    });
    expect(applied?.details.steps).toContain("create route $connect");
    expect(failed?.details).toEqual({
      gateway: "chat",
      run: "apply",
      steps: ["create integration of moderate"],
      perhaps: ["create route moderate"],
    });
  });

  test("runs are serialized, because two concurrent runs would create two APIs", async () => {
    const [one, two] = [world.define(), world.define()];
    const ended = await Promise.allSettled([one.apply(), two.apply()]);
    expect(ended.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(ended.find(({ status }) => status === "rejected")).toMatchObject({
      reason: {
        message: expect.stringMatching(/^Another run provisions gateway "chat" now.*Try again in \d+ s\.$/),
      },
    });
    expect(world.apiId()).toMatch(/^[a-z0-9]{10}$/);
    await two.apply();
  });
});

const REJECTED: Fault = { kind: "rejected", status: 403, type: "AccessDeniedException" };

describe("B46 a run that fails", () => {
  /** Number of changes of a complete run. */
  async function changesOf(options: Partial<GatewayOptions>): Promise<number> {
    const other = await ProvisioningWorld.open();
    await other.define(options).apply();
    const { changes } = other.aws;
    await other.close();
    return changes;
  }

  async function expectWhole(provisioner: Provisioner): Promise<void> {
    expect(await provisioner.plan()).toEqual({ steps: [] });
    const { integrations, routes } = world.served();
    expect(integrations).toHaveLength(routes.length);
    expect((await world.record())?.secretHashes).toContain(world.servedSecrets()[0]);
    expect(world.servedSecrets()).toHaveLength(1);
  }

  test("T15 because AWS rejects a step reports the error of AWS, and the next run continues", async () => {
    const changes = await changesOf(EVERYTHING);
    expect(changes).toBeGreaterThan(14);
    for (let at = 1; at <= changes; at++) {
      await world.close();
      world = await ProvisioningWorld.open();
      const provisioner = world.define(EVERYTHING);
      world.aws.fault = (_, change) => (change === at ? REJECTED : undefined);
      const failure = await provisioner.apply().catch((error: unknown) => error);
      expect(failure, `step ${at}`).toBeInstanceOf(ProvisioningError);
      expect(failure).toMatchObject({
        awsError: "AccessDeniedException",
        awsStatus: 403,
        message: expect.stringMatching(
          /^[A-Z]\w+ in eu-west-1 was answered 403: .*`sallyport gateway policy`/,
        ),
      });
      world.aws.fault = () => undefined;
      await provisioner.apply();
      await expectWhole(provisioner);
    }
  });

  test.each<{ how: string; fault: Fault }>([
    { how: "no answer, and no change", fault: { kind: "lost" } },
    { how: "no answer, but a change", fault: { kind: "answer lost" } },
    { how: "an error of AWS", fault: { kind: "rejected", status: 500, type: "InternalFailure" } },
    { how: "a throttled call", fault: { kind: "rejected", status: 429, type: "TooManyRequestsException" } },
  ])("with $how at any step reads the state again and continues", async ({ fault }) => {
    const changes = await changesOf(EVERYTHING);
    for (let at = 1; at <= changes; at++) {
      await world.close();
      world = await ProvisioningWorld.open();
      const provisioner = world.define(EVERYTHING);
      world.aws.fault = (_, change) => (change === at ? fault : undefined);
      await provisioner.apply();
      await expectWhole(provisioner);
    }
  });

  test("because its process was killed before any step is continued by the next run", async () => {
    const { steps } = await world.define(EVERYTHING).plan();
    for (let at = 1; at <= steps.length; at++) {
      await world.close();
      world = await ProvisioningWorld.open();
      const provisioner = world.define(EVERYTHING);
      let step = 0;
      const dies = provisioner.apply(() => {
        if (++step === at) throw new Error("killed");
      });
      await expect(dies).rejects.toThrow("killed");
      await provisioner.apply();
      await expectWhole(provisioner);
    }
  });

  test("because AWS does not answer is reported in time and can be continued", async () => {
    const provisioner = world.define({}, { timeoutMs: 300 });
    world.aws.fault = (_, change) => (change === 2 ? { kind: "silent" } : undefined);
    await provisioner.apply();
    await expectWhole(provisioner);
    world.aws.fault = () => ({ kind: "silent" });
    const stuck = world.define({ description: "x" }, { timeoutMs: 300 }).apply();
    await expect(stuck).rejects.toThrow(/^UpdateApi in eu-west-1 was not answered: TimeoutError/);
  });

  test("permanently is reported after a few rounds with the error of AWS", async () => {
    world.aws.fault = (operation) => (operation === "CreateStage" ? { kind: "lost" } : undefined);
    await expect(world.define().apply()).rejects.toThrow(/^CreateStage in eu-west-1 was not answered: /);
  });
});

describe("B50 an edited definition", () => {
  const changed = async (
    from: Partial<GatewayOptions>,
    to: Partial<GatewayOptions>,
  ): Promise<readonly string[]> => {
    await world.define(from).apply();
    const provisioner = world.define(to);
    const plan = await provisioner.plan();
    expect(await provisioner.apply()).toEqual(plan);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    return words(plan);
  };
  const DEPLOY = "deploy stage production";

  test("F72 of the target changes the three base routes, with the same integrations", async () => {
    const target = "https://other.example.com/ws/chat";
    await world.define().apply();
    const before = world.served().integrations.map(({ IntegrationId }) => IntegrationId);
    expect(await changed({}, { target })).toEqual([
      "change integration of $connect",
      "change integration of $disconnect",
      "change integration of $default",
      DEPLOY,
    ]);
    expect(world.served().integrations.map(({ IntegrationId }) => IntegrationId)).toEqual(before);
    expect(
      world.served().integrations.every(({ IntegrationUri }) => IntegrationUri?.startsWith(target)),
    ).toBe(true);
  });

  test("F46, B48 of a custom route creates it once, changes it, and removes it with its integration", async () => {
    expect(await changed({}, { routes: { moderate: MODERATION } })).toEqual([
      "create integration of moderate",
      "create route moderate",
      "create route response of moderate",
      DEPLOY,
    ]);
    const other = "https://other.example.com/ws/moderation/moderate";
    expect(await changed({ routes: { moderate: MODERATION } }, { routes: { moderate: other } })).toEqual([
      "change integration of moderate",
      DEPLOY,
    ]);
    expect(await changed({ routes: { moderate: other } }, {})).toEqual([
      "remove route moderate",
      "remove integration",
      DEPLOY,
    ]);
    expect(world.served().integrations).toHaveLength(3);
  });

  test("B51 of tags changes those of API and stage, and keeps the tags of others", async () => {
    expect(await changed({ tags: { team: "chat", cost: "1" } }, { tags: { team: "realtime" } })).toEqual([
      "change tags of the API",
      "change tags of the stage production",
    ]);
    const [api] = world.aws.apis.all();
    expect(api?.Tags).toEqual({
      team: "realtime",
      "sallyport:gateway": "chat",
      "sallyport:record": (await world.record())?.id,
    });
  });

  test("can change the name, the description and the route selection", async () => {
    expect(
      await changed({}, { description: "The chat", routeSelectionExpression: "$request.body.type" }),
    ).toEqual(['change API "chat"', DEPLOY]);
    expect(await changed({ description: "The chat" }, {})).toEqual(['change API "chat"']);
    expect(world.served().api.Description).toBe("The chat");
  });

  test("can change throttling, which is never left at 0, and the access log", async () => {
    const stage = async () => {
      const { StageName: _, ...rest } = world.aws.apis.GetStage({
        ApiId: world.apiId(),
        StageName: "production",
      });
      return rest;
    };
    expect(await changed({}, { throttling: { ratePerSecond: 100, burst: 200 } })).toEqual([
      "change stage production",
    ]);
    expect((await stage()).DefaultRouteSettings).toMatchObject({
      ThrottlingRateLimit: 100,
      ThrottlingBurstLimit: 200,
    });
    expect(await changed({ throttling: { ratePerSecond: 100, burst: 200 } }, {})).toEqual([
      "change stage production",
    ]);
    expect((await stage()).DefaultRouteSettings).toMatchObject({
      ThrottlingRateLimit: 10_000,
      ThrottlingBurstLimit: 5000,
    });
    expect(await changed({}, { accessLog: { destinationArn: `${LOG_GROUP}:*` } })).toEqual([
      "change stage production",
    ]);
    expect((await stage()).AccessLogSettings).toMatchObject({ DestinationArn: LOG_GROUP });
    expect(await changed({ accessLog: { destinationArn: LOG_GROUP } }, {})).toEqual([
      "remove access log of the stage production",
    ]);
    expect((await stage()).AccessLogSettings).toBeUndefined();
  });

  test("B49 creates a deployment only for a change, five seconds apart, and status contains the last one", async () => {
    for (const timeoutMs of [1000, 2000, 3000, 4000]) await world.define({ timeoutMs }).apply();
    const deployments = world.aws.calls.filter(
      ({ operation, status }) => operation === "CreateDeployment" && status === 201,
    );
    expect(deployments).toHaveLength(4);
    for (const [index, { at }] of deployments.entries())
      if (index > 0) expect(at - (deployments[index - 1]?.at ?? 0)).toBeGreaterThanOrEqual(5000);
    const status = await world.define({ timeoutMs: 4000 }).status();
    expect(status).toMatchObject({ apiId: world.apiId(), steps: [] });
    expect(status.deployedAt?.getTime()).toBe(deployments.at(-1)?.at);
  });
});

describe("drift", () => {
  test("of any kind is reported by status and repaired by apply", async () => {
    const provisioner = world.define(EVERYTHING);
    await provisioner.apply();
    const ApiId = world.apiId();
    const { apis } = world.aws;
    const { routes, integrations } = world.served();
    const [connect, disconnect, , moderate] = integrations;
    const idOf = (key: string) => routes.find(({ RouteKey }) => RouteKey === key)?.RouteId;
    const name = `integration.request.header.${SECRET_HEADER}`;
    apis.UpdateIntegration({
      ApiId,
      IntegrationId: connect?.IntegrationId,
      RequestParameters: { [name]: "" },
    });
    apis.UpdateIntegration({
      ApiId,
      IntegrationId: disconnect?.IntegrationId,
      IntegrationUri: "https://evil.example.com",
    });
    apis.UpdateIntegration({
      ApiId,
      IntegrationId: moderate?.IntegrationId,
      RequestParameters: {
        "integration.request.header.x-extra": "'1'",
        "integration.request.header.connectionId": "'me'",
      },
    });
    apis.DeleteRoute({ ApiId, RouteId: idOf("$default") });
    apis.UpdateRoute({ ApiId, RouteId: idOf("moderate"), RouteResponseSelectionExpression: "" });
    const { IntegrationId } = apis.CreateIntegration({ ApiId, IntegrationType: "MOCK" });
    apis.CreateRoute({ ApiId, RouteKey: "backdoor", Target: `integrations/${IntegrationId}` });
    apis.UpdateStage({ ApiId, StageName: "production", DefaultRouteSettings: { ThrottlingRateLimit: 1 } });
    apis.CreateDeployment({ ApiId, StageName: "production" });
    const { steps } = await provisioner.status();
    expect(words({ steps })).toEqual([
      "change integration of $connect",
      "change integration of $disconnect",
      "create route $default",
      "create route response of $default",
      "change integration of moderate",
      "change route moderate",
      "remove route backdoor",
      "remove integration",
      "change stage production",
      "deploy stage production",
    ]);
    const details = steps.flatMap(({ details }) => details);
    expect(details).toContain("header.x-sallyport-secret: another secret");
    expect(details).toContain(`IntegrationUri: https://evil.example.com → ${CHAT}/disconnect`);
    expect(details).toContain("header.x-extra: a fixed value → nothing");
    expect(JSON.stringify(steps)).not.toContain(secretOf(disconnect ?? {}));
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    expect(world.served().integrations.every((each) => secretOf(each) === secretOf(disconnect ?? {}))).toBe(
      true,
    );
  });

  test("is not reported for tags and defaults that AWS sets itself", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    const [api] = world.aws.apis.all();
    Object.assign(api?.Tags ?? {}, { "aws:servicecatalog:applicationName": "chat" });
    for (const { IntegrationId } of world.served().integrations)
      world.aws.apis.forgetDefaults(ApiId, IntegrationId ?? "");
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("in an undeployed resource is repaired without a deployment", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [integration] = world.served().integrations;
    world.aws.apis.UpdateIntegration({
      ApiId: world.apiId(),
      IntegrationId: integration?.IntegrationId,
      TimeoutInMillis: 50,
    });
    expect(words(await provisioner.apply())).toEqual(["change integration of $connect"]);
  });

  test("in an integration that several routes share is repaired with one integration for each route", async () => {
    const provisioner = world.define({ routes: { moderate: MODERATION } });
    await provisioner.apply();
    const ApiId = world.apiId();
    const { routes, integrations } = world.served();
    for (const { RouteId } of routes)
      world.aws.apis.UpdateRoute({
        ApiId,
        RouteId,
        Target: `integrations/${integrations[0]?.IntegrationId}`,
      });
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    expect(new Set(world.served().routes.map(({ Target }) => Target)).size).toBe(4);
    expect(world.served().integrations).toHaveLength(4);
  });

  test("in automatic deployment is repaired, and a missing stage is created", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    world.aws.apis.UpdateStage({ ApiId, StageName: "production", AutoDeploy: true });
    expect(words(await provisioner.apply())).toEqual(["change stage production"]);
    world.aws.apis.DeleteStage({ ApiId, StageName: "production" });
    expect(words(await provisioner.apply())).toEqual(["create stage production", "deploy stage production"]);
    expect(world.served().routes).toHaveLength(3);
  });
});
