import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { GatewayOptions } from "../../src/aws.ts";
import { INTERNAL } from "../../src/internal.ts";
import { CHAT, ProvisioningWorld, REGION } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const certificate = (number: number) =>
  `arn:aws:acm:${REGION}:123456789012:certificate/0a1b2c3d-0000-4000-8000-00000000000${number}`;
const DOMAIN = { name: "ws.example.com", certificateArn: certificate(1) };
const words = ({ steps }: { steps: readonly { action: string; what: string }[] }) =>
  steps.map(({ action, what }) => `${action} ${what}`);

describe("F45, F75 a custom domain", () => {
  test("B52 is created with its mapping, and status prints the DNS record to create", async () => {
    const provisioner = world.define({ domain: { ...DOMAIN, mappingKey: "chat" } });
    await provisioner.apply();
    expect(await provisioner.status()).toMatchObject({
      url: "wss://ws.example.com/chat",
      endpoint: `https://${world.apiId()}.execute-api.${REGION}.amazonaws.com/production`,
      dns: [
        {
          name: "ws.example.com",
          target: expect.stringMatching(/^d-[a-z0-9]{10}\.execute-api\.eu-west-1\.amazonaws\.com$/),
          hostedZoneId: expect.stringMatching(/^Z/),
          status: "AVAILABLE",
        },
      ],
    });
  });

  test("can change its certificate and mapping key, move, and be removed", async () => {
    const change = async (options: Partial<GatewayOptions>) => {
      const provisioner = world.define(options);
      const done = words(await provisioner.apply());
      expect(await provisioner.plan()).toEqual({ steps: [] });
      return done;
    };
    await change({ domain: DOMAIN });
    expect(await change({ domain: { ...DOMAIN, certificateArn: certificate(2) } })).toEqual([
      "change domain ws.example.com",
    ]);
    const renewed = { ...DOMAIN, certificateArn: certificate(2) };
    expect(await change({ domain: { ...renewed, mappingKey: "v2" } })).toEqual([
      "create mapping of ws.example.com/v2",
      "remove mapping of ws.example.com",
    ]);
    expect(await change({ domain: { ...renewed, name: "sockets.example.com" } })).toEqual([
      "create domain sockets.example.com",
      "create mapping of sockets.example.com",
      "remove mapping of ws.example.com/v2",
      "remove domain ws.example.com",
    ]);
    expect(await change({})).toEqual([
      "remove mapping of sockets.example.com",
      "remove domain sockets.example.com",
    ]);
  });

  test("moves without an outage: both domains work until the old one is removed", async () => {
    const next = { ...DOMAIN, name: "sockets.example.com" };
    const both = { ...DOMAIN, mappingKey: "v1" };
    await world.define({ domain: DOMAIN }).apply();
    const provisioner = world.define({ domain: [next, DOMAIN, both] });
    expect(words(await provisioner.apply())).toEqual([
      "create domain sockets.example.com",
      "create mapping of sockets.example.com",
      "create mapping of ws.example.com/v1",
    ]);
    expect(await provisioner.status()).toMatchObject({
      url: "wss://sockets.example.com",
      dns: [{ name: "sockets.example.com" }, { name: "ws.example.com" }],
      steps: [],
    });
    expect(words(await world.define({ domain: [next, both] }).apply())).toEqual([
      "remove mapping of ws.example.com",
    ]);
    expect(words(await world.define({ domain: next }).apply())).toEqual([
      "remove mapping of ws.example.com/v1",
      "remove domain ws.example.com",
    ]);
    expect(await world.define({ domain: next }).plan()).toEqual({ steps: [] });
    expect(words(await world.define({ domain: next }).planDestruction())).toContain(
      "remove domain sockets.example.com",
    );
  });

  test("stays while another gateway maps it, and is removed with that gateway", async () => {
    await world.define({ domain: DOMAIN }).apply();
    const other = { ...DOMAIN, mappingKey: "other" };
    await world.define({ name: "other", domain: other }).apply();
    expect(words(await world.define({}).apply())).toEqual(["remove mapping of ws.example.com"]);
    expect(words(await world.define({ name: "other" }).apply())).toEqual([
      "remove mapping of ws.example.com/other",
      "remove domain ws.example.com",
    ]);
  });

  test("that is deleted while it is read counts as absent", async () => {
    const { domains } = world.aws.apis;
    domains.CreateDomainName({
      DomainName: "other.example.com",
      DomainNameConfigurations: [{ CertificateArn: certificate(1), EndpointType: "REGIONAL" }],
    });
    const listed = domains.GetDomainNames.bind(domains);
    domains.GetDomainNames = (input) => {
      const answer = listed(input);
      if (answer.Items?.length) domains.DeleteDomainName({ DomainName: "other.example.com" });
      return answer;
    };
    await world.define().apply();
  });

  test("with a certificate that needs attention is reported", async () => {
    const provisioner = world.define({ domain: DOMAIN });
    await provisioner.apply();
    const [configuration] =
      world.aws.apis.domains.GetDomainName({ DomainName: DOMAIN.name }).DomainNameConfigurations ?? [];
    Object.assign(configuration ?? {}, { DomainNameStatus: "PENDING_CERTIFICATE_REIMPORT" });
    expect((await provisioner.status()).dns[0]?.status).toBe("PENDING_CERTIFICATE_REIMPORT");
  });

  test("that leads to another API is not changed", async () => {
    await world.define({ domain: DOMAIN }).apply();
    const other = world.define({ name: "other", domain: DOMAIN });
    await expect(other.plan()).rejects.toThrow(
      /^ws\.example\.com is already mapped to the API [a-z0-9]{10} \(stage production\)/,
    );
    await world.define({ name: "other", domain: { ...DOMAIN, mappingKey: "other" } }).apply();
    expect(world.aws.apis.all()).toHaveLength(2);
  });

  test("can be the only address of the API, also for the Management API", async () => {
    const provisioner = world.define({ domain: DOMAIN, disableExecuteApiEndpoint: true });
    await provisioner.apply();
    expect(world.served().api.DisableExecuteApiEndpoint).toBe(true);
    expect(await world.record()).toMatchObject({ endpoint: "https://ws.example.com", stage: "production" });
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });
});

describe("1e functions", () => {
  const CHAT_FUNCTION = `arn:aws:lambda:${REGION}:123456789012:function:chat:live`;
  const OTHER_FUNCTION = `arn:aws:lambda:${REGION}:123456789012:function:moderation`;
  beforeEach(() => {
    world.aws.functions.add(CHAT_FUNCTION);
    world.aws.functions.add(OTHER_FUNCTION);
  });

  test("are invoked with AWS_PROXY, and only this API is allowed to invoke them", async () => {
    const provisioner = world.define({
      target: { lambda: CHAT_FUNCTION },
      routes: { moderate: { lambda: OTHER_FUNCTION } },
    });
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    const uri = (arn: string) =>
      `arn:aws:apigateway:${REGION}:lambda:path/2015-03-31/functions/${arn}/invocations`;
    expect(
      world
        .served()
        .integrations.map(({ IntegrationType, IntegrationUri }) => [IntegrationType, IntegrationUri]),
    ).toEqual([...Array(3).fill(["AWS_PROXY", uri(CHAT_FUNCTION)]), ["AWS_PROXY", uri(OTHER_FUNCTION)]]);
    const source = (api: string, route: string) =>
      `arn:aws:execute-api:${REGION}:123456789012:${api}/production/${route}`;
    const { functions } = world.aws;
    for (const arn of [CHAT_FUNCTION, OTHER_FUNCTION]) {
      expect(functions.allows(arn, source(world.apiId(), "$connect"))).toBe(true);
      expect(functions.allows(arn, source("zzzzzzzzzz", "$connect"))).toBe(false);
    }
    expect(await world.record()).toMatchObject({ apiId: world.apiId(), secretHashes: [] });
    await provisioner.destroy();
    expect(functions.allows(CHAT_FUNCTION, source("zzzzzzzzzz", "$connect"))).toBe(false);
  });

  test("can be combined with servers, and only requests to servers contain the secret", async () => {
    await world.define({ routes: { moderate: { lambda: OTHER_FUNCTION } } }).apply();
    const parameters = world
      .served()
      .integrations.map(({ RequestParameters }) => Object.keys(RequestParameters ?? {}).length);
    expect(parameters).toEqual([11, 11, 11, 0]);
  });

  test("that do not exist are named in the error", async () => {
    const lambda = `arn:aws:lambda:${REGION}:123456789012:function:nobody`;
    await expect(world.define({ target: { lambda } }).apply()).rejects.toThrow(
      /AddPermission in eu-west-1 was answered 404: ResourceNotFoundException: Function not found: .*nobody/,
    );
  });

  test("lose their permission when they are no longer called", async () => {
    await world.define({ target: { lambda: CHAT_FUNCTION } }).apply();
    const ours = [`sallyport-${world.apiId()}`];
    expect(world.aws.functions.permissions(CHAT_FUNCTION)).toEqual(ours);
    expect(words(await world.define({ target: { lambda: OTHER_FUNCTION } }).apply()).slice(-5)).toEqual([
      "deploy stage production",
      `remove permission to invoke ${CHAT_FUNCTION}`,
      "remove integration",
      "remove integration",
      "remove integration",
    ]);
    expect(world.aws.functions.permissions(CHAT_FUNCTION)).toEqual([]);
    expect(world.aws.functions.permissions(OTHER_FUNCTION)).toEqual(ours);
    await world.define().apply();
    expect(world.aws.functions.permissions(OTHER_FUNCTION)).toEqual([]);
  });

  test("can replace a server, and be replaced by one", async () => {
    await world.define().apply();
    const served = world.servedSecrets();
    world.aws.fault = async () => {
      if (world.servedSecrets().join() === served.join())
        expect((await world.record())?.secretHashes).toEqual(served);
      return undefined;
    };
    await world.define({ target: { lambda: CHAT_FUNCTION } }).apply();
    expect((await world.record())?.secretHashes).toEqual(served);
    world.aws.clock.advance(11 * 60_000);
    await world.define({ target: { lambda: CHAT_FUNCTION } }).apply();
    expect((await world.record())?.secretHashes).toEqual([]);
    world.aws.fault = () => undefined;
    expect(
      world
        .served()
        .integrations.every(({ RequestParameters }) => Object.keys(RequestParameters ?? {}).length === 0),
    ).toBe(true);
    expect(await world.define({ target: { lambda: CHAT_FUNCTION } }).plan()).toEqual({ steps: [] });
    const back = world.define();
    await back.apply();
    expect(await back.plan()).toEqual({ steps: [] });
    expect(world.served().integrations.map(({ IntegrationUri }) => IntegrationUri)).toContain(
      `${CHAT}/connect`,
    );
  });
});

test("a certificate of a domain that others created is not changed", async () => {
  world.aws.apis.domains.CreateDomainName({
    DomainName: "old.example.com",
    DomainNameConfigurations: [{ CertificateArn: certificate(1), EndpointType: "REGIONAL" }],
  });
  const domain = { name: "old.example.com", certificateArn: certificate(2) };
  await expect(world.define({ domain }).plan()).rejects.toThrow(
    /was not created by Sallyport, and has the certificate/,
  );
});

describe("what cannot change while connections are open", () => {
  test("rejects another stage or another region", async () => {
    await world.define({ domain: DOMAIN }).apply();
    await expect(world.define({ domain: DOMAIN, stage: "v2" }).plan()).rejects.toThrow(
      'Gateway "chat" serves the stage production, and its connections cannot be moved to v2. Define another gateway for v2',
    );
    await expect(world.define({ region: "us-east-1" }).plan()).rejects.toThrow(
      /Gateway "chat" is in eu-west-1/,
    );
  });

  test("does not take over an API of the same name in another environment or in a stack", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const apiId = world.apiId();
    await world.app[INTERNAL].provisioning.gateways.remove("chat");
    const another = world.define({ stage: "staging", target: "https://staging.example.com/ws/chat" });
    for (const run of [() => another.plan(), () => another.apply(), () => another.destroy()]) {
      await expect(run()).rejects.toThrow(
        new RegExp(
          `^The API ${apiId} in eu-west-1 has the tag of gateway "chat", but this database contains no API for that name\\..*import "chat" ${apiId}$`,
        ),
      );
    }
    await provisioner.adopt(apiId);
    expect(words(await provisioner.apply())).toEqual([
      "change record in the database",
      "change record in the database",
    ]);
    const [api] = world.aws.apis.all();
    Object.assign(api?.Tags ?? {}, { "aws:cloudformation:stack-id": "arn:aws:cloudformation:x" });
    await expect(provisioner.destroy()).rejects.toThrow(/belongs to a CloudFormation stack/);
  });
});

describe("import", () => {
  /** Creates an API as the Python package does. */
  function madeByOthers(): string {
    const { apis } = world.aws;
    const { ApiId } = apis.CreateApi({
      Name: "chat made by hand",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
      Tags: { owner: "ops" },
    });
    for (const key of ["connect", "disconnect", "default"]) {
      const { IntegrationId } = apis.CreateIntegration({
        ApiId,
        IntegrationType: "HTTP_PROXY",
        IntegrationMethod: "POST",
        IntegrationUri: `https://www.example.com/ws/${key}`,
        RequestParameters: { "integration.request.header.connectionId": "context.connectionId" },
      });
      apis.CreateRoute({
        ApiId,
        RouteKey: `$${key}`,
        Target: `integrations/${IntegrationId}`,
        AuthorizationType: "NONE",
      });
    }
    apis.CreateStage({ ApiId, StageName: "production" });
    apis.CreateDeployment({ ApiId, StageName: "production" });
    return ApiId ?? "";
  }

  test("adopts an existing API, and apply keeps what connections depend on", async () => {
    const apiId = madeByOthers();
    const provisioner = world.define({ tags: { owner: "ops" } });
    expect(words(await provisioner.adopt(apiId))).toEqual([
      "create record in the database",
      `change tags of the API ${apiId} "chat made by hand"`,
    ]);
    expect(words(await provisioner.plan())).toEqual([
      'change API "chat made by hand"',
      "change integration of $connect",
      "change integration of $disconnect",
      "change integration of $default",
      "change route $default",
      "create route response of $default",
      "change tags of the stage production",
      "change record in the database",
      "deploy stage production",
      "change record in the database",
    ]);
    await provisioner.apply();
    expect(world.apiId()).toBe(apiId);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    expect(await provisioner.adopt(apiId)).toEqual({ steps: [] });
  });

  test("of a missing API, another kind of API or another owner's API changes nothing", async () => {
    const apiId = madeByOthers();
    await expect(world.define().adopt("nothere123")).rejects.toThrow(/GetApi in eu-west-1 was answered 404/);
    await world.define({ name: "one" }).adopt(apiId);
    await expect(world.define({ name: "two" }).adopt(apiId)).rejects.toThrow(
      `The API ${apiId} already belongs to the gateway "one".`,
    );
    const second = madeByOthers();
    await expect(world.define({ name: "one" }).adopt(second)).rejects.toThrow(`already has the API ${apiId}`);
    world.aws.apis.TagResource({
      ResourceArn: `arn:aws:apigateway:${REGION}::/apis/${second}`,
      Tags: { "sallyport:gateway": "one" },
    });
    await expect(world.define({ name: "one" }).plan()).rejects.toThrow(/are all tagged as the gateway "one"/);
  });
});

describe("destroy", () => {
  test("B50 removes everything that apply created, and nothing else", async () => {
    await world.define({ name: "other", domain: { ...DOMAIN, name: "other.example.com" } }).apply();
    const provisioner = world.define({ domain: DOMAIN });
    await provisioner.apply();
    const plan = await provisioner.planDestruction();
    expect(await provisioner.destroy()).toEqual(plan);
    expect(words(plan)).toEqual([
      "remove mapping of ws.example.com",
      "remove domain ws.example.com",
      "change note in the database that the API is being removed",
      'remove API "chat"',
      "remove record in the database, with the rows of its connections",
    ]);
    expect(await provisioner.destroy()).toEqual({ steps: [] });
    expect(world.aws.apis.all().map(({ Name }) => Name)).toEqual(["other"]);
    expect(await world.record()).toBeUndefined();
    expect(await world.record("other")).toBeDefined();
  });

  test("keeps a domain that others use or that existed before", async () => {
    world.aws.apis.domains.CreateDomainName({
      DomainName: "old.example.com",
      DomainNameConfigurations: [{ CertificateArn: certificate(1), EndpointType: "REGIONAL" }],
    });
    const domain = { ...DOMAIN, name: "old.example.com" };
    const provisioner = world.define({ domain });
    await provisioner.apply();
    expect(words(await provisioner.planDestruction())).not.toContain("remove domain old.example.com");
    await provisioner.destroy();
    await world.define({ name: "one", domain: DOMAIN }).apply();
    const two = world.define({ name: "two", domain: { ...DOMAIN, mappingKey: "two" } });
    await two.apply();
    expect(words(await two.destroy())).not.toContain("remove domain ws.example.com");
    expect(words(await world.define({ name: "one", domain: DOMAIN }).destroy())).toContain(
      "remove domain ws.example.com",
    );
  });

  test("continues after an interruption at any step", async () => {
    for (let at = 1; at <= 5; at++) {
      const provisioner = world.define({ domain: DOMAIN });
      await provisioner.apply();
      let step = 0;
      const dies = provisioner.destroy(() => {
        if (++step === at) throw new Error("killed");
      });
      await expect(dies).rejects.toThrow("killed");
      await provisioner.destroy();
      expect(world.aws.apis.all()).toEqual([]);
      expect(await world.record()).toBeUndefined();
    }
  });
});

test("F77 environments are independent, and each is found by its own name", async () => {
  const staging = world.define({ name: "chat staging", stage: "staging" });
  await staging.apply();
  await world.define({ name: "chat production" }).apply();
  expect(await world.define({ name: "chat staging", stage: "staging" }).plan()).toEqual({ steps: [] });
  expect(world.apiId("chat staging")).not.toBe(world.apiId("chat production"));
});
