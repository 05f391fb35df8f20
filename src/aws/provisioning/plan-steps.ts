import type { Comparison, Step } from "./plan.ts";
import { planApi } from "./plan-api.ts";
import { planDomains, planFormerDomains } from "./plan-domain.ts";
import { planFunctions } from "./plan-functions.ts";
import { planRecord, planRecordAfterwards, planSecretRemoval } from "./plan-record.ts";
import { planFormerFunctions, planRoutes } from "./plan-routes.ts";
import { planDeployment, planNoAutoDeploy, planRouteSettings, planStage } from "./plan-stage.ts";

/**
 * Returns the steps that make AWS and the database match the definition.
 *
 * Their order allows an interruption at any point. A resource is created before the resources that
 * call it. The record is written before the deployment. Resources of the former deployment are
 * removed after it.
 */
export function planSteps(comparison: Comparison): readonly Step[] {
  return [
    ...planApi(comparison),
    ...planNoAutoDeploy(comparison),
    ...planRouteSettings(comparison),
    ...planRoutes(comparison),
    ...planFunctions(comparison),
    ...planStage(comparison),
    ...planDomains(comparison),
    ...planRecord(comparison),
    ...planDeployment(comparison),
    ...[planRecordAfterwards, planFormerFunctions, planFormerDomains]
      .flatMap((plan) => plan(comparison))
      .map((step): Step => ({ ...step, after: "settled" })),
  ];
}

/**
 * Returns the same steps, and the removal of the former secret if no step changes the record or the
 * deployment.
 */
export function planApply(comparison: Comparison): readonly Step[] {
  const changesRecord = [planRecord, planDeployment, planRecordAfterwards].some(
    (plan) => plan(comparison).length > 0,
  );
  return [...planSteps(comparison), ...(changesRecord ? [] : planSecretRemoval(comparison))];
}
