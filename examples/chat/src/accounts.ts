import type { Permission } from "sallyport";
import { authOf } from "./auth.ts";
import { db, hasSetting, setting } from "./database.ts";
import { DEMO_PASSWORD } from "./page-contract.ts";
import { chat, PERMISSIONS } from "./permissions.ts";
import { BOOK_CLUB, isMember, joinRoom, leaveRoom } from "./rooms.ts";
import { sallyport } from "./sallyport.ts";

export const MODERATORS = "Moderators";
/** The role of an account that starts without access. */
export const NO_ACCESS_YET = "no access yet";

interface Account {
  readonly name: string;
  readonly email: string;
  /** What the user is at the start, in words. */
  readonly role: string;
  readonly permissions: readonly Permission[];
  readonly groups: readonly string[];
  readonly isSuperuser: boolean;
  readonly rooms: readonly string[];
}

export const ACCOUNTS: readonly Account[] = [
  {
    name: "Alice",
    email: "alice@example.com",
    role: "member, in the book club",
    permissions: [chat.can_use_chat],
    groups: [],
    isSuperuser: false,
    rooms: [BOOK_CLUB],
  },
  {
    name: "Mo",
    email: "mo@example.com",
    role: "moderator",
    permissions: [],
    groups: [MODERATORS],
    isSuperuser: false,
    rooms: [],
  },
  {
    name: "Eve",
    email: "eve@example.com",
    role: NO_ACCESS_YET,
    permissions: [],
    groups: [],
    isSuperuser: false,
    rooms: [],
  },
  {
    name: "Rita",
    email: "rita@example.com",
    role: "superuser",
    permissions: [],
    groups: [],
    isSuperuser: true,
    rooms: [],
  },
];

/** Who made a change, for the audit log. */
type Origin = { readonly by: string; readonly reason: string };

/** Creates the accounts and their access at the first start. Later changes are kept. */
export async function prepareAccounts(): Promise<void> {
  for (const account of ACCOUNTS) await createAccount(account);
  if (await hasSetting("access_prepared")) return;
  await resetAccess({ by: "npm start", reason: "the start of the demo" });
  await setting("access_prepared", () => new Date().toISOString());
}

/** Gives every account the access that it has at the start, and nothing else. */
export async function resetAccess(
  origin: Origin = { by: "Reset", reason: "the button of the page" },
): Promise<void> {
  for (const permission of [chat.can_use_chat, chat.can_moderate_chat]) {
    await sallyport.access.grant({ group: MODERATORS }, permission, origin);
  }
  for (const { id, account } of await accounts()) await resetAccount(id, account, origin);
}

async function resetAccount(id: string, account: Account, origin: Origin): Promise<void> {
  const { access } = sallyport;
  const { permissions, groups, isSuperuser, rooms } = account;
  for (const { permission } of PERMISSIONS) {
    if (permissions.includes(permission)) await access.grant(id, permission, origin);
    else await access.revoke(id, permission, origin);
  }
  if (groups.includes(MODERATORS)) await access.users.addToGroup(id, MODERATORS, origin);
  else await access.users.removeFromGroup(id, MODERATORS, origin);
  await access.users.setSuperuser(id, isSuperuser, origin);
  const wasMember = await isMember(BOOK_CLUB, id);
  if (wasMember === rooms.includes(BOOK_CLUB)) return;
  await (wasMember ? leaveRoom : joinRoom)(BOOK_CLUB, id);
  await access.recheck({ user: id }, origin);
}

/** Returns the accounts with their user ids, in the order of {@link ACCOUNTS}. */
export async function accounts(): Promise<readonly { readonly id: string; readonly account: Account }[]> {
  const users = await db.selectFrom("user").select(["id", "email"]).execute();
  return ACCOUNTS.flatMap((account) => {
    const user = users.find(({ email }) => email === account.email);
    return user ? [{ id: user.id, account }] : [];
  });
}

/** Returns the name of an account, or the id of a user without one. */
export async function nameOf(userId: string): Promise<string> {
  const user = await db.selectFrom("user").select("name").where("id", "=", userId).executeTakeFirst();
  return user?.name ?? userId;
}

async function createAccount({ name, email }: Account): Promise<void> {
  const known = await db.selectFrom("user").select("id").where("email", "=", email).executeTakeFirst();
  if (known) return;
  await (await authOf("left")).api.signUpEmail({ body: { name, email, password: DEMO_PASSWORD } });
}
