const EMAILS: Readonly<Record<string, string>> = { u1: "ann@example.com", u2: "bob@example.com" };

export const userIdByEmail = async (email: string): Promise<string | undefined> =>
  Object.keys(EMAILS).find((id) => EMAILS[id] === email);
export const emailsById = async (ids: readonly string[]): Promise<Record<string, string>> =>
  Object.fromEntries(ids.map((id) => [id, EMAILS[id] ?? id]));
export const allEmails = async (): Promise<string[]> => Object.values(EMAILS);
