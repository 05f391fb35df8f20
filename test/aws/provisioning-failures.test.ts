import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Plan } from "../../src/aws/provisioning.ts";
import { type GatewayOptions, gatewaySecret } from "../../src/aws.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { INTERNAL } from "../../src/internal.ts";
import { CHAT, ProvisioningWorld, REGION, secretOf } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const words = ({ steps }: Plan) => steps.map(({ action, what }) => `${action} ${what}`);
const ids = () => world.aws.apis.all().map(({ ApiId }) => ApiId);
const certificate = `arn:aws:acm:${REGION}:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000`;
const DOMAIN = { name: "ws.example.com", certificateArn: certificate };
const functionOf = (account: string, name = "moderation") =>
  `arn:aws:lambda:${REGION}:${account}:function:${name}`;
const OWN = functionOf("123456789012");
const PRODUCTION = { StageName: "production" };

describe("an API that AWS lists only after a delay", () => {
  test("is used by the same run after a failed step", async () => {
    world.aws.apis.showsAfterMs = 600_000;
    let isHit = false;
    world.aws.fault = (operation) => {
      if (operation !== "CreateStage" || isHit) return undefined;
      isHit = true;
      return { kind: "rejected", status: 500, type: "InternalFailure" };
    };
    await world.define().apply();
    expect(ids()).toHaveLength(1);
  });

  test("is not created again by the next run, after success or a crash", async () => {
    world.aws.apis.showsAfterMs = 600_000;
    const provisioner = world.define();
    const dies = provisioner.apply(({ what }) => {
      if (what === "stage production") throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    expect(await provisioner.apply()).toEqual({ steps: [] });
    expect(ids()).toHaveLength(1);
  });

  test("is read again if AWS answers that it does not exist", async () => {
    let isLost = false;
    world.aws.fault = (operation) => {
      if (operation !== "CreateApi" || isLost) return undefined;
      isLost = true;
      return { kind: "answer lost" };
    };
    let failures = 8;
    const listed = world.aws.apis.GetApis.bind(world.aws.apis);
    world.aws.apis.GetApis = (input) => {
      if (isLost && failures-- > 0) throw new Error("AWS fails");
      return listed(input);
    };
    await world.define().apply();
    expect(failures).toBeLessThan(0);
    expect(ids()).toHaveLength(1);
  });

  test("is not confused with a deleted API that AWS still lists", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [gone] = world.aws.apis.all();
    await provisioner.destroy();
    const listed = world.aws.apis.GetApis.bind(world.aws.apis);
    world.aws.apis.GetApis = (input) => {
      const answer = listed(input);
      return { ...answer, Items: [...(answer.Items ?? []), ...(gone ? [gone] : [])] };
    };
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });
});

describe("an API that AWS does not return", () => {
  test("can belong to another account, so nothing changes until the user decides", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const record = await world.record();
    world.aws.apis.run("DeleteApi", { ApiId: record?.apiId });
    for (const run of [
      () => provisioner.plan(),
      () => provisioner.apply(),
      () => provisioner.destroy(),
      () => provisioner.rotateSecret(),
    ]) {
      await expect(run()).rejects.toThrow(
        `Gateway "chat" is the API ${record?.apiId}, which AWS does not show in eu-west-1 to these credentials. Check the account of the credentials, and the region. If the API was deleted, run: npx sallyport gateway release "chat"`,
      );
    }
    const status = await provisioner.status();
    expect(status).toMatchObject({ apiId: null, steps: [] });
    expect(status.problem).toMatch(/does not show in eu-west-1 to these credentials/);
    expect(await world.record()).toEqual(record);
    expect(words(await provisioner.release())).toEqual([
      "remove record in the database, with the rows of its connections",
    ]);
    await provisioner.apply();
    expect(ids()).toHaveLength(1);
  });

  test("is removed or created again by the next run if its removal was interrupted", async () => {
    for (const next of ["destroy", "apply"] as const) {
      const provisioner = world.define();
      await provisioner.apply();
      const dies = provisioner.destroy(({ what }) => {
        if (what.startsWith("record")) throw new Error("killed");
      });
      await expect(dies).rejects.toThrow("killed");
      expect(ids()).toEqual([]);
      await provisioner[next]();
      expect(ids()).toHaveLength(next === "apply" ? 1 : 0);
      await provisioner.destroy();
    }
  });

  test("is removed or created again if it was incomplete", async () => {
    const provisioner = world.define();
    const dies = provisioner.apply(({ what }) => {
      if (what === "route $connect") throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    world.aws.fault = (operation) => (operation === "DeleteApi" ? { kind: "answer lost" } : undefined);
    await provisioner.destroy();
    world.aws.fault = () => undefined;
    expect(await world.record()).toBeUndefined();
    await provisioner.apply();
    expect(ids()).toHaveLength(1);
  });

  test("is looked up in the region in which it was created", async () => {
    world.aws.fault = () => ({ kind: "rejected", status: 403, type: "AccessDeniedException" });
    await expect(world.define().apply()).rejects.toThrow(/CreateApi in eu-west-1 was answered 403/);
    await expect(world.define({ region: "us-east-1" }).apply()).rejects.toThrow(
      /^Gateway "chat" is in eu-west-1/,
    );
  });
});

test("an API is created at most twice if AWS never answers, and then the run fails", async () => {
  world.aws.apis.showsAfterMs = 3_600_000;
  world.aws.fault = (operation) => (operation === "CreateApi" ? { kind: "answer lost" } : undefined);
  await expect(world.define().apply()).rejects.toThrow(
    /^CreateApi in eu-west-1 was not answered: .* AWS may have created an API that it lists later\. Wait a few minutes first\.$/,
  );
  expect(ids()).toHaveLength(2);
});

describe("resources of other owners at AWS", () => {
  test("two served APIs of one gateway are resolved by removing the tags that the error names", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const kept = world.apiId();
    const record = (await world.record())?.id ?? "";
    const second = world.aws.apis.CreateApi({
      Name: "chat",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
      Tags: { "sallyport:gateway": "chat", "sallyport:record": record },
    }).ApiId;
    world.aws.apis.CreateStage({ ApiId: second, ...PRODUCTION });
    const failure = await provisioner.plan().catch((error: Error) => error.message);
    const [, ...TagKeys] = /Remove the tags (\S+) and (\S+) from/.exec(String(failure)) ?? [];
    world.aws.apis.UntagResource({ ResourceArn: `arn:aws:apigateway:${REGION}::/apis/${second}`, TagKeys });
    expect(await provisioner.plan()).toEqual({ steps: [] });
    await provisioner.destroy();
    expect(ids()).toEqual([second]);
    expect(kept).not.toBe(second);
  });

  test("mappings to another stage of the API stay, and a domain that leads there is not taken", async () => {
    await world.define().apply();
    const ApiId = world.apiId();
    world.aws.apis.CreateStage({ ApiId, StageName: "staging" });
    world.aws.apis.domains.CreateDomainName({
      DomainName: DOMAIN.name,
      DomainNameConfigurations: [{ CertificateArn: certificate, EndpointType: "REGIONAL" }],
    });
    const mapping = { ApiId, DomainName: DOMAIN.name, Stage: "staging" };
    world.aws.apis.run("CreateApiMapping", { ...mapping, ApiMappingKey: "staging" });
    expect(words(await world.define({ domain: DOMAIN }).apply())).toEqual([
      "create mapping of ws.example.com",
    ]);
    const { Items = [] } = world.aws.apis.domains.GetApiMappings({ DomainName: DOMAIN.name });
    expect(Items.map(({ ApiMappingKey, Stage }) => [ApiMappingKey, Stage])).toEqual([
      ["staging", "staging"],
      ["", "production"],
    ]);
    const taken = world.define({ domain: { ...DOMAIN, mappingKey: "staging" } });
    await expect(taken.plan()).rejects.toThrow(
      /ws\.example\.com\/staging is already mapped to the API \w+ \(stage staging\)/,
    );
    const status = await taken.status();
    expect(status).toMatchObject({ apiId: ApiId, steps: [] });
    expect(status.problem).toMatch(/is already mapped to the API/);
  });

  test("a domain that the gateway of another database is creating stays", async () => {
    await world.define().apply();
    world.aws.apis.domains.CreateDomainName({
      DomainName: DOMAIN.name,
      DomainNameConfigurations: [{ CertificateArn: certificate, EndpointType: "REGIONAL" }],
      Tags: { "sallyport:domain": "of-another-record" },
    });
    expect(await world.define().plan()).toEqual({ steps: [] });
    expect(words(await world.define().planDestruction())).not.toContain("remove domain ws.example.com");
  });

  test("an API of another database is taken over only by import, which reports it", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    const ResourceArn = `arn:aws:apigateway:${REGION}::/apis/${ApiId}`;
    world.aws.apis.TagResource({ ResourceArn, Tags: { "sallyport:record": "of-another-record" } });
    await expect(provisioner.apply()).rejects.toThrow(/If the API belongs to another environment/);
    expect(world.aws.apis.GetApi({ ApiId }).Tags?.["sallyport:record"]).toBe("of-another-record");
    const { steps } = await provisioner.adopt(ApiId);
    expect(steps.flatMap(({ details }) => details)).toEqual([
      "sallyport:record: another database's → this one's",
    ]);
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("authorization, API keys and certificates that others set are reported by status and kept", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    const { Items = [] } = world.aws.apis.GetRoutes({ ApiId });
    const RouteId = Items.find(({ RouteKey }) => RouteKey === "$connect")?.RouteId;
    world.aws.apis.UpdateRoute({ ApiId, RouteId, AuthorizationType: "AWS_IAM", ApiKeyRequired: true });
    world.aws.apis.UpdateStage({ ApiId, ...PRODUCTION, ClientCertificateId: "abc123" });
    expect(await provisioner.status()).toMatchObject({
      steps: [],
      kept: [
        "route $connect: AuthorizationType AWS_IAM",
        "route $connect: ApiKeyRequired",
        "stage production: ClientCertificateId abc123",
      ],
    });
  });

  test("an unknown URL or header is not printed, because it can be a secret", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    const [{ IntegrationId } = {}] = world.served().integrations;
    world.aws.apis.UpdateIntegration({ ApiId, IntegrationId, IntegrationUri: `${CHAT}?token=topsecret` });
    world.aws.apis.CreateIntegration({
      ApiId,
      Description: "sallyport gone",
      IntegrationType: "HTTP_PROXY",
      IntegrationMethod: "POST",
      IntegrationUri: `${CHAT}?token=topsecret`,
    });
    const shown = JSON.stringify(await provisioner.plan());
    expect(shown).toContain(`${CHAT}?…`);
    expect(shown).not.toContain("topsecret");
  });
});

describe("import", () => {
  /** A gateway that was registered manually and serves. */
  async function byHand(registration: object = {}): Promise<string> {
    const { apis } = world.aws;
    const { ApiId = "" } = apis.CreateApi({
      Name: "made by hand",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
    });
    const { IntegrationId } = apis.CreateIntegration({
      ApiId,
      IntegrationType: "HTTP_PROXY",
      IntegrationMethod: "POST",
      IntegrationUri: `${CHAT}/default`,
    });
    const route = { ApiId, RouteKey: "$default", AuthorizationType: "NONE" } as const;
    apis.CreateRoute({ ...route, Target: `integrations/${IntegrationId}` });
    apis.CreateStage({ ApiId, StageName: "prod" });
    apis.CreateDeployment({ ApiId, StageName: "prod" });
    const endpoint = `https://${ApiId}.execute-api.${REGION}.amazonaws.com/prod`;
    await world.app.registerGateway({ name: "chat", endpoint, secret: gatewaySecret(), ...registration });
    return ApiId;
  }

  test("keeps connections at their stage", async () => {
    const provisioner = world.define();
    const ApiId = await byHand();
    const record = await world.record();
    await expect(provisioner.adopt(ApiId)).rejects.toThrow(
      'Gateway "chat" is registered with the stage prod, but defined with production. Its connections belong to the registered stage. Define it with stage: "prod".',
    );
    expect(await world.record()).toEqual(record);
    await world.app[INTERNAL].provisioning.gateways.remove("chat");
    await expect(provisioner.adopt(ApiId)).rejects.toThrow(
      `The API ${ApiId} has no stage "production" (it has: prod). Define the gateway with the stage that has its connections.`,
    );
  });

  test("keeps the reply mode: undeployed changes at AWS do not return replies", async () => {
    const provisioner = world.define({ stage: "prod" });
    const ApiId = await byHand({ replies: "push" });
    const RouteId = world.aws.apis.GetRoutes({ ApiId }).Items?.[0]?.RouteId;
    world.aws.apis.CreateRouteResponse({ ApiId, RouteId, RouteResponseKey: "$default" });
    world.aws.apis.UpdateRoute({ ApiId, RouteId, RouteResponseSelectionExpression: "$default" });
    await provisioner.adopt(ApiId);
    expect(await world.record()).toMatchObject({ apiId: ApiId, stage: "prod", replies: "push" });
    const done = words(await provisioner.apply());
    expect(done.slice(-2)).toEqual(["deploy stage prod", "change record in the database"]);
    expect((await world.record())?.replies).toBe("route");
  });

  test("of an API with the secret of another gateway creates a new secret", async () => {
    await world.define({ name: "other" }).apply();
    const secret = secretOf(world.served("production", "other").integrations[0] ?? {});
    const provisioner = world.define({ stage: "prod" });
    const ApiId = await byHand();
    await provisioner.adopt(ApiId);
    const [{ IntegrationId } = {}] = world.aws.apis.GetIntegrations({ ApiId }).Items ?? [];
    const RequestParameters = { "integration.request.header.x-sallyport-secret": `'${secret}'` };
    world.aws.apis.UpdateIntegration({ ApiId, IntegrationId, RequestParameters });
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("of an API that a stack took over can be undone only with release", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [api] = world.aws.apis.all();
    Object.assign(api?.Tags ?? {}, { "aws:cloudformation:stack-id": "arn:aws:cloudformation:x" });
    await expect(provisioner.destroy()).rejects.toThrow(/belongs to a CloudFormation stack/);
    expect(words(await provisioner.release())).toEqual([
      "remove record in the database, with the rows of its connections",
    ]);
  });

  test("is undone completely, including the stage and the domain", async () => {
    const provisioner = world.define({ domain: DOMAIN });
    await provisioner.apply();
    const ApiId = world.apiId();
    await provisioner.release();
    const resources = [
      world.aws.apis.GetApi({ ApiId }),
      world.aws.apis.GetStage({ ApiId, ...PRODUCTION }),
      world.aws.apis.domains.GetDomainName({ DomainName: DOMAIN.name }),
    ];
    expect(resources.map(({ Tags }) => Tags)).toEqual([{}, {}, {}]);
    // It then belongs to another owner, as any other API.
    await provisioner.adopt(ApiId);
    await provisioner.apply();
    expect(words(await provisioner.planDestruction())).not.toContain("remove domain ws.example.com");
  });
});

describe("import with a record in the database", () => {
  test("rejects the import if the gateway has an API, although AWS does not list it yet", async () => {
    world.aws.apis.showsAfterMs = 600_000;
    const provisioner = world.define();
    await provisioner.apply();
    const record = await world.record();
    const { ApiId = "" } = world.aws.apis.CreateApi({
      Name: "other",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
    });
    await expect(provisioner.adopt(ApiId)).rejects.toThrow(`already has the API ${record?.apiId}`);
    expect(await world.record()).toEqual(record);
  });

  test("rejects another API than the registered one, and a record without a stage", async () => {
    const provisioner = world.define();
    const { ApiId = "" } = world.aws.apis.CreateApi({
      Name: "made by hand",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
    });
    const secret = gatewaySecret();
    const endpoint = "https://zzzzzzzzzz.execute-api.eu-west-1.amazonaws.com/production";
    await world.app.registerGateway({ name: "chat", endpoint, secret });
    await expect(provisioner.adopt(ApiId)).rejects.toThrow(
      `${endpoint}, which is the API zzzzzzzzzz. Import that`,
    );
    await world.app.registerGateway({ name: "chat", endpoint: "https://ws.example.com", secret });
    await expect(provisioner.adopt(ApiId)).rejects.toThrow(/register it again with stage: "production"/);
    await world.app.registerGateway({
      name: "chat",
      endpoint: "https://ws.example.com",
      stage: "production",
      secret,
    });
    await provisioner.adopt(ApiId);
    expect(await world.record()).toMatchObject({ apiId: ApiId, endpoint: "https://ws.example.com" });
  });

  test("keeps the push mode of a released gateway until the answers change", async () => {
    const pushing = world.define({ replies: "push" });
    await pushing.apply();
    const apiId = world.apiId();
    await pushing.release();
    const provisioner = world.define();
    await provisioner.adopt(apiId);
    world.aws.fault = async (operation) => {
      if (operation === "CreateDeployment") expect((await world.record())?.replies).toBe("push");
      return undefined;
    };
    await provisioner.apply();
    expect((await world.record())?.replies).toBe("route");
  });
});

describe("functions", () => {
  beforeEach(() => world.aws.functions.add(OWN));

  test("of another account get their permission from its owner, and are neither read nor changed", async () => {
    const theirs = functionOf("999999999999");
    const options = { routes: { theirs: { lambda: theirs }, own: { lambda: OWN } }, account: "123456789012" };
    const provisioner = world.define(options);
    expect(words(await provisioner.apply()).filter((step) => /permission/.test(step))).toEqual([
      `create permission to invoke ${OWN}`,
    ]);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    await provisioner.destroy();
  });

  test("with permissions of other owners for an imported API do not block a run", async () => {
    const provisioner = world.define({ account: "123456789012" });
    await provisioner.apply();
    const ApiId = world.apiId();
    for (const arn of [functionOf("999999999999"), `${OWN}:$LATEST`, functionOf("123456789012", "gone")]) {
      const { IntegrationId } = world.aws.apis.CreateIntegration({
        ApiId,
        IntegrationType: "AWS_PROXY",
        IntegrationMethod: "POST",
        IntegrationUri: `arn:aws:apigateway:${REGION}:lambda:path/2015-03-31/functions/${arn}/invocations`,
      });
      const RouteKey = `to ${arn}`;
      world.aws.apis.CreateRoute({ ApiId, RouteKey, Target: `integrations/${IntegrationId}` });
    }
    expect(words(await provisioner.apply()).filter((step) => step.startsWith("remove"))).toHaveLength(6);
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("keep their permission for a minute after the last deployment that calls them, and while another stage calls them", async () => {
    await world.define({ routes: { own: { lambda: OWN } } }).apply();
    const provisioner = world.define();
    let deployedAt = 0;
    let forbiddenAt = 0;
    world.aws.fault = (operation) => {
      if (operation === "CreateDeployment") deployedAt = world.aws.clock.now;
      if (operation === "RemovePermission") forbiddenAt = world.aws.clock.now;
      return undefined;
    };
    await provisioner.apply();
    expect(forbiddenAt - deployedAt).toBeGreaterThanOrEqual(60_000);
    await world.define({ routes: { own: { lambda: OWN } } }).apply();
    world.aws.apis.CreateStage({ ApiId: world.apiId(), StageName: "another" });
    expect(words(await world.define().apply())).not.toContain(`remove permission to invoke ${OWN}`);
  });
});

test("an interrupted wait is repeated by the next run", async () => {
  await world.define().apply();
  world.aws.clock.advance(60_000);
  const ending = new AbortController();
  const stopped = world.define({ replies: "push" }, { signal: ending.signal });
  let recordedAt = 0;
  const ended = stopped.apply(({ action, what }) => {
    if (what === "record in the database") recordedAt = world.aws.clock.now;
    if (action === "wait") ending.abort();
  });
  await expect(ended).rejects.toThrow(/^The run was interrupted/);
  let deployedAt = 0;
  world.aws.fault = (operation) => {
    if (operation === "CreateDeployment") deployedAt = world.aws.clock.now;
    return undefined;
  };
  await world.define({ replies: "push" }).apply();
  expect(deployedAt - recordedAt).toBeGreaterThanOrEqual(6000);
});

test("more routes than fit beside the existing ones are rejected before anything is created", async () => {
  const routes = (name: string): GatewayOptions["routes"] =>
    Object.fromEntries(Array.from({ length: 160 }, (_, n) => [`${name}${n}`, `${CHAT}/${name}${n}`]));
  await world.define({ routes: routes("a") as never }).apply();
  const provisioner = world.define({ routes: routes("b") as never });
  const { changes } = world.aws;
  await expect(provisioner.apply()).rejects.toThrow(
    "The current and the new routes together are 323, but an API can have at most 300. First apply a definition without some of the new routes.",
  );
  expect(world.aws.changes).toBe(changes);
});

test("a removal stops at what was confirmed, in each round", async () => {
  const provisioner = world.define();
  await provisioner.apply();
  const ApiId = world.apiId();
  const agreed = await provisioner.planDestruction();
  world.aws.fault = (operation) => {
    if (operation !== "DeleteApi") return undefined;
    world.aws.fault = () => undefined;
    world.aws.apis.CreateStage({ ApiId, StageName: "somebody-elses" });
    return { kind: "rejected", status: 500, type: "InternalFailure" };
  };
  await expect(provisioner.destroy(undefined, agreed)).rejects.toThrow(ConfigurationError);
  expect(ids()).toEqual([ApiId]);
});

test("the audit contains operations that were started and not answered", async () => {
  const provisioner = world.define();
  await provisioner.apply();
  world.aws.fault = (operation) => (operation === "DeleteApi" ? { kind: "answer lost" } : undefined);
  await provisioner.destroy();
  const [entry] = await world.app.access.audit.list();
  expect(entry?.details).toEqual({
    gateway: "chat",
    run: "destroy",
    steps: [
      "change note in the database that the API is being removed",
      "remove record in the database, with the rows of its connections",
    ],
    perhaps: ['remove API "chat"'],
  });
});

test("settings of a route are removed before the route, because AWS rejects changes of the stage otherwise", async () => {
  const routes = { moderate: "https://www.example.com/ws/moderation/moderate" };
  await world.define({ routes }).apply();
  const RouteSettings = { moderate: { LoggingLevel: "ERROR" as const } };
  world.aws.apis.UpdateStage({ ApiId: world.apiId(), ...PRODUCTION, RouteSettings });
  const provisioner = world.define({ throttling: { ratePerSecond: 5, burst: 5 } });
  const done = words(await provisioner.apply());
  expect(done[0]).toBe("remove settings of the route moderate on the stage production");
  expect(await provisioner.plan()).toEqual({ steps: [] });
});

test("a domain without DNS records does not become the only address of a gateway that serves", async () => {
  await world.define().apply();
  const alone = world.define({ domain: DOMAIN, disableExecuteApiEndpoint: true });
  await expect(alone.plan()).rejects.toThrow(
    'Gateway "chat" can be reached only through ws.example.com, which does not exist yet. First apply that domain in addition to the current address, and create its DNS record. Then apply this definition.',
  );
  await world.define({ domain: DOMAIN }).apply();
  await world.define({ domain: DOMAIN, disableExecuteApiEndpoint: true }).apply();
  expect(await world.record()).toMatchObject({ endpoint: "https://ws.example.com" });
});

test("a deployment is served for a minute before a removal, although the clock of AWS differs", async () => {
  for (const skewMs of [-120_000, 120_000]) {
    await world.define({ domain: DOMAIN }).apply();
    const provisioner = world.define({ timeoutMs: 10_000 });
    let deployedAt = 0;
    const dies = provisioner.apply(({ what }) => {
      if (what.startsWith("mapping")) throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    deployedAt = world.aws.clock.now;
    // Simulates another time at AWS.
    const { Items = [] } = world.aws.apis.GetDeployments({ ApiId: world.apiId() });
    for (const deployment of Items) deployment.CreatedDate = new Date(deployedAt + skewMs);
    let removedAt = 0;
    world.aws.fault = (operation) => {
      if (operation === "DeleteApiMapping") removedAt = world.aws.clock.now;
      return undefined;
    };
    await provisioner.apply();
    world.aws.fault = () => undefined;
    expect(removedAt - deployedAt).toBeGreaterThanOrEqual(60_000);
    await provisioner.destroy();
  }
});

test("a run that was taken over while it waited removes nothing", async () => {
  await world.define({ domain: DOMAIN }).apply();
  world.aws.fault = (operation) => {
    if (operation === "DeleteApiMapping") throw new Error("it was removed");
    return undefined;
  };
  const { db } = world.storage;
  world.whileWaiting = () => db.updateTable("sallyport_counters").set({ count: 1 }).execute();
  await expect(world.define().apply()).rejects.toThrow(/Another run provisions gateway "chat" now/);
});
