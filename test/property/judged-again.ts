import { type Decision, type DecisionStep, reevaluate } from "../../src/audit/decision.ts";
import { same } from "./disagreement.ts";
import * as oracle from "./oracle.ts";

/** Reasons that a rule or hook gives: the step that said no is the last of the trace. */
const BY_STEP = new Set<string | undefined>(["anonymous", "inactive", "permission", "authorize"]);

/**
 * A kept decision holds by nothing but what it tells: each step gives the same answer again, and the first no is
 * the verdict.
 *
 * @param now the facts, where they are still those of the decision: then the oracle must give the same answers
 */
export function judgeAgain({ steps, verdict, reason, handler }: Decision, now?: oracle.Facts): void {
  for (const step of steps) judgeStepAgain(step, now);
  const no = steps.findIndex(({ allowed }) => !allowed);
  if (verdict === "allowed") {
    same("an allowed decision's first no", no, -1);
    return;
  }
  // `user.require()` inside a handler says no without having been asked by the gate.
  const isOwnDemand = handler === "demand" && no === -1;
  same("a refusal's first no", no, BY_STEP.has(reason) && !isOwnDemand ? steps.length - 1 : -1);
}

export function judgeStepAgain(step: DecisionStep, now?: oracle.Facts): void {
  same(`recomputed: ${step.what}`, reevaluate(step), step.allowed);
  if (step.kind !== "rule" || !now) return;
  const { rule, subject } = step;
  const { signedIn } = rule;
  const passes = (lists: oracle.Rule) => oracle.passes(now, subject.userId, lists);
  const isOpen = !signedIn && passes({});
  const holds =
    signedIn && rule.anyOf.every((any) => passes({ any })) && passes({ all: rule.allOf, signedIn });
  same(`by the oracle: ${step.what}`, step.allowed, signedIn ? holds : isOpen);
}
