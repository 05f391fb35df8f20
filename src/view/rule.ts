import type { Permission } from "../access/permissions.ts";
import { ConfigurationError } from "../errors.ts";

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

/** A rule whose value went missing must not pass for none. @throws ConfigurationError */
export function refuseUndefinedRules(owner: string, declaration: object): void {
  for (const name of RULE_FIELDS) {
    if (name in declaration && (declaration as RuleDeclaration)[name] === undefined) {
      throw new ConfigurationError(`${owner}: ${name} is undefined. Give it a value, or leave it out.`);
    }
  }
}
