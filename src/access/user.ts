import { ConfigurationError, RefusedError } from "../errors.ts";
import type { SignedInUser, User } from "../view/context.ts";
import { type Permission, permissionsOf } from "./permissions.ts";
import type { Subject, Verdict } from "./rules.ts";

/** The user as handlers and hooks see it, over the rights that one statement read. */
export function userOf(subject: Subject): User {
  const has = (permission: Permission) =>
    subject.userId !== null &&
    subject.isActive &&
    (subject.isSuperuser || subject.permissions.includes(permission));
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
      if (!has(permission)) {
        throw new RefusedError(`The handler requires ${permission}.`, {
          reason: "permission",
          missing: [permission],
        });
      }
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

/** The refusal that a verdict means. The peer hears the generic words whatever the reason. */
export function refusedBy(verdict: Exclude<Verdict, { allowed: true }>, what: string): RefusedError {
  const { reason, missing } = verdict;
  const why = {
    anonymous: `${what} needs a signed-in user.`,
    inactive: `The user is inactive, and ${what} is for active users.`,
    permission: `${what} needs ${missing.join(" or ")}.`,
  };
  return new RefusedError(why[reason], { reason, missing });
}
