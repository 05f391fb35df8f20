import type { Rule } from "./rules.ts";

/**
 * Returns whether the later rule allows a user that the earlier rule denies.
 *
 * A rule is an AND of lists. The user must have at least one permission of each list. A permission
 * of `allOf` is a list with one entry. Superusers are ignored, because every rule allows them. The
 * later rule is not wider if each list of the earlier rule contains all entries of a list of the
 * later rule.
 */
export function isWider(later: Rule, earlier: Rule): boolean {
  if (earlier.signedIn && !later.signedIn) return true;
  const laterLists = listsOf(later);
  return !listsOf(earlier).every((list) =>
    laterLists.some((narrower) => narrower.every((name) => list.includes(name))),
  );
}

function listsOf(rule: Rule): readonly (readonly string[])[] {
  return [...rule.anyOf, ...rule.allOf.map((permission) => [permission])];
}
