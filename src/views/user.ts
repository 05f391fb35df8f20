import { createDecisionContext, type DecisionContext } from "../audit/decision.ts";
import { requireRule } from "../auth/authorize.ts";
import { ConfigurationError } from "../errors.ts";
import { type Permission, type PermissionCatalog, permissionsOf } from "../permissions/define.ts";
import type { Subject } from "../storage/stores/users.ts";
import type { SignedInUser, User } from "./context.ts";

/**
 * Returns the user object that handlers and hooks receive.
 *
 * Its methods throw for a permission that the app does not declare. Only a type cast can cause
 * that.
 *
 * @param context the decision context in which `require()` records a step
 */
export function userOf(subject: Subject, catalog: PermissionCatalog, context?: DecisionContext): User {
  const has = (permission: Permission) => {
    const known = catalog.parse(permission);
    return (
      subject.userId !== null &&
      subject.isActive &&
      (subject.isSuperuser || subject.permissions.includes(known))
    );
  };
  const nonEmptyList = (permissions: Iterable<Permission>) => {
    const list = permissionArray(permissions);
    if (list.length > 0) return list;
    throw new ConfigurationError(
      "The list of permissions is empty, so it would require nothing. List at least one permission.",
    );
  };
  const user: User = {
    id: subject.userId ?? undefined,
    signedIn: subject.userId !== null,
    isSuperuser: subject.isSuperuser && subject.isActive,
    hasPermission: has,
    hasAnyPermission: (permissions) => nonEmptyList(permissions).some(has),
    hasAllPermissions: (permissions) => nonEmptyList(permissions).every(has),
    hasAppPermissions: (app) => permissionsOf(app).some(has),
    require(permission) {
      const rule = { signedIn: true, anyOf: [], allOf: [catalog.parse(permission)] };
      requireRule(context ?? createDecisionContext("message", ""), "user.require()", rule, subject);
      return user as SignedInUser;
    },
  };
  return Object.freeze(user);
}

/**
 * Returns the permissions as an array.
 *
 * @throws ConfigurationError if the value is not a list. A single permission would be read by
 *   letters
 */
export function permissionArray(permissions: Iterable<Permission>): readonly Permission[] {
  if (typeof permissions === "object" && permissions !== null && Symbol.iterator in permissions)
    return [...permissions];
  throw new ConfigurationError(
    `The permissions must be a list, but received ${JSON.stringify(permissions)}. Pass an array of permissions.`,
  );
}
