import { accountsBy } from "./users.ts";

/** Returns the name that other users see. An e-mail address is unique, but users choose their names. */
export async function nameOf(userId: string | undefined): Promise<string> {
  const [account] = userId === undefined ? [] : await accountsBy("id", [userId]);
  return account?.email ?? "a former user";
}
