const memberships = new Map<string, Set<string>>();
const suspended = new Set<string>();

export const isMemberOf = async (userId: string | undefined, tenant: string): Promise<boolean> =>
  userId !== undefined && !suspended.has(tenant) && (memberships.get(tenant)?.has(userId) ?? false);
export async function membersAmong(userIds: readonly string[], tenant: string): Promise<readonly string[]> {
  return suspended.has(tenant) ? [] : userIds.filter((userId) => memberships.get(tenant)?.has(userId));
}
export const membersOf = async (tenant: string): Promise<readonly string[]> => [
  ...(memberships.get(tenant) ?? []),
];
export async function addMembership(userId: string, tenant: string): Promise<void> {
  memberships.set(tenant, (memberships.get(tenant) ?? new Set()).add(userId));
}
export async function removeMembership(userId: string, tenant: string): Promise<void> {
  memberships.get(tenant)?.delete(userId);
}
export async function suspend(tenant: string): Promise<void> {
  suspended.add(tenant);
}
