export const currentUser = async (
  _request: Request,
): Promise<{ userId: string; sessionId: string } | null> => ({ userId: "ann", sessionId: "s1" });

export const accessToken = async (): Promise<string> => "a bearer token";
