import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Plan } from "../../src/aws/provisioning.ts";
import { gatewaySecret } from "../../src/aws.ts";
import { INTERNAL } from "../../src/internal.ts";
import { ProvisioningWorld, REGION } from "./provisioning-world.ts";

let world: ProvisioningWorld;
beforeEach(async () => {
  world = await ProvisioningWorld.open();
});
afterEach(() => world.close());

const words = ({ steps }: Plan) => steps.map(({ action, what }) => `${action} ${what}`);
const ids = () => world.aws.apis.all().map(({ ApiId }) => ApiId);

/** Makes AWS create an API without an answer. */
function loseTheAnswer(): void {
  let isLost = false;
  world.aws.fault = (operation) => {
    if (operation !== "CreateApi" || isLost) return undefined;
    isLost = true;
    return { kind: "answer lost" };
  };
}

describe("an API whose creation was not answered", () => {
  test("is found when AWS lists it late, and no second one is created", async () => {
    loseTheAnswer();
    world.aws.apis.showsAfterMs = 25_000;
    await world.define().apply();
    expect(ids()).toHaveLength(1);
    expect(await world.define().plan()).toEqual({ steps: [] });
  });

  test("is removed if it is empty and another one is in use, by the next run or by destroy", async () => {
    for (const end of ["apply", "destroy"] as const) {
      loseTheAnswer();
      world.aws.apis.showsAfterMs = 120_000;
      const provisioner = world.define();
      await provisioner.apply();
      const [duplicate, used] = ids();
      expect(used).toBe((await world.record())?.apiId);
      world.aws.clock.advance(120_000);
      world.aws.fault = () => undefined;
      expect(words(await provisioner.plan())).toEqual([`remove API ${duplicate}`]);
      await provisioner[end]();
      expect(ids()).toEqual(end === "apply" ? [used] : []);
      await provisioner.destroy();
    }
  });

  test("is removed if a killed run only began it and another one serves", async () => {
    loseTheAnswer();
    world.aws.apis.showsAfterMs = 120_000;
    const provisioner = world.define();
    const dies = provisioner.apply(({ what }) => {
      if (what === "integration of $disconnect") throw new Error("killed");
    });
    await expect(dies).rejects.toThrow("killed");
    world.aws.clock.advance(120_000);
    const [duplicate, begun] = ids();
    expect((await world.record())?.apiId).toBe(begun);
    expect(words(await provisioner.apply())[0]).toBe(`remove API ${duplicate}`);
    expect(ids()).toEqual([begun]);
    expect(await provisioner.plan()).toEqual({ steps: [] });
  });

  test("is not removed if it has resources, and the run fails until the user decides", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const second = world.aws.apis.CreateApi({
      Name: "chat",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
      Tags: { "sallyport:gateway": "chat", "sallyport:record": (await world.record())?.id ?? "" },
    }).ApiId;
    world.aws.apis.CreateStage({ ApiId: second, StageName: "production" });
    await expect(provisioner.plan()).rejects.toThrow(
      /are all tagged as the gateway "chat", but only one can be its API\. Remove the tag/,
    );
    await expect(provisioner.destroy()).rejects.toThrow(/are all tagged as the gateway "chat"/);
  });
});

describe("the owner of an API", () => {
  test("is in its tag: an API of another database with the same name is not changed", async () => {
    const theirs = world.aws.apis.CreateApi({
      Name: "chat",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
      Tags: { "sallyport:gateway": "chat", "sallyport:record": "of-another-database" },
    }).ApiId;
    const provisioner = world.define();
    await expect(provisioner.apply()).rejects.toThrow(`import "chat" ${theirs}`);
    // It started before the other API existed.
    await world.app[INTERNAL].provisioning.gateways.register({
      name: "chat",
      stage: "production",
      endpoint: "https://eu-west-1.being-made.invalid",
    });
    await expect(provisioner.apply()).rejects.toThrow(`import "chat" ${theirs}`);
    expect(ids()).toEqual([theirs]);
  });

  test("is in the record of the database if the tags were removed", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const apiId = world.apiId();
    world.aws.apis.UntagResource({
      ResourceArn: `arn:aws:apigateway:${REGION}::/apis/${apiId}`,
      TagKeys: ["sallyport:gateway", "sallyport:record"],
    });
    expect(words(await provisioner.apply())).toEqual(["change tags of the API"]);
    expect(ids()).toEqual([apiId]);
  });

  test("must be set for a gateway that was registered manually, and its connections stay", async () => {
    const { apis } = world.aws;
    const { ApiId = "" } = apis.CreateApi({
      Name: "made by hand",
      ProtocolType: "WEBSOCKET",
      RouteSelectionExpression: "$request.body.action",
    });
    const endpoint = `https://${ApiId}.execute-api.${REGION}.amazonaws.com/production`;
    const byHand = { name: "chat", endpoint, secret: gatewaySecret() };
    const provisioner = world.define();
    await world.app.registerGateway(byHand);
    await expect(provisioner.apply()).rejects.toThrow(
      `Gateway "chat" was registered with ${endpoint}, but no API at AWS has the tags of that record. Run: npx sallyport gateway import "chat"`,
    );
    expect(await world.record()).toMatchObject({ endpoint });
    await provisioner.adopt(ApiId);
    await provisioner.apply();
    expect(ids()).toEqual([ApiId]);
  });

  test("is unset by release, and the API keeps serving", async () => {
    const provisioner = world.define({ tags: { team: "chat" } });
    await provisioner.apply();
    const apiId = world.apiId();
    const served = world.served();
    const agreed = await provisioner.planRelease();
    expect(words(agreed)).toEqual([
      "change tags of the API",
      "change tags of the stage production",
      "remove record in the database, with the rows of its connections",
    ]);
    world.aws.fault = () => ({ kind: "lost" });
    await expect(provisioner.release()).rejects.toThrow(/^UntagResource in eu-west-1 was not answered/);
    world.aws.fault = () => undefined;
    await provisioner.release(undefined, agreed);
    expect(world.aws.apis.all()[0]?.Tags).toEqual({ team: "chat" });
    expect(world.aws.apis.served(apiId, "production")).toEqual(served);
    expect(await world.record()).toBeUndefined();
    expect(await provisioner.release()).toEqual({ steps: [] });
    await provisioner.adopt(apiId);
    await provisioner.apply();
    expect(ids()).toEqual([apiId]);
  });

  test("must not change between the confirmation and the removal or release", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const [destruction, release] = [await provisioner.planDestruction(), await provisioner.planRelease()];
    world.aws.apis.CreateStage({ ApiId: world.apiId(), StageName: "another" });
    await expect(provisioner.destroy(undefined, destruction)).rejects.toThrow(
      'Gateway "chat" changed after the confirmation: remove API "chat" was not confirmed, and was not done. Run the command again, and check the new steps.',
    );
    world.aws.apis.UntagResource({
      ResourceArn: `arn:aws:apigateway:${REGION}::/apis/${world.apiId()}`,
      TagKeys: ["sallyport:record"],
    });
    await expect(provisioner.release(undefined, release)).rejects.toThrow(/changed after the confirmation/);
    expect(ids()).toHaveLength(1);
    await provisioner.destroy(undefined, await provisioner.planDestruction());
    expect(ids()).toEqual([]);
  });

  test("is set by an import that was interrupted at any step", async () => {
    const provisioner = world.define();
    await provisioner.apply();
    const apiId = world.apiId();
    await world.app[INTERNAL].provisioning.gateways.remove("chat");
    for (let at = 1; at <= 2; at++) {
      let step = 0;
      const dies = provisioner.adopt(apiId, () => {
        if (++step === at) throw new Error("killed");
      });
      await expect(dies).rejects.toThrow("killed");
    }
    await provisioner.adopt(apiId);
    expect(await provisioner.adopt(apiId)).toEqual({ steps: [] });
    await provisioner.apply();
    expect(await provisioner.plan()).toEqual({ steps: [] });
    expect(ids()).toEqual([apiId]);
  });
});
