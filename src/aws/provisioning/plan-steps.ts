import type { Comparison, Step } from "./plan.ts";
import { planApi } from "./plan-api.ts";
import { planDomains, planFormerDomains } from "./plan-domain.ts";
import { planFunctions } from "./plan-functions.ts";
import { planForgetting, planRecord, planRecordAfterwards } from "./plan-record.ts";
import { planFormerFunctions, planRoutes } from "./plan-routes.ts";
import { planDeployment, planNoAutoDeploy, planRouteSettings, planStage } from "./plan-stage.ts";

/**
 * What is to be done, in the order in which a run may be cut off anywhere: what is called comes before what calls it, our record before the
 * deployment, and after it goes what only the former one needed.
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

/** The same, and what is to be forgotten where nothing of it says what is accepted, or is deployed. */
export function planned(comparison: Comparison): readonly Step[] {
  const isAccepting = [planRecord, planDeployment, planRecordAfterwards].some(
    (plan) => plan(comparison).length > 0,
  );
  return [...planSteps(comparison), ...(isAccepting ? [] : planForgetting(comparison))];
}
