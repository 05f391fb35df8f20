import type { AuditEntry, Decision } from "../index.ts";
import type { Sallyport } from "../sallyport.ts";

/** The maximum number of changes of a user, or of a permission, that are searched. */
const MAX_ENTRIES = 1000;

/**
 * Returns the last change before a denial that took a missing permission from the user, or undefined
 * if there is none.
 *
 * The audit log does not contain earlier members and permissions of a group. Therefore, a group that
 * the user left counts if it has the permission now, and a group that lost the permission counts if
 * the user is a member now.
 */
export async function lossBefore(
  { access }: Sallyport,
  { reason, userId, missing, at }: Decision,
): Promise<AuditEntry | undefined> {
  if (reason !== "permission" || userId === undefined) return undefined;
  const ofUser = await access.audit.list({ user: userId, limit: MAX_ENTRIES });
  const withPermission = (await access.groups.list()).filter(({ permissions }) =>
    permissions.some(({ name }) => missing.includes(name)),
  );
  const left = new Set(withPermission.map(({ name }) => name));
  const candidates = [
    ...ofUser.filter((entry) => isLossOfUser(entry, missing, left)),
    ...(await lossesOfGroups(access, userId, missing)),
  ].filter((entry) => entry.at <= at);
  return candidates.sort((a, b) => b.number - a.number)[0];
}

function isLossOfUser(
  { action, permission, group, details }: AuditEntry,
  missing: readonly string[],
  groups: ReadonlySet<string>,
): boolean {
  switch (action) {
    case "revoke":
      return permission !== null && missing.includes(permission);
    case "remove-from-group":
      return group !== null && groups.has(group);
    case "expired":
      return permission === null ? group !== null && groups.has(group) : missing.includes(permission);
    case "set-superuser":
      return details.superuser === false;
    default:
      return false;
  }
}

/** Returns the changes that took a missing permission from a group of the user. */
async function lossesOfGroups(
  access: Sallyport["access"],
  user: string,
  missing: readonly string[],
): Promise<readonly AuditEntry[]> {
  const { groups = [] } = (await access.users.get(user)) ?? {};
  const names = new Set(groups.map(({ name }) => name));
  if (names.size === 0) return [];
  const found: AuditEntry[] = [];
  for (const permission of missing) {
    const entries = await access.audit.list({ permission, limit: MAX_ENTRIES });
    for (const entry of entries) {
      const isEnd = entry.action === "revoke" || entry.action === "expired";
      if (isEnd && entry.user === null && entry.group !== null && names.has(entry.group)) found.push(entry);
    }
  }
  return found;
}
