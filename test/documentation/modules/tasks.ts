const owners = new Map<string, string>();

export const ownerOf = async (id: string): Promise<string | undefined> => owners.get(id);
export async function startTask(id: string, owner: string): Promise<void> {
  owners.set(id, owner);
}
