const members = new Map<string, Set<string>>();

export const isProjectMember = async (userId: string | undefined, project: string): Promise<boolean> =>
  userId !== undefined && (members.get(project)?.has(userId) ?? false);
export async function addProjectMember(userId: string, project: string): Promise<void> {
  members.set(project, (members.get(project) ?? new Set()).add(userId));
}
export async function removeProjectMember(userId: string, project: string): Promise<void> {
  members.get(project)?.delete(userId);
}
