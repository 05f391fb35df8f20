import type { Rule, RuleResult } from "../permissions/rules.ts";

/** Returns why an `authorize` function denied access, and what to do. */
export function authorizeMessage(what: string): string {
  return `${what} did not return true. Return true if the user is allowed.`;
}

/**
 * Returns why a rule denied access, and what to do.
 *
 * @param what the owner of the rule, such as `ChatView.delete_message`
 */
export function ruleMessage(
  { reason, missing }: Omit<Exclude<RuleResult, { allowed: true }>, "allowed">,
  what: string,
  rule: Pick<Rule, "allOf">,
): string {
  if (reason === "anonymous") return `${what} needs a signed-in user. Sign in first.`;
  if (reason === "inactive") {
    return `The user is inactive, and ${what} is for active users. Activate the user to allow it.`;
  }
  if (missing.length === 1) return `${what} needs ${missing[0]}. Grant it to allow this.`;
  // A rule can require one permission of a list, and all permissions of another list.
  const needsAll = missing.every((name) => rule.allOf.some((required) => required === name));
  return needsAll
    ? `${what} needs ${missing.join(" and ")}. Grant all of them to allow this.`
    : `${what} needs ${missing.join(" or ")}. Grant one of them to allow this.`;
}
