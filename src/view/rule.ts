import type { Permission } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";
import { nearest } from "../nearest.ts";

/** What a view, a handler or a channel may say of who gets in. Whatever is said must hold: all of it. */
export interface RuleDeclaration {
  /** ANY of these. */
  readonly permissionsRequired?: readonly Permission[] | undefined;
  /** ALL of these. */
  readonly allPermissionsRequired?: readonly Permission[] | undefined;
  /** A signed-in, active user, with whatever rights. */
  readonly signedIn?: boolean | undefined;
  /** Everybody, signed in or not. */
  readonly allowAnonymous?: boolean | undefined;
}

/** The names that state a rule. */
export const RULE_FIELDS = [
  "permissionsRequired",
  "allPermissionsRequired",
  "signedIn",
  "allowAnonymous",
] as const satisfies readonly (keyof RuleDeclaration)[];

/** True when the declaration says anything of who gets in. */
export function statesRule(declaration: RuleDeclaration): boolean {
  return RULE_FIELDS.some((field) => Boolean(declaration[field]));
}

/**
 * A misspelt rule must not pass for none, nor one whose value went missing.
 *
 * @throws ConfigurationError that names the nearest option
 */
export function refuseUnknown(owner: string, options: object, known: ReadonlySet<string>): void {
  for (const [name, value] of Object.entries(options)) {
    if (!known.has(name)) {
      throw new ConfigurationError(`${owner} has no option "${name}".${nearest(name, known)}`);
    }
    if (value === undefined && (RULE_FIELDS as readonly string[]).includes(name)) {
      throw new ConfigurationError(`${owner}: ${name} is undefined. Give it a value, or leave it out.`);
    }
  }
}
