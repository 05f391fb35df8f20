import type { DecisionStep, Rule } from "../index.ts";
import { shownEnd } from "./instants.ts";

/** `any of chat.a, chat.b; and chat.c`. */
export function ruleWords({ signedIn, anyOf, allOf }: Rule, asksData = false): string {
  const parts = [
    ...anyOf.map((list) => counted("any of", list)),
    ...(allOf.length > 0 ? [counted("all of", allOf)] : []),
  ];
  if (parts.length === 0) parts.push(signedIn ? "a signed-in user" : "nothing");
  if (asksData) parts.push("its authorize");
  return parts.join("; and ");
}

/** A question and its answer: what it needs, and where that is held from or what is missing. */
export function stepLines(step: DecisionStep): readonly string[] {
  const mark = step.allowed ? "✔" : "✘";
  if (step.kind === "authorize") return [`${mark} ${step.what} says ${step.allowed ? "yes" : "no"}`];
  return [
    `${mark} ${step.what} needs ${ruleWords(step.rule)}`,
    ...grounds(step).map((line) => `    ${line}`),
  ];
}

type RuleStep = Extract<DecisionStep, { readonly kind: "rule" }>;

function grounds({ rule, subject, held, allowed, missing }: RuleStep): readonly string[] {
  if (subject.userId === null) return allowed ? [] : ["nobody is signed in"];
  if (!subject.isActive) return ["the user is inactive"];
  const named = rule.anyOf.length + rule.allOf.length > 0;
  return [
    ...(subject.isSuperuser && named ? ["passes as a superuser"] : []),
    ...held.map((grant) => `${grant.permission}: ${source(grant.group)}${shownEnd(grant.until)}`),
    ...(missing.length > 0 ? [`missing: ${missing.join(", ")}`] : []),
  ];
}

/** Where a grant comes from. */
export function source(group: string | null): string {
  return group === null ? "direct" : `group "${group}"`;
}

function counted(words: string, list: readonly string[]): string {
  return list.length === 1 ? `${list[0]}` : `${words} ${list.join(", ")}`;
}
