import { ConfigurationError } from "../errors.ts";
import type { Subject } from "../storage/stores/users.ts";
import type { Permission } from "./define.ts";
import type { RuleDeclaration } from "./rule-options.ts";

/**
 * A compiled rule.
 *
 * The user must have at least one permission of each list of `anyOf`, and all permissions of
 * `allOf`.
 */
export interface Rule {
  readonly signedIn: boolean;
  readonly anyOf: readonly (readonly Permission[])[];
  readonly allOf: readonly Permission[];
}

/** The subject of a request without a user. */
export const ANONYMOUS: Subject = { userId: null, isActive: false, isSuperuser: false, permissions: [] };

/**
 * The result of a rule. `missing` lists the permissions that the user needs: one of a list of
 * `anyOf`, or all missing ones of `allOf`.
 */
export type RuleResult =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly reason: "anonymous" | "inactive" | "permission";
      readonly missing: readonly string[];
    };

const ALLOWED: RuleResult = { allowed: true };

/**
 * Compiles several declarations into one rule. The user must satisfy all of them.
 *
 * @param owner the first words of error messages, such as `ChatView` or `channel "rooms/:slug"`
 * @param declarations options that were validated
 * @param isKnown returns whether the app declares a permission
 * @throws ConfigurationError for a permission that the app does not declare, or a rule that
 *   contradicts itself
 */
export function compileRule(
  owner: string,
  declarations: readonly RuleDeclaration[],
  isKnown: (permission: string) => boolean,
): Rule {
  const anyOf: (readonly Permission[])[] = [];
  const allOf = new Set<Permission>();
  let signedIn = false;
  for (const declaration of declarations) {
    const { permissionsRequired, allPermissionsRequired } = declaration;
    const any = declaredPermissions(owner, "permissionsRequired", permissionsRequired, isKnown);
    const all = declaredPermissions(owner, "allPermissionsRequired", allPermissionsRequired, isKnown);
    // An inherited handler repeats the rule of the parent class.
    if (any && !anyOf.some((list) => isSameList(list, any))) anyOf.push(any);
    for (const permission of all ?? []) allOf.add(permission);
    if (any || all || declaration.signedIn) signedIn = true;
    if (declaration.allowAnonymous && (any || all || declaration.signedIn)) {
      throw new ConfigurationError(
        `${owner} sets both allowAnonymous and ${any || all ? "a permission" : "signedIn"}, which an anonymous user cannot satisfy. ` +
          "Remove one of the two.",
      );
    }
  }
  return Object.freeze({ signedIn, anyOf: Object.freeze(anyOf), allOf: Object.freeze([...allOf]) });
}

const DENIED_ANONYMOUS: RuleResult = { allowed: false, reason: "anonymous", missing: [] };
const DENIED_INACTIVE: RuleResult = { allowed: false, reason: "inactive", missing: [] };

/**
 * Evaluates a rule for a subject. All permission decisions use this function.
 *
 * It allocates nothing if the rule is satisfied, because a send evaluates thousands of recipients.
 */
export function evaluateRule(rule: Rule, subject: Subject): RuleResult {
  if (subject.userId === null) return rule.signedIn ? DENIED_ANONYMOUS : ALLOWED;
  if (!subject.isActive) return DENIED_INACTIVE;
  if (subject.isSuperuser) return ALLOWED;
  const { permissions } = subject;
  for (const list of rule.anyOf) {
    if (!holdsAny(permissions, list)) return { allowed: false, reason: "permission", missing: list };
  }
  for (const permission of rule.allOf) {
    if (!permissions.includes(permission)) {
      const missing = rule.allOf.filter((name) => !permissions.includes(name));
      return { allowed: false, reason: "permission", missing };
    }
  }
  return ALLOWED;
}

function holdsAny(permissions: readonly string[], list: readonly string[]): boolean {
  for (const permission of list) if (permissions.includes(permission)) return true;
  return false;
}

/**
 * Evaluates the same rules for many subjects of one page.
 *
 * Subjects of a page with equal permissions share one list. Each list is evaluated once.
 */
export class PageEvaluator {
  readonly #rules: readonly Rule[];
  readonly #known = new Map<readonly string[], boolean>();

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
  }

  /** Returns whether a subject satisfies all rules. */
  isAllowed(subject: Subject): boolean {
    if (subject.userId === null || !subject.isActive || subject.isSuperuser) {
      return evaluateRules(this.#rules, subject).allowed;
    }
    const known = this.#known.get(subject.permissions);
    if (known !== undefined) return known;
    const { allowed } = evaluateRules(this.#rules, subject);
    this.#known.set(subject.permissions, allowed);
    return allowed;
  }
}

/** Evaluates several rules. The subject must satisfy all of them. */
export function evaluateRules(rules: readonly Rule[], subject: Subject): RuleResult {
  for (const rule of rules) {
    const result = evaluateRule(rule, subject);
    if (!result.allowed) return result;
  }
  return ALLOWED;
}

/**
 * Returns a frozen copy of a list of permissions.
 *
 * @throws ConfigurationError if the app does not declare one of them
 */
function declaredPermissions(
  owner: string,
  field: string,
  list: readonly Permission[] | undefined,
  isKnown: (permission: string) => boolean,
): readonly Permission[] | undefined {
  if (list === undefined) return undefined;
  for (const permission of list) {
    if (isKnown(permission)) continue;
    throw new ConfigurationError(
      `${owner}: ${field} contains ${JSON.stringify(permission)}, which is not among the permissions given to ` +
        "createSallyport({ permissions }). Correct its name, or add its definePermissions() set there.",
    );
  }
  return Object.freeze([...list]);
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, index) => each === other[index]);
}
