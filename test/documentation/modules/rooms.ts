const members = new Map<string, Set<string>>();

export async function isMember(userId: string | undefined, room: string): Promise<boolean> {
  return userId !== undefined && (members.get(room)?.has(userId) ?? false);
}
export async function addMember(userId: string, room: string): Promise<void> {
  members.set(room, (members.get(room) ?? new Set()).add(userId));
}
export async function removeMember(userId: string, room: string): Promise<void> {
  members.get(room)?.delete(userId);
}
export const openReports = async (_room: string): Promise<number> => 0;
export const archiveRoom = async (room: string): Promise<{ readonly archived: string }> => ({
  archived: room,
});
export const purgeRoom = async (_userId: string): Promise<void> => undefined;
export const membersAmong = async (room: string, userIds: readonly string[]): Promise<readonly string[]> =>
  userIds.filter((userId) => members.get(room)?.has(userId));
export const isBanned = async (_userId: string | undefined): Promise<boolean> => false;
