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

/** Minimum time between two deployments, in milliseconds. Source: AWS developer guide, quotas. */
const DEPLOYMENT_GAP_MS = 5000;

/** Interval of status checks and time limit of a deployment, in milliseconds. */
const DEPLOYMENT_POLL_MS = 2000;
const DEPLOYMENT_TIMEOUT_MS = 300_000;

/**
 * The limits of a stage without throttling, which are the defaults of AWS. An update merges, so the
 * limits cannot be removed.
 */
const UNTHROTTLED = { ratePerSecond: 10_000, burst: 5000 };

/** Plans the stage. Its settings take effect without a deployment. */
export function planStage({ definition, desired, found }: Comparison): readonly Step[] {
  const { stage: StageName, throttling, accessLog } = definition;
  const existing = found?.stages.get(StageName);
  const log = accessLog && logOf(accessLog);
  if (!existing) {
    const create: Step = {
      action: "create",
      what: `stage ${StageName}`,
      details: [
        ...(throttling
          ? [`throttling: ${throttling.ratePerSecond} per second, burst ${throttling.burst}`]
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
    ...planSettings(existing, definition),
    ...planOverrides(existing, limitsOf(throttling ?? UNTHROTTLED), desired.routes),
    ...planTags(`stage ${StageName}`, path, existing.Tags, desired.tags),
  ];
}

function planSettings(
  existing: Stage,
  { stage: StageName, throttling, accessLog }: Comparison["definition"],
): readonly Step[] {
  const steps: Step[] = [];
  const { ThrottlingRateLimit, ThrottlingBurstLimit } = existing.DefaultRouteSettings ?? {};
  const isThrottled = ThrottlingRateLimit !== undefined || ThrottlingBurstLimit !== undefined;
  const limits = throttling ?? (isThrottled ? UNTHROTTLED : undefined);
  const throttled = limits
    ? differences(existing.DefaultRouteSettings, limitsOf(limits))
    : { details: [], changes: {} };
  const log = accessLog && logOf(accessLog);
  const logged = log ? differences(existing.AccessLogSettings, log) : { details: [], changes: {} };
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
            // AWS reads a missing limit as 0, which rejects every connect. The other settings are
            // for a control plane that replaces the map.
            ...(throttled.details.length > 0 && limits
              ? { DefaultRouteSettings: { ...existing.DefaultRouteSettings, ...limitsOf(limits) } }
              : {}),
            ...(logged.details.length > 0 && log ? { AccessLogSettings: log } : {}),
          }),
        );
      },
    });
  }
  if (!log && existing.AccessLogSettings) {
    steps.push({
      action: "remove",
      what: `access log of the stage ${StageName}`,
      details: [existing.AccessLogSettings.DestinationArn ?? ""],
      run: async ({ plane, apiId }) => {
        await plane.write(new DeleteAccessLogSettingsCommand({ ApiId: apiId, StageName }));
      },
    });
  }
  return steps;
}

/**
 * Plans the removal of route settings for routes that are removed. AWS does not change a stage with
 * settings of a route that does not exist.
 */
export function planRouteSettings({ definition: { stage }, desired, found }: Comparison): readonly Step[] {
  const keys = Object.keys(found?.stages.get(stage)?.RouteSettings ?? {});
  const removed = keys.filter((key) => !desired.routes.some((route) => route.key === key));
  return removed.map((RouteKey) => {
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
 * Plans the limits of single routes, which override those of the stage. Other settings of a route
 * do not change.
 *
 * Each step sends the settings of all routes, because a control plane other than AWS can replace
 * the map.
 */
function planOverrides(
  { StageName, RouteSettings = {} }: Stage,
  limits: ReturnType<typeof limitsOf>,
  desired: readonly DesiredRoute[],
): readonly Step[] {
  const present = Object.entries(RouteSettings).filter(([key]) => desired.some((route) => route.key === key));
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

/** Plans to disable automatic deployment, which would serve an incomplete change. */
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

/** Plans a deployment if the stage serves something other than the definition. */
export function planDeployment({ definition, desired, found, accepted }: Comparison): readonly Step[] {
  const description = deploymentDescription(desired.fingerprint, needsSecret(definition) ? accepted : []);
  // The description identifies a deployment by Sallyport. Any other deployment is replaced.
  if (found?.deployment?.Description === description && isDeployed(found.deployment)) return [];
  const { stage } = definition;
  const deploy: Step = {
    action: "deploy",
    what: `stage ${stage}`,
    details: [],
    // Every process must accept the calls before the deployment makes them.
    after: "known",
    run: async (context) => {
      const { plane, apiId } = context;
      const previousAt = found?.deployment?.CreatedDate?.getTime() ?? 0;
      const sinceMs = plane.now() - previousAt;
      if (sinceMs >= 0 && sinceMs < DEPLOYMENT_GAP_MS) await plane.wait(DEPLOYMENT_GAP_MS - sinceMs);
      const created = await plane.write(
        new CreateDeploymentCommand({ ApiId: apiId, StageName: stage, Description: description }),
      );
      await waitForDeployment(plane, apiId, created);
      context.markDeployed();
    },
  };
  return [deploy];
}

/** Returns whether a deployment is served. AWS can omit the status of a served deployment. */
function isDeployed({ DeploymentStatus }: Deployment): boolean {
  return DeploymentStatus === undefined || DeploymentStatus === "DEPLOYED";
}

/**
 * Waits until a deployment is served.
 *
 * @throws ProvisioningError if the deployment fails, or is not served within five minutes
 */
async function waitForDeployment(plane: ControlPlane, ApiId: string, created: Deployment): Promise<void> {
  let deployment = created;
  for (let waitedMs = 0; !isDeployed(deployment); waitedMs += DEPLOYMENT_POLL_MS) {
    const { DeploymentId, DeploymentStatus, DeploymentStatusMessage = "" } = deployment;
    if (DeploymentStatus === "FAILED" || waitedMs >= DEPLOYMENT_TIMEOUT_MS) {
      throw new ProvisioningError(
        `The deployment ${DeploymentId} is ${DeploymentStatus}: ${DeploymentStatusMessage}. The stage still serves the former deployment. Fix the cause, and run the command again.`,
      );
    }
    await plane.wait(DEPLOYMENT_POLL_MS);
    deployment = await plane.read(new GetDeploymentCommand({ ApiId, DeploymentId }));
  }
}

function limitsOf({ ratePerSecond, burst }: { readonly ratePerSecond: number; readonly burst: number }) {
  return { ThrottlingRateLimit: ratePerSecond, ThrottlingBurstLimit: burst };
}

function logOf({ destinationArn, format }: { readonly destinationArn: string; readonly format: string }) {
  return { DestinationArn: destinationArn, Format: format };
}
