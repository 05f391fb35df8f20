import { accountsBy } from "./users.ts";

/** Returns the name that other users see. */
export async function nameOf(userId: string | undefined): Promise<string> {
  const [account] = userId === undefined ? [] : await accountsBy("id", [userId]);
  return account?.name ?? "a former user";
}
