import type { StoredRule } from "../storage/stores/changes.ts";
import type { Rule } from "./rules.ts";

/** A rule that the code declares. */
export interface DeclaredRule extends Pick<StoredRule, "kind" | "name"> {
  readonly rule: Rule & {
    /** Whether an `authorize` function is called in addition. */
    readonly hasAuthorize: boolean;
  };
}

/** Returns the stored form of rules. */
export function storedRules(rules: readonly DeclaredRule[]): readonly StoredRule[] {
  return rules.map(({ kind, name, rule }) => ({ kind, name, rule: JSON.stringify(rule) }));
}

/** Returns rules from their stored form. */
export function parseStoredRules(rules: readonly StoredRule[]): readonly DeclaredRule[] {
  return rules.map(({ kind, name, rule }) => ({
    kind,
    name,
    rule: JSON.parse(rule) as DeclaredRule["rule"],
  }));
}
