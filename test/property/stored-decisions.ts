import { type Decision, type DecisionStep, reevaluate } from "../../src/audit/decision.ts";
import { expectSame } from "./mismatch.ts";
import * as model from "./model.ts";

/**
 * Reasons that come from a rule or a hook. The last step of such a decision is the one that denied.
 */
const BY_STEP = new Set<string | undefined>(["anonymous", "inactive", "permission", "authorize"]);

/**
 * Checks that a stored decision is consistent: each step gives the same answer again, and the first
 * denial matches the verdict.
 *
 * @param now the state of the model, if it has not changed since the decision. Each step is then
 * also compared with the model.
 */
export function checkDecision({ steps, verdict, reason, handler }: Decision, now?: model.ModelState): void {
  for (const step of steps) checkStep(step, now);
  const firstDenial = steps.findIndex(({ allowed }) => !allowed);
  if (verdict === "allowed") {
    expectSame("the first denial of an allowed decision", firstDenial, -1);
    return;
  }
  // `user.require()` in a handler denies without a step of the authorization pipeline.
  const isOwnDemand = handler === "demand" && firstDenial === -1;
  expectSame(
    "the first denial of a denied decision",
    firstDenial,
    BY_STEP.has(reason) && !isOwnDemand ? steps.length - 1 : -1,
  );
}

export function checkStep(step: DecisionStep, now?: model.ModelState): void {
  expectSame(`recomputed: ${step.what}`, reevaluate(step), step.allowed);
  if (step.kind !== "rule" || !now) return;
  const { rule, subject } = step;
  const { signedIn } = rule;
  const passes = (lists: model.Rule) => model.passes(now, subject.userId, lists);
  const isOpen = !signedIn && passes({});
  const holds =
    signedIn && rule.anyOf.every((any) => passes({ any })) && passes({ all: rule.allOf, signedIn });
  expectSame(`according to the model: ${step.what}`, step.allowed, signedIn ? holds : isOpen);
}
