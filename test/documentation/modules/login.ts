export const currentUser = async (
  _request: Request,
): Promise<{ userId: string; sessionId: string } | null> => ({ userId: "ann", sessionId: "s1" });
