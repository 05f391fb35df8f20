import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { gatewaySecret, hashSecret } from "../../src/auth/gateways.ts";
import type { Provisioner } from "../../src/aws/provisioning.ts";
import { INTERNAL } from "../../src/internal.ts";
import { SECRET_HEADER } from "../../src/protocol/gateway-call.ts";
import type { Fault } from "./control-plane/server.ts";
import { ProvisioningWorld, secretOf } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const PARAMETER = `integration.request.header.${SECRET_HEADER}`;

/** Checks that the app accepts the calls of the stage now. */
async function expectAccepted(where: string): Promise<void> {
  const accepted = (await world.record())?.secretHashes ?? [];
  for (const hash of world.servedSecrets()) expect(accepted, where).toContain(hash);
}

/** Starts a rotation in a new world, and kills the process before one of its steps. */
async function rotationKilledAt(at: number): Promise<Provisioner> {
  await world.close();
  world = await ProvisioningWorld.open();
  const provisioner = world.define();
  await provisioner.apply();
  let step = 0;
  const dies = provisioner.rotateSecret(() => {
    if (++step === at) throw new Error("killed");
  });
  await expect(dies).rejects.toThrow("killed");
  return provisioner;
}

describe("1f a rotation of the secret", () => {
  test("gives AWS a new secret, and the app finally accepts no other one", async () => {
    const provisioner = world.define({
      routes: { moderate: "https://www.example.com/ws/moderation/moderate" },
    });
    await provisioner.apply();
    const [before] = world.servedSecrets();
    const { steps } = await provisioner.rotateSecret();
    expect(steps.map(({ action, what }) => `${action} ${what}`)).toEqual([
      "change integration of $connect",
      "change integration of $disconnect",
      "change integration of $default",
      "change integration of moderate",
      "change record in the database",
      "deploy stage production",
      "remove the former secret from the record in the database",
    ]);
    const after = world.servedSecrets();
    expect(after).toHaveLength(1);
    expect(after).not.toContain(before);
    expect((await world.record())?.secretHashes).toEqual(after);
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("waits until every process has both secrets, and until calls with the former one have ended", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const at: Record<string, number> = {};
    world.aws.fault = (operation) => {
      at[operation] = world.aws.clock.now;
      return undefined;
    };
    await provisioner.rotateSecret(({ action, what }) => {
      at[`${action} ${what}`] = world.aws.clock.now;
    });
    const [accepted = 0, deployed = 0] = [at["change record in the database"], at.CreateDeployment];
    expect(deployed - accepted).toBeGreaterThanOrEqual(6000);
    // The longest timeout of an integration, plus the time until a deployment is served everywhere.
    expect(
      (at["remove the former secret from the record in the database"] ?? 0) - deployed,
    ).toBeGreaterThanOrEqual(60_000);
  });

  const FAULTS: readonly Fault[] = [
    { kind: "lost" },
    { kind: "answer lost" },
    { kind: "rejected", status: 403, type: "AccessDeniedException" },
  ];

  test("can be interrupted at any step: calls are always accepted, and the next run completes it", async () => {
    for (const fault of FAULTS) {
      for (let at = 1; at <= 4; at++) {
        await world.close();
        world = await ProvisioningWorld.open();
        const provisioner = world.define();
        await provisioner.apply();
        const [before] = world.servedSecrets();
        const { changes } = world.aws;
        world.aws.fault = async (operation, change) => {
          await expectAccepted(`before ${operation}`);
          // Permanently, so that it cannot continue.
          return change >= changes + at ? fault : undefined;
        };
        await provisioner.rotateSecret().catch(() => undefined);
        await expectAccepted("after the interruption");
        world.aws.fault = async (operation) => {
          await expectAccepted(`before ${operation}`);
          return undefined;
        };
        await provisioner.apply();
        await expectAccepted("after apply");
        await provisioner.rotateSecret();
        expect(world.servedSecrets()).toHaveLength(1);
        expect(world.servedSecrets()).not.toContain(before);
        expect((await world.record())?.secretHashes).toEqual(world.servedSecrets());
      }
    }
  });

  test("that was interrupted must be completed before another one begins", async () => {
    for (let at = 1; at <= 6; at++) {
      const provisioner = await rotationKilledAt(at);
      world.aws.fault = async (operation) => {
        await expectAccepted(`killed at ${at}, before ${operation}`);
        return undefined;
      };
      const isWhole = (await provisioner.plan()).steps.length === 0;
      const again = provisioner.rotateSecret();
      if (isWhole) await again;
      else {
        await expect(again).rejects.toThrow(/Run gateway apply first/);
        await provisioner.apply();
        await provisioner.rotateSecret();
      }
      await expectAccepted("afterwards");
      expect((await world.record())?.secretHashes).toEqual(world.servedSecrets());
    }
    await expect(world.define({ timeoutMs: 1000 }).rotateSecret()).rejects.toThrow(
      /differs from its definition/,
    );
  });

  test("waits for the deployment, and keeps the former secret if the deployment failed", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [before] = world.servedSecrets();
    world.aws.apis.nextDeployments.push("FAILED");
    await expect(provisioner.rotateSecret()).rejects.toThrow(/^The deployment [a-z0-9]+ is FAILED/);
    expect(world.servedSecrets()).toEqual([before]);
    await expectAccepted("after the failure");
    expect((await provisioner.status()).steps.map(({ what }) => what)).toEqual(["stage production"]);
    world.aws.apis.nextDeployments.push("PENDING");
    await provisioner.apply();
    expect(world.servedSecrets()).not.toEqual([before]);
    await expectAccepted("after the deployment");
  });

  test("can be killed at any step, with the same result", async () => {
    for (let at = 1; at <= 6; at++) {
      const provisioner = await rotationKilledAt(at);
      await expectAccepted(`killed at step ${at}`);
      world.aws.fault = async (operation) => {
        await expectAccepted(`before ${operation}`);
        return undefined;
      };
      await provisioner.apply();
      await expectAccepted("after apply");
      expect(world.servedSecrets()).toHaveLength(1);
      expect(await provisioner.status()).toMatchObject({ steps: [] });
    }
  });

  test("that kept the former secret is completed by apply ten minutes later", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const dies = provisioner.rotateSecret(({ what }) => {
      if (what.startsWith("the former")) throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    expect(await provisioner.status()).toMatchObject({ secrets: 2, steps: [] });
    world.aws.clock.advance(11 * 60_000);
    expect(await provisioner.status()).toMatchObject({
      secrets: 2,
      steps: [{ what: "the former secret from the record in the database" }],
    });
    await provisioner.apply();
    expect(await provisioner.status()).toMatchObject({ secrets: 1, steps: [] });
  });

  test("of a gateway that was never applied, or has no secret, is rejected", async () => {
    await expect(world.define().rotateSecret()).rejects.toThrow(/has not been applied yet/);
    const lambda = "arn:aws:lambda:eu-west-1:123456789012:function:chat";
    world.aws.functions.add(lambda);
    const provisioner = world.define({ target: { lambda } });
    await provisioner.apply();
    await expect(provisioner.rotateSecret()).rejects.toThrow(/has no secret/);
    expect((await world.record())?.secretHashes).toEqual([]);
  });
});

test("T22 a secret is in no error, plan, status or audit entry", async () => {
  const provisioner = world.define();
  await provisioner.apply();
  const secret = secretOf(world.served().integrations[0] ?? {});
  world.aws.fault = (operation) =>
    operation === "UpdateIntegration"
      ? {
          kind: "rejected",
          status: 400,
          type: "BadRequestException",
          message: `Invalid mapping expression specified: '${secret}'`,
        }
      : undefined;
  const failure = await provisioner.rotateSecret().catch((error: unknown) => error);
  expect(String(failure)).toMatch(/BadRequestException: Invalid mapping expression specified: '…'/);
  const output = [
    await provisioner.plan(),
    await provisioner.status(),
    await world.app.access.audit.list(),
    String(failure),
  ];
  expect(JSON.stringify(output)).not.toContain(secret);
  expect(inspect(failure, { depth: 9, showHidden: true })).not.toContain(secret);
});

describe("a secret", () => {
  test("that is not in the database, for example in a new one, is read from AWS on import", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const secrets = world.servedSecrets();
    await world.app[INTERNAL].provisioning.gateways.remove("chat");
    await provisioner.adopt(world.apiId());
    expect((await world.record())?.secretHashes).toEqual([]);
    await provisioner.apply();
    expect((await world.record())?.secretHashes).toEqual(secrets);
  });

  test("that was changed at AWS is replaced, and a deployed one stays accepted", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    for (const { IntegrationId } of world.served().integrations) {
      const RequestParameters = { [PARAMETER]: `'${gatewaySecret()}'` };
      world.aws.apis.UpdateIntegration({ ApiId, IntegrationId, RequestParameters });
    }
    world.aws.fault = async (operation) => {
      await expectAccepted(`before ${operation}`);
      return undefined;
    };
    await provisioner.apply();
    expect(world.servedSecrets()).toHaveLength(1);
    await expectAccepted("afterwards");
  });

  test("that was changed and deployed at AWS stays accepted if the run that replaces it is interrupted", async () => {
    for (const cut of ["killed", "lost"] as const) {
      for (let at = 1; at <= 5; at++) {
        await world.close();
        world = await ProvisioningWorld.open();
        const provisioner = world.define();
        await provisioner.apply();
        const ApiId = world.apiId();
        for (const { IntegrationId } of world.served().integrations)
          world.aws.apis.UpdateIntegration({
            ApiId,
            IntegrationId,
            RequestParameters: { [PARAMETER]: `'${gatewaySecret()}'` },
          });
        const { changes } = world.aws;
        world.aws.fault = async (operation, change) => {
          await expectAccepted(`${cut} at ${at}, before ${operation}`);
          return cut === "lost" && change === changes + at ? { kind: "lost" } : undefined;
        };
        let step = 0;
        await provisioner
          .apply(() => {
            if (cut === "killed" && ++step === at) throw new Error("killed");
          })
          .catch(() => undefined);
        await expectAccepted(`${cut} at ${at}`);
        await provisioner.apply();
        await expectAccepted("afterwards");
        expect(await provisioner.plan()).toEqual({ steps: [] });
      }
    }
  });

  test("that is too weak is replaced", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const ApiId = world.apiId();
    for (const { IntegrationId } of world.served().integrations)
      world.aws.apis.UpdateIntegration({
        ApiId,
        IntegrationId,
        RequestParameters: { [PARAMETER]: "'hunter2'" },
      });
    await world.app[INTERNAL].provisioning.gateways.remove("chat");
    await provisioner.adopt(ApiId);
    await provisioner.apply();
    expect(world.served().integrations.map(secretOf)).not.toContain("hunter2");
    expect((await world.record())?.secretHashes).toEqual(world.servedSecrets());
    expect(hashSecret("hunter2")).not.toBe(world.servedSecrets()[0]);
  });
});
