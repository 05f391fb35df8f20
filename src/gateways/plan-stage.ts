import {
  CreateDeploymentCommand,
  CreateStageCommand,
  DeleteAccessLogSettingsCommand,
  type Stage,
  UpdateStageCommand,
} from "@aws-sdk/client-apigatewayv2";
import { deploymentDescription } from "./desired.ts";
import { type Comparison, differences, type Step } from "./plan.ts";
import { planTags } from "./plan-api.ts";

/** Shortest time between two deployments, in milliseconds. Source: AWS developer guide, quotas. */
const DEPLOYMENT_GAP_MS = 5000;

/** What a stage takes where nothing else is wanted: as much as AWS has by default. Updates merge, so that "nothing" has to be said. */
const UNTHROTTLED = { ratePerSecond: 10_000, burst: 5000 };

/** The stage, which takes effect by itself. */
export function planStage({ definition, desired, found }: Comparison): readonly Step[] {
  const { stage: StageName, throttling, accessLog } = definition;
  const there = found?.stages.get(StageName);
  const log = accessLog && { DestinationArn: accessLog.destinationArn, Format: accessLog.format };
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
  const log = accessLog && { DestinationArn: accessLog.destinationArn, Format: accessLog.format };
  const logged = log ? differences(there.AccessLogSettings, log) : { details: [], changes: {} };
  const auto = differences(there, { AutoDeploy: false });
  const details = [
    ...auto.details,
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
            ...auto.changes,
            // Both or none: a limit that AWS takes for 0 refuses every connect.
            ...(throttled.details.length > 0 && limits ? { DefaultRouteSettings: limitsOf(limits) } : {}),
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

/** A deployment, where the stage serves anything else than what is wanted. */
export function planDeployment({ definition, desired, found }: Comparison): readonly Step[] {
  const description = deploymentDescription(desired.fingerprint);
  // What is changed back to what was deployed before is as it was; what was deployed by others says nothing of itself.
  if (found?.deployment?.Description === description) return [];
  const { stage } = definition;
  const deploy: Step = {
    action: "deploy",
    what: `stage ${stage}`,
    details: [],
    run: async ({ plane, apiId }) => {
      const before = found?.deployment?.CreatedDate?.getTime() ?? 0;
      const sinceMs = plane.now() - before;
      if (sinceMs >= 0 && sinceMs < DEPLOYMENT_GAP_MS) await plane.wait(DEPLOYMENT_GAP_MS - sinceMs);
      await plane.write(
        new CreateDeploymentCommand({ ApiId: apiId, StageName: stage, Description: description }),
      );
    },
  };
  return [deploy];
}

function limitsOf({ ratePerSecond, burst }: { readonly ratePerSecond: number; readonly burst: number }) {
  return { ThrottlingRateLimit: ratePerSecond, ThrottlingBurstLimit: burst };
}
