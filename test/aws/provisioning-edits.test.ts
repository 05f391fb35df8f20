import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Plan } from "../../src/aws/provisioning.ts";
import type { GatewayOptions } from "../../src/aws.ts";
import { ProvisioningError } from "../../src/errors.ts";
import { INTERNAL } from "../../src/internal.ts";
import type { Snapshot } from "./control-plane/apis.ts";
import type { Fault } from "./control-plane/server.ts";
import { expectServed } from "./expect-served.ts";
import { CHAT, ProvisioningWorld, REGION, secretOf } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const words = ({ steps }: Plan) => steps.map(({ action, what }) => `${action} ${what}`);
const CERTIFICATE = `arn:aws:acm:${REGION}:123456789012:certificate/0a1b2c3d-0000-4000-8000-000000000000`;
const LOG_GROUP = `arn:aws:logs:${REGION}:123456789012:log-group:chat`;
const LAMBDA = `arn:aws:lambda:${REGION}:123456789012:function:moderation`;
const FORMER = `arn:aws:lambda:${REGION}:123456789012:function:former`;

/** Definitions that differ in every option. */
const BEFORE: Partial<GatewayOptions> = {
  routes: { moderate: "https://www.example.com/ws/moderation/moderate", old: { lambda: FORMER } },
  tags: { team: "chat" },
  throttling: { ratePerSecond: 100, burst: 200 },
  accessLog: { destinationArn: LOG_GROUP },
  domain: { name: "ws.example.com", certificateArn: CERTIFICATE },
  replies: "push",
};
const AFTER: Partial<GatewayOptions> = {
  target: "https://www.example.org/ws/chat",
  routes: { moderate: { lambda: LAMBDA }, next: "https://www.example.org/ws/moderation/next" },
  description: "The chat",
  domain: { name: "sockets.example.com", certificateArn: CERTIFICATE },
};

const OLD = { name: "ws.example.com", certificateArn: CERTIFICATE, mappingKey: "chat" };
const NEXT = { ...OLD, name: "next.example.com" };

/** Returns what a stage serves, without ids. */
function shape({ routes, integrations }: Snapshot): readonly unknown[] {
  return routes.map(({ RouteKey, Target, responses }) => {
    const integration = integrations.find(({ IntegrationId }) => Target === `integrations/${IntegrationId}`);
    return [RouteKey, integration?.IntegrationType, integration?.IntegrationUri, responses.length];
  });
}

describe("an interrupted edit", () => {
  const edits: Record<
    string,
    { from: Partial<GatewayOptions>; to: Partial<GatewayOptions>; recreate?: boolean }
  > = {
    "all options": { from: BEFORE, to: AFTER },
    "all options in reverse": { from: AFTER, to: BEFORE },
    "the only domain to another one": {
      from: { domain: [OLD, NEXT], disableExecuteApiEndpoint: true },
      to: { domain: NEXT, disableExecuteApiEndpoint: true },
      recreate: true,
    },
    "the only domain to none": {
      from: { domain: OLD, disableExecuteApiEndpoint: true },
      to: {},
      recreate: true,
    },
    "an additional domain to the only one": {
      from: { domain: OLD },
      to: { domain: OLD, disableExecuteApiEndpoint: true },
    },
  };
  const faults: Record<string, Fault> = {
    "AWS rejects a call": { kind: "rejected", status: 403, type: "AccessDeniedException" },
    "the answer is lost": { kind: "answer lost" },
  };
  const cases = Object.keys(edits).flatMap((edit) =>
    [...Object.keys(faults), "the process is killed"].map((fault) => [edit, fault] as const),
  );

  test.each(cases)(
    "%s, %s: every call is accepted and answered at each step, and the result matches the definition",
    async (edit, how) => {
      const { from, to, recreate } = edits[edit] as (typeof edits)[string];
      for (const arn of [LAMBDA, FORMER]) world.aws.functions.add(arn);
      for (let at = 1, isLast = false; !isLast; at++) {
        if (recreate) await world.define(from).destroy();
        await world.define(from).apply();
        // Skips the time in which a deployment is not served yet.
        world.aws.clock.advance(60_000);
        const first = world.aws.changes;
        let isHit = false;
        world.aws.fault = async (operation, change) => {
          await expectServed(world, `${at}: before ${operation}`);
          if (change !== first + at || !faults[how]) return undefined;
          isHit = true;
          return faults[how];
        };
        const provisioner = world.define(to);
        let step = 0;
        const kill = ({ action }: { action: string }) => {
          if (faults[how] || action === "wait" || ++step !== at) return;
          isHit = true;
          throw new ProvisioningError("killed");
        };
        const failure = await provisioner.apply(kill).then(
          () => undefined,
          (error: unknown) => error,
        );
        const isExpected = failure === undefined || failure instanceof ProvisioningError;
        if (!isExpected) throw failure;
        expect(failure !== undefined, `step ${at}`).toBe(isHit && /rejects|killed/.test(how));
        await expectServed(world, `${at}: in the end`);
        world.aws.fault = () => undefined;
        await provisioner.apply();
        expect(await provisioner.plan(), `step ${at}`).toEqual({ steps: [] });
        for (const arn of [LAMBDA, FORMER]) {
          const isWanted = Object.values(to.routes ?? {}).some(
            (target) => typeof target === "object" && "lambda" in target && target.lambda === arn,
          );
          expect(world.aws.functions.permissions(arn), `${arn}, step ${at}`).toHaveLength(isWanted ? 1 : 0);
        }
        isLast = !isHit;
        if (isLast) expect(at).toBeGreaterThan(2);
      }
    },
  );

  test("an import and its changes", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const apiId = world.apiId();
    for (const kind of ["lost", "answer lost"] as const) {
      await world.app[INTERNAL].provisioning.gateways.remove("chat");
      const from = world.aws.changes;
      world.aws.fault = (_, change) => (change === from + 1 ? { kind } : undefined);
      await expect(provisioner.adopt(apiId)).rejects.toThrow(/^TagResource in eu-west-1 was not answered/);
      await provisioner.adopt(apiId);
      await provisioner.apply();
      expect(await provisioner.plan()).toEqual({ steps: [] });
    }
  });

  test("a removal of all resources", async () => {
    for (const arn of [LAMBDA, FORMER]) world.aws.functions.add(arn);
    for (const fault of Object.values(faults)) {
      for (let at = 1, isLast = false; !isLast; at++) {
        const provisioner = world.define(BEFORE);
        await provisioner.apply();
        const first = world.aws.changes;
        isLast = true;
        world.aws.fault = (_, change) => {
          if (change !== first + at) return undefined;
          isLast = false;
          return fault;
        };
        await provisioner
          .destroy()
          .catch((error: unknown) => expect(error).toBeInstanceOf(ProvisioningError));
        world.aws.fault = () => undefined;
        await provisioner.destroy();
        expect(world.aws.apis.all()).toEqual([]);
        expect(world.aws.apis.domains.GetDomainNames({}).Items).toEqual([]);
        expect([LAMBDA, FORMER].map((arn) => world.aws.functions.permissions(arn))).toEqual([[], []]);
        expect(await world.record()).toBeUndefined();
      }
    }
  });
});

describe("answers", () => {
  const kinds = ({ steps }: Plan) =>
    words({ steps }).filter((step) => /deploy|record|route response/.test(step));

  test("stay in push mode until the deployment that returns them", async () => {
    await world.define({ replies: "push" }).apply();
    const provisioner = world.define({});
    expect(kinds(await provisioner.apply())).toEqual([
      "create route response of $default",
      "deploy stage production",
      "change record in the database",
    ]);
    expect((await world.record())?.replies).toBe("route");
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("are pushed by every process before the deployment that no longer returns them", async () => {
    await world.define({}).apply();
    let deployedAt = 0;
    let pushedAt = 0;
    const provisioner = world.define({ replies: "push" });
    world.aws.fault = async (operation) => {
      if (operation === "CreateDeployment") deployedAt = world.aws.clock.now;
      return undefined;
    };
    world.aws.clock.advance(60_000);
    const done = await provisioner.apply(({ what }) => {
      if (what === "record in the database") pushedAt = world.aws.clock.now;
    });
    expect(kinds(done)).toEqual([
      "remove route response of $default",
      "change record in the database",
      "deploy stage production",
    ]);
    expect(deployedAt - pushedAt).toBeGreaterThanOrEqual(6000);
    expect((await world.record())?.replies).toBe("push");
  });
});

test("automatic deployment of a stage is disabled before any other change", async () => {
  await world.define({}).apply();
  const ApiId = world.apiId();
  world.aws.apis.run("UpdateStage", { ApiId, StageName: "production", AutoDeploy: true });
  const before = shape(world.served());
  const seen: (readonly unknown[])[] = [];
  world.aws.fault = (operation) => {
    if (operation !== "UpdateStage") seen.push(shape(world.served()));
    return undefined;
  };
  const done = words(await world.define(AFTER_WITHOUT_FUNCTIONS).apply());
  expect(done.indexOf("change stage production")).toBeLessThan(
    done.indexOf("change integration of $connect"),
  );
  expect(seen.length).toBeGreaterThan(5);
  for (const each of seen) expect(each).toEqual(before);
  expect(shape(world.served())).not.toEqual(before);
});

const AFTER_WITHOUT_FUNCTIONS: Partial<GatewayOptions> = {
  target: "https://www.example.org/ws/chat",
  routes: { next: "https://www.example.org/ws/moderation/next" },
};

describe.each(["merge", "replace"] as const)("a control plane that %s maps in updates", (updates) => {
  beforeEach(() => {
    world.aws.apis.mapUpdates = updates;
  });
  /**
   * Returns the entries of an integration's map. Some implementations keep removed entries as empty
   * ones.
   */
  const parameters = (index: number) => {
    const entries = Object.entries(world.served().integrations[index]?.RequestParameters ?? {});
    return Object.fromEntries(entries.filter(([, value]) => value !== ""));
  };

  test("keeps the other headers of an integration when one of them is repaired", async () => {
    const provisioner = world.define({});
    await provisioner.apply();
    const before = [0, 1, 2].map(parameters);
    const [connect] = world.served().integrations;
    const { "integration.request.header.connectionId": _, ...others } = connect?.RequestParameters ?? {};
    const drifted = {
      "integration.request.header.x-sallyport-stage": "'another'",
      "integration.request.header.x-more": "'1'",
    };
    const RequestParameters = {
      ...(updates === "merge" ? { "integration.request.header.connectionId": "" } : others),
      ...drifted,
    };
    world.aws.apis.UpdateIntegration({
      ApiId: world.apiId(),
      IntegrationId: connect?.IntegrationId,
      RequestParameters,
    });
    world.aws.apis.CreateDeployment({ ApiId: world.apiId(), StageName: "production" });
    expect((await provisioner.plan()).steps.map(({ details }) => details)).toEqual([
      [
        "header.connectionId: nothing → context.connectionId",
        "header.x-more: a fixed value → nothing",
        "header.x-sallyport-stage: a fixed value → context.stage",
      ],
      [],
    ]);
    await provisioner.apply();
    expect([0, 1, 2].map(parameters)).toEqual(before);
    await expectServed(world, "after the repair");
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("keeps the settings of other routes and of the stage when limits are repaired", async () => {
    const provisioner = world.define({ throttling: { ratePerSecond: 100, burst: 200 } });
    await provisioner.apply();
    const none = { ThrottlingRateLimit: 0, ThrottlingBurstLimit: 0 };
    world.aws.apis.UpdateStage({
      ApiId: world.apiId(),
      StageName: "production",
      DefaultRouteSettings: { ...none, LoggingLevel: "INFO", DetailedMetricsEnabled: true },
      RouteSettings: {
        $connect: { ...none, LoggingLevel: "INFO" },
        $default: none,
        $disconnect: { LoggingLevel: "ERROR" },
      },
    });
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    const limits = { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 };
    const stage = world.aws.apis.GetStage({ ApiId: world.apiId(), StageName: "production" });
    expect(stage.DefaultRouteSettings).toEqual({
      ...limits,
      LoggingLevel: "INFO",
      DetailedMetricsEnabled: true,
    });
    expect(stage.RouteSettings).toEqual({
      $connect: { ...limits, LoggingLevel: "INFO" },
      $default: limits,
      $disconnect: { LoggingLevel: "ERROR" },
    });
  });

  test("matches the definition after edits, a rotation and the reverse edits", async () => {
    for (const arn of [LAMBDA, FORMER]) world.aws.functions.add(arn);
    for (const options of [BEFORE, AFTER, BEFORE]) {
      await world.define(options).apply();
      world.aws.clock.advance(60_000);
      await expectServed(world, updates);
      expect(await world.define(options).plan()).toEqual({ steps: [] });
    }
    await world.define(BEFORE).rotateSecret();
    await expectServed(world, updates);
    expect(await world.define(BEFORE).plan()).toEqual({ steps: [] });
  });
});

describe("drift", () => {
  const path = "production";

  test("of limits of one route is repaired, and its logging does not change", async () => {
    const provisioner = world.define({ throttling: { ratePerSecond: 100, burst: 200 } });
    await provisioner.apply();
    world.aws.apis.UpdateStage({
      ApiId: world.apiId(),
      StageName: path,
      RouteSettings: {
        $connect: { ThrottlingRateLimit: 0, ThrottlingBurstLimit: 0, LoggingLevel: "INFO" },
        $default: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 },
        $disconnect: { LoggingLevel: "ERROR" },
      },
    });
    const { steps } = await provisioner.plan();
    expect(steps).toEqual([
      {
        action: "change",
        what: "limits of the route $connect on the stage production",
        details: ["ThrottlingRateLimit: 0 → 100", "ThrottlingBurstLimit: 0 → 200"],
      },
    ]);
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    const { RouteSettings } = world.aws.apis.GetStage({ ApiId: world.apiId(), StageName: path });
    expect(RouteSettings).toEqual({
      $connect: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200, LoggingLevel: "INFO" },
      $default: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 },
      $disconnect: { LoggingLevel: "ERROR" },
    });
  });

  test("of an integration with a VPC link or another type is repaired with a new integration", async () => {
    const provisioner = world.define({});
    await provisioner.apply();
    const ApiId = world.apiId();
    const [connect, , fallback] = world.served().integrations.map(({ IntegrationId }) => IntegrationId);
    world.aws.apis.UpdateIntegration({
      ApiId,
      IntegrationId: connect,
      ConnectionType: "VPC_LINK",
      ConnectionId: "vpclink",
    });
    world.aws.apis.UpdateIntegration({ ApiId, IntegrationId: fallback, IntegrationType: "HTTP" });
    world.aws.apis.CreateDeployment({ ApiId, StageName: "production" });
    expect(words(await provisioner.apply())).toEqual([
      "create integration of $connect",
      "change route $connect",
      "create integration of $default",
      "change route $default",
      "remove integration",
      "remove integration",
      "deploy stage production",
    ]);
    expect(await provisioner.plan()).toEqual({ steps: [] });
    for (const { ConnectionId, IntegrationType } of world.served().integrations)
      expect([ConnectionId, IntegrationType]).toEqual([undefined, "HTTP_PROXY"]);
  });

  test("of any part of a function's permission is repaired", async () => {
    world.aws.functions.add(LAMBDA);
    const provisioner = world.define({ target: { lambda: LAMBDA } });
    await provisioner.apply();
    const StatementId = `sallyport-${world.apiId()}`;
    const SourceArn = `arn:aws:execute-api:${REGION}:123456789012:${world.apiId()}/*`;
    const right = { Action: "lambda:InvokeFunction", Principal: "apigateway.amazonaws.com", SourceArn };
    const wrong = [
      { ...right, Action: "lambda:GetFunction" },
      { ...right, Principal: "events.amazonaws.com" },
      { ...right, SourceArn: SourceArn.replace("123456789012", "999999999999") },
    ];
    for (const statement of wrong) {
      world.aws.functions.RemovePermission({ FunctionName: LAMBDA, StatementId });
      world.aws.functions.AddPermission({ FunctionName: LAMBDA, StatementId, ...statement });
      expect(words(await provisioner.apply())).toEqual([`change permission to invoke ${LAMBDA}`]);
      expect(await provisioner.plan()).toEqual({ steps: [] });
    }
  });

  test("F43 the source of API keys can change", async () => {
    await world.define({}).apply();
    const provisioner = world.define({
      apiKeySelectionExpression: "$context.authorizer.usageIdentifierKey",
    });
    expect(words(await provisioner.apply())).toEqual(['change API "chat"', "deploy stage production"]);
  });
});

test("F74 a route to another service has the same secret", async () => {
  const service = "https://billing.example.com/ws/billing/default";
  await world.define({ routes: { billing: { service } } }).apply();
  const { integrations } = world.served();
  expect(integrations.map(({ IntegrationUri }) => IntegrationUri)).toEqual([
    `${CHAT}/connect`,
    `${CHAT}/disconnect`,
    `${CHAT}/default`,
    service,
  ]);
  expect(new Set(integrations.map(secretOf)).size).toBe(1);
});

test("an error that AWS repeats is reported soon, in the words of AWS", async () => {
  await world.define({}).apply();
  const from = world.aws.clock.now;
  for (const [status, type] of [
    [404, "NotFoundException"],
    [409, "ConflictException"],
  ] as const) {
    world.aws.fault = () => ({ kind: "rejected", status, type, message: "no way" });
    await expect(world.define({ description: type }).apply()).rejects.toThrow(
      `UpdateApi in eu-west-1 was answered ${status}: ${type}: no way`,
    );
  }
  expect(world.aws.clock.now - from).toBeLessThan(15_000);
  world.aws.fault = () => ({ kind: "rejected", status: 429, type: "TooManyRequestsException" });
  await expect(world.define({ description: "more" }).apply()).rejects.toThrow(/was answered 429/);
  expect(world.aws.clock.now - from).toBeLessThan(180_000);
});

test("an aborted run stops before its next change, keeps its changes and releases its lease", async () => {
  const ending = new AbortController();
  const provisioner = world.define({}, { signal: ending.signal });
  const ended = provisioner.apply(({ what }) => {
    if (what === "integration of $disconnect") ending.abort();
  });
  await expect(ended).rejects.toThrow(/^The run was interrupted\. .* to continue from there\.$/);
  const [entry] = await world.app.access.audit.list();
  expect(entry?.details).toMatchObject({ run: "apply" });
  expect(JSON.stringify(entry?.details)).toContain("create integration of $disconnect");
  expect(JSON.stringify(entry?.details)).not.toContain("create integration of $default");
  const next = world.define({});
  await next.apply();
  expect(await next.plan()).toEqual({ steps: [] });
});
