import * as v from "valibot";
import { booleanOption } from "../options.ts";
import type { Permission } from "./define.ts";

/** The access rule of a view, a handler or a channel. The user must satisfy all its parts. */
export interface RuleDeclaration {
  /** The user must have at least one of these permissions. */
  readonly permissionsRequired?: readonly Permission[] | undefined;
  /** The user must have all of these permissions. */
  readonly allPermissionsRequired?: readonly Permission[] | undefined;
  /** `true`: the user must be signed in and active. No permission is needed. */
  readonly signedIn?: boolean | undefined;
  /** `true`: all clients are accepted, whether signed in or not. */
  readonly allowAnonymous?: boolean | undefined;
}

/** Accepts a list of permissions. Compiling the rule checks that the app declares them. */
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
 * The schemas of the options of a rule. `undefined` is rejected. A rule with a missing value, for
 * example after a wrong import, would not be checked.
 */
export const RULE_SCHEMAS = {
  permissionsRequired: v.exactOptional(permissionList),
  allPermissionsRequired: v.exactOptional(permissionList),
  signedIn: v.exactOptional(booleanOption),
  allowAnonymous: v.exactOptional(booleanOption),
} as const;

/** Returns whether the declaration contains a rule. */
export function statesRule(declaration: RuleDeclaration): boolean {
  const { permissionsRequired, allPermissionsRequired, signedIn, allowAnonymous } = declaration;
  return (
    permissionsRequired !== undefined ||
    allPermissionsRequired !== undefined ||
    signedIn === true ||
    allowAnonymous === true
  );
}
