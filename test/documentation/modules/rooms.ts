export const isMember = async (_userId: string | undefined, _room: string | undefined): Promise<boolean> =>
  true;
export const archiveRoom = async (_room: string): Promise<void> => undefined;
export const purgeRoom = async (_userId: string): Promise<void> => undefined;
