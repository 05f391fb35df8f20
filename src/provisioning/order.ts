import type { Comparison, Step } from "./plan.ts";
import { planApi } from "./plan-api.ts";
import { planDomains, planFormerDomains } from "./plan-domain.ts";
import { planForbidden, planFunctions } from "./plan-functions.ts";
import { planAcceptance, planForgetting, planRecord, planRecordAfterwards } from "./plan-record.ts";
import { planRoutes } from "./plan-routes.ts";
import { planDeployment, planNoAutoDeploy, planStage } from "./plan-stage.ts";

/**
 * What is to be done, in the order in which a run may be cut off anywhere: what is called comes before what calls it, our record before the
 * deployment, and after it goes what only the former one needed.
 */
export function wanted(comparison: Comparison): readonly Step[] {
  return [
    ...planApi(comparison),
    ...planNoAutoDeploy(comparison),
    ...planRoutes(comparison),
    ...planFunctions(comparison),
    ...planStage(comparison),
    ...planDomains(comparison),
    ...planRecord(comparison),
    ...planAcceptance(comparison),
    ...planDeployment(comparison),
    ...[planRecordAfterwards, planForbidden, planFormerDomains]
      .flatMap((plan) => plan(comparison))
      .map(whenSettled),
  ];
}

/** A step that waits until everybody has what was made before it. */
function whenSettled(step: Step): Step {
  return {
    ...step,
    run: async (hand) => {
      await hand.settled();
      await step.run(hand);
    },
  };
}

/** The same, and what is to be forgotten once everything is so. */
export function planned(comparison: Comparison): readonly Step[] {
  const steps = wanted(comparison);
  return steps.length === 0 ? planForgetting(comparison) : steps;
}
