import { createDecisionContext, type DecisionContext } from "../audit/decision.ts";
import { requireRule } from "../auth/authorize.ts";
import { ConfigurationError } from "../errors.ts";
import { type Permission, type PermissionCatalog, permissionsOf } from "../permissions/define.ts";
import type { Subject } from "../permissions/rules.ts";
import type { SignedInUser, User } from "./context.ts";

/**
 * The user as handlers and hooks see it, over the rights that one statement read. A question about a permission that is
 * not declared throws, whoever is asked about: only a cast can lead to one.
 *
 * @param context where `require()` notes what it demanded
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
  const listed = (permissions: Iterable<Permission>) => {
    const list = listOf(permissions);
    if (list.length > 0) return list;
    throw new ConfigurationError(
      "Give a list of at least one permission; an empty one would ask for nothing.",
    );
  };
  const user: User = {
    id: subject.userId ?? undefined,
    signedIn: subject.userId !== null,
    isSuperuser: subject.isSuperuser && subject.isActive,
    hasPermission: has,
    hasAnyPermission: (permissions) => listed(permissions).some(has),
    hasAllPermissions: (permissions) => listed(permissions).every(has),
    hasAppPermissions: (app) => permissionsOf(app).some(has),
    require(permission) {
      const rule = { signedIn: true, anyOf: [], allOf: [catalog.parse(permission)] };
      requireRule(context ?? createDecisionContext("message", ""), "user.require()", rule, subject);
      return user as SignedInUser;
    },
  };
  return Object.freeze(user);
}

/** @throws ConfigurationError for what is no list, such as one permission, whose letters would be taken for some */
export function listOf(permissions: Iterable<Permission>): readonly Permission[] {
  if (typeof permissions === "object" && permissions !== null && Symbol.iterator in permissions)
    return [...permissions];
  throw new ConfigurationError(`Give a list of permissions, not ${JSON.stringify(permissions)}.`);
}
