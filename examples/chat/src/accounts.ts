import { auth } from "./auth.ts";
import { db, hasSetting, setting } from "./database.ts";
import { chat } from "./permissions.ts";
import { sallyport } from "./sallyport.ts";

export const PASSWORD = "sallyport-demo";

export const ACCOUNTS = [
  { name: "Alice", email: "alice@example.com", may: "chats; a member of the book club" },
  { name: "Mo", email: "mo@example.com", may: "chats and moderates" },
  { name: "Eve", email: "eve@example.com", may: "nothing yet" },
  { name: "Rita", email: "rita@example.com", may: "everything: a superuser" },
] as const;

/** Creates the four demo accounts at the first start. Later changes to them are kept. */
export async function prepareAccounts(): Promise<void> {
  if (await hasSetting("accounts_made")) return;
  const ids = new Map<string, string>();
  for (const { name, email } of ACCOUNTS) ids.set(name, await accountId(name, email));
  const id = (name: (typeof ACCOUNTS)[number]["name"]) => ids.get(name) as string;

  const change = { by: "npm start", reason: "demo accounts" };
  const { access } = sallyport;
  await access.grant({ group: "Chatters" }, chat.can_use_chat, change);
  await access.users.addToGroup(id("Alice"), "Chatters", change);
  await access.users.addToGroup(id("Mo"), "Chatters", change);
  await access.grant(id("Mo"), chat.can_moderate_chat, change);
  await access.users.setSuperuser(id("Rita"), true, change);
  await db
    .insertInto("chat_room_members")
    .values({ slug: "book-club", user_id: id("Alice") })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await setting("accounts_made", () => new Date().toISOString());
}

async function accountId(name: string, email: string): Promise<string> {
  const known = await db.selectFrom("user").select("id").where("email", "=", email).executeTakeFirst();
  if (known) return known.id;
  const { user } = await (await auth()).api.signUpEmail({ body: { name, email, password: PASSWORD } });
  return user.id;
}
