import * as v from "valibot";
import { booleanOption } from "../options.ts";
import type { Permission } from "./define.ts";

/** The access rule of a view, a handler or a channel. Everything that it states must hold. */
export interface RuleDeclaration {
  /** The user must have at least one of these permissions. */
  readonly permissionsRequired?: readonly Permission[] | undefined;
  /** The user must have every one of these permissions. */
  readonly allPermissionsRequired?: readonly Permission[] | undefined;
  /** `true`: the user must be signed in and active. No permission is needed. */
  readonly signedIn?: boolean | undefined;
  /** `true`: everyone is accepted, signed in or not. */
  readonly allowAnonymous?: boolean | undefined;
}

/** A list of permissions. Whether the app declares them is checked when the rule is compiled. */
export const permissionList = v.pipe(
  v.array(
    v.custom<Permission>(
      (value) => typeof value === "string",
      "must be a permission from definePermissions(), such as chat.can_use_chat",
    ),
    "must be an array of permissions",
  ),
  v.minLength(
    1,
    "is empty, so it would not restrict access. List a permission, or use signedIn or allowAnonymous.",
  ),
  v.readonly(),
);

/**
 * The schemas of the options that state a rule. `undefined` is rejected: a rule whose value is missing, for example after a wrong
 * import, would not be checked.
 */
export const RULE_SCHEMAS = {
  permissionsRequired: v.exactOptional(permissionList),
  allPermissionsRequired: v.exactOptional(permissionList),
  signedIn: v.exactOptional(booleanOption),
  allowAnonymous: v.exactOptional(booleanOption),
} as const;

/** Returns true if the declaration states who is accepted. */
export function statesRule(declaration: RuleDeclaration): boolean {
  const { permissionsRequired, allPermissionsRequired, signedIn, allowAnonymous } = declaration;
  return (
    permissionsRequired !== undefined ||
    allPermissionsRequired !== undefined ||
    signedIn === true ||
    allowAnonymous === true
  );
}
