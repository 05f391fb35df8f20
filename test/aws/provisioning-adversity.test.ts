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

describe("AWS shows what was made only after a while", () => {
  test("and a run that failed after it made its API goes on with that one", async () => {
    world.aws.apis.showsAfterMs = 600_000;
    let isHit = false;
    world.aws.fault = (operation) => {
      if (operation !== "CreateStage" || isHit) return undefined;
      isHit = true;
      return { kind: "refused", status: 500, type: "InternalFailure" };
    };
    await world.define().apply();
    expect(ids()).toHaveLength(1);
  });

  test("and the next run, after one that ended well or was killed half-way, makes none beside it", async () => {
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

  test("and fails meanwhile: it is asked again", async () => {
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

  test("and goes on showing what is gone: that is not taken for somebody else's", async () => {
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

describe("an API that AWS does not show", () => {
  test("may be another account's: nothing is done, and nothing forgotten, until that is said", async () => {
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

  test("was being removed, where a run was cut off behind that: the next one ends it, or makes another", async () => {
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

  test("was only half made and is being removed: likewise", async () => {
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

  test("is in the region in which it was begun", async () => {
    world.aws.fault = () => ({ kind: "refused", status: 403, type: "AccessDeniedException" });
    await expect(world.define().apply()).rejects.toThrow(/CreateApi in eu-west-1 was answered 403/);
    await expect(world.define({ region: "us-east-1" }).apply()).rejects.toThrow(
      /^Gateway "chat" is in eu-west-1/,
    );
  });
});

test("an API whose making is never answered is made twice at most, and then a run ends", async () => {
  world.aws.apis.showsAfterMs = 3_600_000;
  world.aws.fault = (operation) => (operation === "CreateApi" ? { kind: "answer lost" } : undefined);
  await expect(world.define().apply()).rejects.toThrow(
    /^CreateApi in eu-west-1 was not answered: .* AWS may have created an API that it lists later\. Wait a few minutes first\.$/,
  );
  expect(ids()).toHaveLength(2);
});

describe("what others have at AWS", () => {
  test("two of our APIs in use are told apart by taking away the tags that the error names", async () => {
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

  test("ways to another stage of our API stay, and an address that leads there is not taken", async () => {
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

  test("a domain that another database's gateway of the same name is making stays", async () => {
    await world.define().apply();
    world.aws.apis.domains.CreateDomainName({
      DomainName: DOMAIN.name,
      DomainNameConfigurations: [{ CertificateArn: certificate, EndpointType: "REGIONAL" }],
      Tags: { "sallyport:domain": "of-another-record" },
    });
    expect(await world.define().plan()).toEqual({ steps: [] });
    expect(words(await world.define().planDestruction())).not.toContain("remove domain ws.example.com");
  });

  test("another database's API is taken by import alone, which says so, and is not that database's any more", async () => {
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

  test("a stage's or a key's owner is told by status, and stays", async () => {
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

  test("what a URL or header of others says is not shown: it may be a secret", async () => {
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
  /** Registered by hand, and serving. */
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

  test("keeps sockets at their stage", async () => {
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

  test("keeps how answers come: what somebody has not deployed does not hand them over", async () => {
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

  test("of an API with another gateway's secret gives it one of its own", async () => {
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

  test("of an API that a stack has taken over meanwhile is undone by release alone", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [api] = world.aws.apis.all();
    Object.assign(api?.Tags ?? {}, { "aws:cloudformation:stack-id": "arn:aws:cloudformation:x" });
    await expect(provisioner.destroy()).rejects.toThrow(/belongs to a CloudFormation stack/);
    expect(words(await provisioner.release())).toEqual([
      "remove record in the database, with the rows of its connections",
    ]);
  });

  test("is undone without a trace: of the stage and the domain too", async () => {
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
    // And is another's like any other API.
    await provisioner.adopt(ApiId);
    await provisioner.apply();
    expect(words(await provisioner.planDestruction())).not.toContain("remove domain ws.example.com");
  });
});

describe("import finds", () => {
  test("that the gateway has an API, though no list shows it yet", async () => {
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

  test("that what is registered by hand is another API, or says no stage", async () => {
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

  test("how answers came, of a gateway that was released while it pushed: they are pushed until others come", async () => {
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

  test("of another account are let be called by their owner, and neither looked at nor changed", async () => {
    const theirs = functionOf("999999999999");
    const options = { routes: { theirs: { lambda: theirs }, own: { lambda: OWN } }, account: "123456789012" };
    const provisioner = world.define(options);
    expect(words(await provisioner.apply()).filter((step) => /permission/.test(step))).toEqual([
      `create permission to invoke ${OWN}`,
    ]);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    await provisioner.destroy();
  });

  test("that others have pointed an imported API at stand in nobody's way", async () => {
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

  test("that only a former deployment calls may be for a minute more, and as long as another stage may", async () => {
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

test("a wait that a run was stopped in is waited by the next one", async () => {
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

test("more routes than fit beside the present ones are refused before anything is made", async () => {
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

test("a removal goes no further than was agreed to, in whichever round", async () => {
  const provisioner = world.define();
  await provisioner.apply();
  const ApiId = world.apiId();
  const agreed = await provisioner.planDestruction();
  world.aws.fault = (operation) => {
    if (operation !== "DeleteApi") return undefined;
    world.aws.fault = () => undefined;
    world.aws.apis.CreateStage({ ApiId, StageName: "somebody-elses" });
    return { kind: "refused", status: 500, type: "InternalFailure" };
  };
  await expect(provisioner.destroy(undefined, agreed)).rejects.toThrow(ConfigurationError);
  expect(ids()).toEqual([ApiId]);
});

test("the audit names what was begun and not answered", async () => {
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

test("settings of a route go before the route does: AWS changes no stage that still has them", async () => {
  const routes = { moderate: "https://www.example.com/ws/moderation/moderate" };
  await world.define({ routes }).apply();
  const RouteSettings = { moderate: { LoggingLevel: "ERROR" as const } };
  world.aws.apis.UpdateStage({ ApiId: world.apiId(), ...PRODUCTION, RouteSettings });
  const provisioner = world.define({ throttling: { ratePerSecond: 5, burst: 5 } });
  const done = words(await provisioner.apply());
  expect(done[0]).toBe("remove settings of the route moderate on the stage production");
  expect(await provisioner.plan()).toEqual({ steps: [] });
});

test("a domain that nobody can have in DNS yet does not become the only way to a gateway that serves", async () => {
  await world.define().apply();
  const alone = world.define({ domain: DOMAIN, disableExecuteApiEndpoint: true });
  await expect(alone.plan()).rejects.toThrow(
    'Gateway "chat" can be reached only through ws.example.com, which does not exist yet. First apply that domain in addition to the current address, and create its DNS record. Then apply this definition.',
  );
  await world.define({ domain: DOMAIN }).apply();
  await world.define({ domain: DOMAIN, disableExecuteApiEndpoint: true }).apply();
  expect(await world.record()).toMatchObject({ endpoint: "https://ws.example.com" });
});

test("what is deployed by AWS's clock, and whose clock differs, is served for a minute before anything is taken away", async () => {
  for (const skewMs of [-120_000, 120_000]) {
    await world.define({ domain: DOMAIN }).apply();
    const provisioner = world.define({ timeoutMs: 10_000 });
    let deployedAt = 0;
    const dies = provisioner.apply(({ what }) => {
      if (what.startsWith("mapping")) throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    deployedAt = world.aws.clock.now;
    // As if AWS had written down another time.
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

test("a run that another has taken over from while it waited takes nothing away", async () => {
  await world.define({ domain: DOMAIN }).apply();
  world.aws.fault = (operation) => {
    if (operation === "DeleteApiMapping") throw new Error("it was taken away");
    return undefined;
  };
  const { db } = world.storage;
  world.whileWaiting = () => db.updateTable("sallyport_counters").set({ count: 1 }).execute();
  await expect(world.define().apply()).rejects.toThrow(/Another run provisions gateway "chat" now/);
});
