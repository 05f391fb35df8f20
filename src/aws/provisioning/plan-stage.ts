import {
  CreateDeploymentCommand,
  CreateStageCommand,
  DeleteAccessLogSettingsCommand,
  DeleteRouteSettingsCommand,
  type Deployment,
  GetDeploymentCommand,
  type Stage,
  UpdateStageCommand,
} from "@aws-sdk/client-apigatewayv2";
import { ProvisioningError } from "../../errors.ts";
import type { ControlPlane } from "./control-plane.ts";
import { type DesiredRoute, deploymentDescription, needsSecret } from "./desired.ts";
import { type Comparison, differences, type Step } from "./plan.ts";
import { planTags } from "./plan-api.ts";

/** Shortest time between two deployments, in milliseconds. Source: AWS developer guide, quotas. */
const DEPLOYMENT_GAP_MS = 5000;

/** How often a deployment is looked at, and how long it may take, in milliseconds. */
const DEPLOYMENT_PAUSE_MS = 2000;
const DEPLOYMENT_PATIENCE_MS = 300_000;

/** What a stage takes where nothing else is wanted: as much as AWS has by default. Updates merge, so that "nothing" has to be said. */
const UNTHROTTLED = { ratePerSecond: 10_000, burst: 5000 };

/** The stage, which takes effect by itself. */
export function planStage({ definition, desired, found }: Comparison): readonly Step[] {
  const { stage: StageName, throttling, accessLog } = definition;
  const there = found?.stages.get(StageName);
  const log = accessLog && logOf(accessLog);
  if (!there) {
    const create: Step = {
      action: "create",
      what: `stage ${StageName}`,
      details: [
        ...(throttling
          ? [`throttling: ${throttling.ratePerSecond} a second, ${throttling.burst} at once`]
          : []),
        ...(log ? [`access log: ${log.DestinationArn}`] : []),
      ],
      run: async ({ plane, apiId }) => {
        await plane.write(
          new CreateStageCommand({
            ApiId: apiId,
            StageName,
            Tags: { ...desired.tags },
            ...(throttling ? { DefaultRouteSettings: limitsOf(throttling) } : {}),
            ...(log ? { AccessLogSettings: log } : {}),
          }),
        );
      },
    };
    return [create];
  }
  const path = `apis/${found?.api.ApiId}/stages/${StageName}`;
  return [
    ...planSettings(there, definition),
    ...planOverrides(there, limitsOf(throttling ?? UNTHROTTLED), desired.routes),
    ...planTags(`stage ${StageName}`, path, there.Tags, desired.tags),
  ];
}

function planSettings(
  there: Stage,
  { stage: StageName, throttling, accessLog }: Comparison["definition"],
): readonly Step[] {
  const steps: Step[] = [];
  const { ThrottlingRateLimit, ThrottlingBurstLimit } = there.DefaultRouteSettings ?? {};
  const isThrottled = ThrottlingRateLimit !== undefined || ThrottlingBurstLimit !== undefined;
  const limits = throttling ?? (isThrottled ? UNTHROTTLED : undefined);
  const throttled = limits
    ? differences(there.DefaultRouteSettings, limitsOf(limits))
    : { details: [], changes: {} };
  const log = accessLog && logOf(accessLog);
  const logged = log ? differences(there.AccessLogSettings, log) : { details: [], changes: {} };
  const details = [
    ...throttled.details.map((detail) => `DefaultRouteSettings.${detail}`),
    ...logged.details.map((detail) => `AccessLogSettings.${detail}`),
  ];
  if (details.length > 0) {
    steps.push({
      action: "change",
      what: `stage ${StageName}`,
      details,
      run: async ({ plane, apiId }) => {
        await plane.write(
          new UpdateStageCommand({
            ApiId: apiId,
            StageName,
            // Both limits or none: AWS reads a missing one as 0, which denies every connect. The rest is for a control plane that
            // replaces the map.
            ...(throttled.details.length > 0 && limits
              ? { DefaultRouteSettings: { ...there.DefaultRouteSettings, ...limitsOf(limits) } }
              : {}),
            ...(logged.details.length > 0 && log ? { AccessLogSettings: log } : {}),
          }),
        );
      },
    });
  }
  if (!log && there.AccessLogSettings) {
    steps.push({
      action: "remove",
      what: `access log of the stage ${StageName}`,
      details: [there.AccessLogSettings.DestinationArn ?? ""],
      run: async ({ plane, apiId }) => {
        await plane.write(new DeleteAccessLogSettingsCommand({ ApiId: apiId, StageName }));
      },
    });
  }
  return steps;
}

/** Settings of routes that are wanted no more: AWS changes no stage that has settings of a route which is gone. */
export function planRouteSettings({ definition: { stage }, desired, found }: Comparison): readonly Step[] {
  const keys = Object.keys(found?.stages.get(stage)?.RouteSettings ?? {});
  const gone = keys.filter((key) => !desired.routes.some((route) => route.key === key));
  return gone.map((RouteKey) => {
    return {
      action: "remove",
      what: `settings of the route ${RouteKey} on the stage ${stage}`,
      details: [],
      run: async ({ plane, apiId }) => {
        await plane.write(new DeleteRouteSettingsCommand({ ApiId: apiId, StageName: stage, RouteKey }));
      },
    };
  });
}

/**
 * Limits of one route hold in place of the stage's: of 0, none of its calls is let through. What else is set for a route stays. Each step
 * sends the settings of all routes, because a control plane other than AWS's may replace the map.
 */
function planOverrides(
  { StageName, RouteSettings = {} }: Stage,
  limits: ReturnType<typeof limitsOf>,
  wanted: readonly DesiredRoute[],
): readonly Step[] {
  const present = Object.entries(RouteSettings).filter(([key]) => wanted.some((route) => route.key === key));
  const repaired = present.map(([key, settings]) => {
    const { ThrottlingRateLimit, ThrottlingBurstLimit } = settings;
    const isLimited = ThrottlingRateLimit !== undefined || ThrottlingBurstLimit !== undefined;
    return {
      key,
      settings: isLimited ? { ...settings, ...limits } : settings,
      details: isLimited ? differences(settings, limits).details : [],
    };
  });
  const all = Object.fromEntries(repaired.map(({ key, settings }) => [key, settings]));
  return repaired
    .filter(({ details }) => details.length > 0)
    .map(({ key, details }) => ({
      action: "change",
      what: `limits of the route ${key} on the stage ${StageName}`,
      details,
      run: async ({ plane, apiId }) => {
        await plane.write(new UpdateStageCommand({ ApiId: apiId, StageName, RouteSettings: all }));
      },
    }));
}

/** Nothing is served by itself from now on: what is half changed must not be. */
export function planNoAutoDeploy({ definition: { stage }, found }: Comparison): readonly Step[] {
  if (found?.stages.get(stage)?.AutoDeploy !== true) return [];
  const step: Step = {
    action: "change",
    what: `stage ${stage}`,
    details: ["AutoDeploy: true → false"],
    run: async ({ plane, apiId }) => {
      await plane.write(new UpdateStageCommand({ ApiId: apiId, StageName: stage, AutoDeploy: false }));
    },
  };
  return [step];
}

/** A deployment, where the stage serves anything else than what is wanted. */
export function planDeployment({ definition, desired, found, accepted }: Comparison): readonly Step[] {
  const description = deploymentDescription(desired.fingerprint, needsSecret(definition) ? accepted : []);
  // What is changed back to what was deployed before is as it was; what was deployed by others says nothing of itself.
  if (found?.deployment?.Description === description && isDeployed(found.deployment)) return [];
  const { stage } = definition;
  const deploy: Step = {
    action: "deploy",
    what: `stage ${stage}`,
    details: [],
    // What is served from now on must be what every process takes.
    after: "known",
    run: async (hand) => {
      const { plane, apiId } = hand;
      const before = found?.deployment?.CreatedDate?.getTime() ?? 0;
      const sinceMs = plane.now() - before;
      if (sinceMs >= 0 && sinceMs < DEPLOYMENT_GAP_MS) await plane.wait(DEPLOYMENT_GAP_MS - sinceMs);
      const made = await plane.write(
        new CreateDeploymentCommand({ ApiId: apiId, StageName: stage, Description: description }),
      );
      await deployed(plane, apiId, made);
      hand.deployed();
    },
  };
  return [deploy];
}

/** Whether a deployment is served. One of which AWS says nothing is. */
function isDeployed({ DeploymentStatus }: Deployment): boolean {
  return DeploymentStatus === undefined || DeploymentStatus === "DEPLOYED";
}

/** Resolves when a deployment is served. @throws ControlPlaneError where it failed, or takes too long */
async function deployed(plane: ControlPlane, ApiId: string, made: Deployment): Promise<void> {
  let deployment = made;
  for (let waitedMs = 0; !isDeployed(deployment); waitedMs += DEPLOYMENT_PAUSE_MS) {
    const { DeploymentId, DeploymentStatus, DeploymentStatusMessage = "" } = deployment;
    if (DeploymentStatus === "FAILED" || waitedMs >= DEPLOYMENT_PATIENCE_MS) {
      throw new ProvisioningError(
        `The deployment ${DeploymentId} is ${DeploymentStatus}: ${DeploymentStatusMessage}. The stage serves what it served before.`,
      );
    }
    await plane.wait(DEPLOYMENT_PAUSE_MS);
    deployment = await plane.read(new GetDeploymentCommand({ ApiId, DeploymentId }));
  }
}

function limitsOf({ ratePerSecond, burst }: { readonly ratePerSecond: number; readonly burst: number }) {
  return { ThrottlingRateLimit: ratePerSecond, ThrottlingBurstLimit: burst };
}

function logOf({ destinationArn, format }: { readonly destinationArn: string; readonly format: string }) {
  return { DestinationArn: destinationArn, Format: format };
}
