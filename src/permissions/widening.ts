import type { Rule } from "./rules.ts";

/**
 * Whether a rule lets in somebody whom another does not.
 *
 * A rule is an AND of any-lists, each all-permission a list of one. Without superusers, whom every rule lets in, the
 * later rule is no wider exactly when each list of the earlier one contains a whole list of the later one.
 */
export function isWider(later: Rule, earlier: Rule): boolean {
  if (earlier.signedIn && !later.signedIn) return true;
  const now = listsOf(later);
  return !listsOf(earlier).every((list) =>
    now.some((narrower) => narrower.every((name) => list.includes(name))),
  );
}

function listsOf(rule: Rule): readonly (readonly string[])[] {
  return [...rule.anyOf, ...rule.allOf.map((permission) => [permission])];
}
