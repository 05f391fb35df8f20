import {
  type Change,
  type Facts,
  type Holder,
  isLive,
  isYoung,
  type Person,
  type Socket,
  type Token,
} from "./oracle.ts";

/** A minute: what `tokenExpirySeconds` is by default. */
const TOKEN_MS = 60_000;

export function issue(
  facts: Facts,
  text: string,
  owner: Pick<Token, "user" | "login"> & Partial<Pick<Token, "view" | "channel">>,
): Token {
  const { user, login, view, channel } = owner;
  const token = { text, user, login, view, channel, ends: facts.now + TOKEN_MS, spent: false };
  facts.tokens.push(token);
  return token;
}

/** Returns the id of the session that a user has now, such as `dan-phone.2` after two endings of `dan-phone`. */
export function sessionOf({ endings }: Facts, device: string): string {
  const number = endings.get(device) ?? 0;
  return number === 0 ? device : `${device}.${number}`;
}

/** Returns the ids of the sessions that were ended. */
export function endedSessions({ endings }: Facts, device: string): string[] {
  const count = endings.get(device) ?? 0;
  return Array.from({ length: count }, (_, number) => (number === 0 ? device : `${device}.${number}`));
}

/** Returns a change that ends the session of now, if it ends a session. */
export function ofNow(facts: Facts, change: Change): Change {
  return change.kind === "end-session" ? { ...change, session: sessionOf(facts, change.session) } : change;
}

/** Spends a token. What follows may still be refused; spent it is. */
export function spend(facts: Facts, text: string): Token | undefined {
  const token = facts.tokens.find((one) => one.text === text && !one.spent && one.ends > facts.now);
  if (token) token.spent = true;
  return token;
}

export const known = ({ people }: Facts, user: string): Person => {
  const person = people.get(user) ?? { active: true, superuser: false, grants: new Map(), groups: new Map() };
  people.set(user, person);
  return person;
};

/** Makes a change. @returns whether it made a difference */
export function make(facts: Facts, change: Change): boolean {
  const { people, groups, sockets } = facts;
  const group = (name: string) => groups.set(name, groups.get(name) ?? new Map()).get(name);
  const granted = (holder: Holder) =>
    typeof holder === "string" ? people.get(holder)?.grants : groups.get(holder.group);
  // Somebody unknown is active and no superuser: to say so again makes nobody known.
  const flag = (user: string, name: "active" | "superuser", value: boolean) => {
    const differs = (people.get(user)?.[name] ?? name === "active") !== value;
    if (differs) known(facts, user)[name] = value;
    return differs;
  };
  const give = (ends: Map<string, number | null> | undefined, name: string, until: number | null = null) => {
    const differs = ends?.get(name) !== until;
    ends?.set(name, until);
    return differs;
  };
  switch (change.kind) {
    case "grant": {
      const { holder, permission, until } = change;
      if (typeof holder === "string") known(facts, holder);
      else group(holder.group);
      return give(granted(holder), permission, until);
    }
    case "revoke":
      return !!granted(change.holder)?.delete(change.permission);
    case "add-to-group":
      group(change.group);
      return give(known(facts, change.user).groups, change.group, change.until);
    case "remove-from-group":
      return !!people.get(change.user)?.groups.delete(change.group);
    case "create-group":
      return !groups.has(change.group) && !!group(change.group);
    case "delete-group":
      for (const person of people.values()) person.groups.delete(change.group);
      return groups.delete(change.group);
    case "set-active":
      return flag(change.user, "active", change.active);
    case "set-superuser":
      return flag(change.user, "superuser", change.superuser);
    case "delete-user":
    case "end-session": {
      const whose = (one: { user: string | null; login: string | null }) =>
        change.kind === "delete-user" ? one.user === change.user : one.login === change.session;
      facts.tokens = facts.tokens.filter((token) => !whose(token));
      const closed = sockets.filter((socket) => socket.open && whose(socket));
      for (const socket of closed) socket.open = false;
      if (change.kind === "delete-user") return people.delete(change.user) || closed.length > 0;
      const [device = "", number = "0"] = change.session.split(".");
      facts.endings.set(device, Math.max(facts.endings.get(device) ?? 0, Number(number) + 1));
      return true;
    }
    case "recheck":
      return true;
  }
}

/** Sockets that a change has to be drawn for, as they are when it is. `ended`: whatever the rules say. */
export interface Consequence {
  readonly ended: boolean;
  readonly sockets: (facts: Facts) => readonly Socket[];
}

/** Asked before the change is made: afterwards nothing may tell any more who was in a group. */
export function consequenceOf(facts: Facts, change: Change): Consequence {
  const live = (wanted: (socket: Socket) => boolean): Consequence => ({
    ended: false,
    sockets: (now) => now.sockets.filter((socket) => isLive(now, socket) && wanted(socket)),
  });
  const ofUser = (user: string) => live((socket) => socket.user === user);
  switch (change.kind) {
    // What only gives takes nothing away.
    case "grant":
    case "add-to-group":
    case "create-group":
      return live(() => false);
    case "set-active":
      return change.active ? live(() => false) : ofUser(change.user);
    case "set-superuser":
      return change.superuser ? live(() => false) : ofUser(change.user);
    case "revoke":
      if (typeof change.holder === "string") return ofUser(change.holder);
      return live(isMember(facts, change.holder.group));
    case "delete-group": {
      const members = facts.sockets
        .map(({ user }) => user)
        .filter((user) => isMember(facts, change.group)({ user }));
      return live(({ user }) => members.includes(user));
    }
    case "delete-user":
    case "end-session": {
      const whose = ({ user, login }: Socket) =>
        change.kind === "delete-user" ? user === change.user : login === change.session;
      const ended = facts.sockets.filter((socket) => socket.connected && whose(socket));
      return {
        ended: true,
        sockets: (now) => ended.filter((socket) => socket.connected && isYoung(now, socket)),
      };
    }
    case "recheck":
      if ("user" in change) return ofUser(change.user);
      return live(({ channels }) => channels.includes(change.channel));
    default:
      return ofUser(change.user);
  }
}

const isMember =
  ({ people }: Facts, group: string) =>
  ({ user }: Pick<Socket, "user">) =>
    user !== null && !!people.get(user)?.groups.has(group);

/** Clears away what has ended by itself. @returns what has to be drawn from it */
export function sweep(facts: Facts): Consequence[] {
  const users = new Set<string>();
  const groups = new Set<string>();
  const clear = (ends: Map<string, number | null>, ended: () => void) => {
    for (const [name, end] of ends) if (end !== null && end <= facts.now && ends.delete(name)) ended();
  };
  for (const [user, { grants, groups: joined }] of facts.people) {
    clear(grants, () => users.add(user));
    clear(joined, () => users.add(user));
  }
  for (const [group, grants] of facts.groups) clear(grants, () => groups.add(group));
  return [
    ...[...users].map((user) => consequenceOf(facts, { kind: "recheck", user })),
    ...[...groups].map((group) =>
      consequenceOf(facts, { kind: "revoke", holder: { group }, permission: "" }),
    ),
  ];
}
