import { ConfigurationError } from "../errors.ts";
import type { EffectiveGrant } from "../storage/sql/effective-permissions.ts";
import type { Permission } from "./define.ts";
import type { RuleDeclaration } from "./rule-options.ts";

/** Declarations made into one: each list of `anyOf` needs one held, every one of `allOf` must be held. */
export interface Rule {
  readonly signedIn: boolean;
  readonly anyOf: readonly (readonly Permission[])[];
  readonly allOf: readonly Permission[];
}

/** Who is asking, as the database says in the statement that asks. */
export interface Subject {
  /** The app's own id; null for somebody who has not signed in. */
  readonly userId: string | null;
  readonly isActive: boolean;
  readonly isSuperuser: boolean;
  /** Direct grants and those of the user's groups that hold now. */
  readonly permissions: readonly string[];
  /** Where each of them comes from, by the same statement. */
  readonly grants?: readonly EffectiveGrant[];
}

export const ANONYMOUS: Subject = { userId: null, isActive: false, isSuperuser: false, permissions: [] };

/** `missing` names what would have let the subject in: one of an any-list, or each absent one of an all-list. */
export type RuleResult =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly reason: "anonymous" | "inactive" | "permission";
      readonly missing: readonly string[];
    };

const ALLOWED: RuleResult = { allowed: true };

/**
 * Compiles several declarations into one rule. All of them must hold.
 *
 * @param owner begins the error's sentence, such as `ChatView` or `channel "rooms/:slug"`
 * @param declarations options that a schema has accepted
 * @throws ConfigurationError for a permission that the app does not declare, or a rule that contradicts itself
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
    // A handler that a class inherits states the rule of its parent once more.
    if (any && !anyOf.some((list) => isSameList(list, any))) anyOf.push(any);
    for (const permission of all ?? []) allOf.add(permission);
    if (any || all || declaration.signedIn) signedIn = true;
    if (declaration.allowAnonymous && (any || all || declaration.signedIn)) {
      throw new ConfigurationError(
        `${owner} sets both allowAnonymous and ${any || all ? "a permission" : "signedIn"}, which no anonymous user passes. ` +
          "Remove one of the two.",
      );
    }
  }
  return Object.freeze({ signedIn, anyOf: Object.freeze(anyOf), allOf: Object.freeze([...allOf]) });
}

const NOBODY: RuleResult = { allowed: false, reason: "anonymous", missing: [] };
const INACTIVE: RuleResult = { allowed: false, reason: "inactive", missing: [] };

/** The one place where a yes or no by permission is made. A yes allocates nothing: there are ten thousand in a send. */
export function evaluateRule(rule: Rule, subject: Subject): RuleResult {
  if (subject.userId === null) return rule.signedIn ? NOBODY : ALLOWED;
  if (!subject.isActive) return INACTIVE;
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
 * Judges many subjects by the same rules, all of which must hold; each list of permissions once, however many have it.
 * Made for one page: whoever was read together with the same rights shares one list.
 */
export class PageEvaluator {
  readonly #rules: readonly Rule[];
  readonly #known = new Map<readonly string[], boolean>();

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
  }

  allows(subject: Subject): boolean {
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

/** Judges several rules, all of which must hold. */
export function evaluateRules(rules: readonly Rule[], subject: Subject): RuleResult {
  for (const rule of rules) {
    const verdict = evaluateRule(rule, subject);
    if (!verdict.allowed) return verdict;
  }
  return ALLOWED;
}

/** The list, whose form was checked where the options were parsed, without permissions that the app does not declare. */
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
        "createSallyport({ permissions }). Add its definePermissions() set there.",
    );
  }
  return Object.freeze([...list]);
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, index) => each === other[index]);
}
