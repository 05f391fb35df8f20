import type { DecisionStep, Rule, RuleChange } from "../index.ts";
import { formatEnd } from "./instants.ts";

/**
 * Describes a rule, such as `any of chat.a, chat.b; and chat.c`.
 *
 * @param hasAuthorize whether an `authorize` method also decides. Default false
 */
export function describeRule({ signedIn, anyOf, allOf }: Rule, hasAuthorize = false): string {
  const parts = [
    ...anyOf.map((list) => formatList("any of", list)),
    ...(allOf.length > 0 ? [formatList("all of", allOf)] : []),
  ];
  if (parts.length === 0) parts.push(signedIn ? "a signed-in user" : "nothing");
  if (hasAuthorize) parts.push("its authorize");
  return parts.join("; and ");
}

/** A changed rule in its short form, as `migrate` returns it. */
export type RuleSummary = Pick<RuleChange, "kind" | "name" | "change" | "widens">;

/** Describes a changed rule in one line. A new rule has no mark, because it changes no stored rule. */
export function describeRuleChange({ kind, name, change, widens }: RuleSummary): string {
  if (change === "added") return `${kind} ${name}: new`;
  return `${widens ? "WIDENS  " : ""}${kind} ${name}: ${change}`;
}

/** Describes a changed rule, with its previous and its new form. */
export function ruleChangeLines(
  change: RuleSummary & Partial<Pick<RuleChange, "before" | "after">>,
): readonly string[] {
  const { before, after } = change;
  const [was, is] = before && after ? ["before", "after "] : ["rule  ", "rule  "];
  return [
    describeRuleChange(change),
    ...(before ? [`  ${was}  ${describeRule(before, before.hasAuthorize)}`] : []),
    ...(after ? [`  ${is}  ${describeRule(after, after.hasAuthorize)}`] : []),
  ];
}

/** Describes a check: the rule, its result, and the grants that it found or that are missing. */
export function stepLines(step: DecisionStep): readonly string[] {
  const mark = step.allowed ? "✔" : "✘";
  if (step.kind === "authorize") return [`${mark} ${step.what} ${step.allowed ? "allows" : "denies"} access`];
  return [
    `${mark} ${step.what} needs ${describeRule(step.rule)}`,
    ...grounds(step).map((line) => `    ${line}`),
  ];
}

type RuleStep = Extract<DecisionStep, { readonly kind: "rule" }>;

function grounds({ rule, subject, held, allowed, missing }: RuleStep): readonly string[] {
  if (subject.userId === null) return allowed ? [] : ["no user is signed in"];
  if (!subject.isActive) return ["the user is inactive"];
  const hasPermissions = rule.anyOf.length + rule.allOf.length > 0;
  return [
    ...(subject.isSuperuser && hasPermissions ? ["passes as a superuser"] : []),
    ...held.map((grant) => `${grant.permission}: ${source(grant.group)}${formatEnd(grant.until)}`),
    ...(missing.length > 0 ? [`missing: ${missing.join(", ")}`] : []),
  ];
}

/** Returns the source of a grant. */
export function source(group: string | null): string {
  return group === null ? "direct" : `group "${group}"`;
}

function formatList(prefix: string, list: readonly string[]): string {
  return list.length === 1 ? `${list[0]}` : `${prefix} ${list.join(", ")}`;
}
