import { ACCOUNTS, accounts, NO_ACCESS_YET } from "../accounts.ts";
import { chat, PERMISSIONS } from "../permissions.ts";
import { BOOK_CLUB, isMember } from "../rooms.ts";
import { sallyport } from "../sallyport.ts";

/** A permission of a user or a group, as the page shows it. */
export interface GrantState {
  readonly name: (typeof PERMISSIONS)[number]["name"];
  readonly label: string;
  /** Whether it was granted to the user or the group itself. */
  readonly isGranted: boolean;
  /** Whether the user has it now: by a grant, through a group, or as a superuser. */
  readonly isHeld: boolean;
  /** When the grant ends, in epoch milliseconds, or null for never. */
  readonly until: number | null;
  /** The groups through which the user has it too. */
  readonly groups: readonly string[];
}

/** What a person may do. */
export interface PersonState {
  readonly id: string;
  readonly name: string;
  readonly email: string;
  /** What the person is now, in a few words. */
  readonly role: string;
  readonly isSuperuser: boolean;
  readonly isBookClubMember: boolean;
  readonly permissions: readonly GrantState[];
  readonly groups: readonly {
    readonly name: string;
    readonly isMember: boolean;
    readonly until: number | null;
  }[];
}

/** A group and its permissions. */
export interface GroupState {
  readonly name: string;
  readonly members: number;
  readonly permissions: readonly GrantState[];
}

/** What every person and group may do. */
export interface AccessState {
  readonly people: readonly PersonState[];
  readonly groups: readonly GroupState[];
}

const GROUP_NAMES = [...new Set(ACCOUNTS.flatMap(({ groups }) => groups))];

export async function accessState(): Promise<AccessState> {
  const people = (await accounts()).map(async ({ id, account: { name, email, role } }) => {
    const user = await sallyport.access.users.get(id);
    const grants = user?.grants ?? [];
    const isSuperuser = user?.isSuperuser ?? false;
    const isBookClubMember = await isMember(BOOK_CLUB, id);
    const held = new Set(grants.map(({ permission }) => permission));
    return {
      id,
      name,
      email,
      role: roleOf({ isSuperuser, isBookClubMember, held }, role),
      isSuperuser,
      isBookClubMember,
      permissions: PERMISSIONS.map(({ name: permission, label }) => {
        const own = grants.find((grant) => grant.permission === permission && grant.via === "direct");
        const groups = grants.flatMap(({ permission: held, via }) =>
          held === permission && via !== "direct" ? [via.group] : [],
        );
        return {
          name: permission,
          label,
          isGranted: own !== undefined,
          isHeld: isSuperuser || held.has(permission),
          until: own?.until ?? null,
          groups,
        };
      }),
      groups: GROUP_NAMES.map((group) => {
        const membership = user?.groups.find(({ name }) => name === group);
        return { name: group, isMember: membership !== undefined, until: membership?.until ?? null };
      }),
    };
  });
  return { people: await Promise.all(people), groups: await groupStates() };
}

interface Held {
  readonly isSuperuser: boolean;
  readonly isBookClubMember: boolean;
  /** The names of the effective permissions. */
  readonly held: ReadonlySet<string>;
}

/** Returns the role by the present access. The role of the start would be wrong after a change. */
function roleOf({ isSuperuser, isBookClubMember, held }: Held, roleAtStart: string): string {
  if (isSuperuser) return "superuser";
  if (held.has(String(chat.can_moderate_chat))) return "moderator";
  if (held.has(String(chat.can_use_chat))) return isBookClubMember ? "member, in the book club" : "member";
  return roleAtStart === NO_ACCESS_YET ? NO_ACCESS_YET : "no access";
}

async function groupStates(): Promise<GroupState[]> {
  const groups = await sallyport.access.groups.list();
  return GROUP_NAMES.map((name) => {
    const group = groups.find((candidate) => candidate.name === name);
    return {
      name,
      members: group?.members ?? 0,
      permissions: PERMISSIONS.map(({ name: permission, label }) => {
        const grant = group?.permissions.find((candidate) => candidate.name === permission);
        return {
          name: permission,
          label,
          isGranted: grant !== undefined,
          isHeld: grant !== undefined,
          until: grant?.until ?? null,
          groups: [],
        };
      }),
    };
  });
}
