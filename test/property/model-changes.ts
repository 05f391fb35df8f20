import {
  type Change,
  type Holder,
  isLive,
  isYoung,
  type ModelState,
  type Socket,
  type Token,
  type UserState,
} from "./model.ts";

/** The default of `tokenExpirySeconds`, in milliseconds. */
const TOKEN_MS = 60_000;

export function issueToken(
  state: ModelState,
  text: string,
  owner: Pick<Token, "user" | "login"> & Partial<Pick<Token, "view" | "channel">>,
): Token {
  const { user, login, view, channel } = owner;
  const token = { text, user, login, view, channel, ends: state.now + TOKEN_MS, used: false };
  state.tokens.push(token);
  return token;
}

/**
 * Returns the id of a user's current session. After `dan-phone` was ended twice, that is
 * `dan-phone.2`.
 */
export function sessionOf({ endings }: ModelState, device: string): string {
  const number = endings.get(device) ?? 0;
  return number === 0 ? device : `${device}.${number}`;
}

/** Returns the ids of the sessions that were ended. */
export function endedSessions({ endings }: ModelState, device: string): string[] {
  const count = endings.get(device) ?? 0;
  return Array.from({ length: count }, (_, number) => (number === 0 ? device : `${device}.${number}`));
}

/** Replaces the device of an "end-session" change by the id of its current session. */
export function withCurrentSession(state: ModelState, change: Change): Change {
  return change.kind === "end-session" ? { ...change, session: sessionOf(state, change.session) } : change;
}

/** Marks a token as used. It stays used even if the connect is denied afterwards. */
export function consumeToken(state: ModelState, text: string): Token | undefined {
  const token = state.tokens.find((one) => one.text === text && !one.used && one.ends > state.now);
  if (token) token.used = true;
  return token;
}

export const userState = ({ people }: ModelState, user: string): UserState => {
  const person = people.get(user) ?? { active: true, superuser: false, grants: new Map(), groups: new Map() };
  people.set(user, person);
  return person;
};

/**
 * Applies a change to the model.
 *
 * @returns whether it changed anything
 */
export function applyChange(state: ModelState, change: Change): boolean {
  const { people, groups, sockets } = state;
  const group = (name: string) => groups.set(name, groups.get(name) ?? new Map()).get(name);
  const granted = (holder: Holder) =>
    typeof holder === "string" ? people.get(holder)?.grants : groups.get(holder.group);
  // An unknown user is active and not a superuser. Setting a flag to its default does not create
  // the user.
  const flag = (user: string, name: "active" | "superuser", value: boolean) => {
    const differs = (people.get(user)?.[name] ?? name === "active") !== value;
    if (differs) userState(state, user)[name] = value;
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
      if (typeof holder === "string") userState(state, holder);
      else group(holder.group);
      return give(granted(holder), permission, until);
    }
    case "revoke":
      return !!granted(change.holder)?.delete(change.permission);
    case "add-to-group":
      group(change.group);
      return give(userState(state, change.user).groups, change.group, change.until);
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
      const belongs = (one: { user: string | null; login: string | null }) =>
        change.kind === "delete-user" ? one.user === change.user : one.login === change.session;
      state.tokens = state.tokens.filter((token) => !belongs(token));
      const closed = sockets.filter((socket) => socket.open && belongs(socket));
      for (const socket of closed) socket.open = false;
      if (change.kind === "delete-user") return people.delete(change.user) || closed.length > 0;
      const [device = "", number = "0"] = change.session.split(".");
      state.endings.set(device, Math.max(state.endings.get(device) ?? 0, Number(number) + 1));
      return true;
    }
    case "recheck":
      return true;
  }
}

/**
 * The sockets that must be checked after a change. If `ended` is true, they are closed whatever the
 * rules say.
 */
export interface Consequence {
  readonly ended: boolean;
  readonly sockets: (state: ModelState) => readonly Socket[];
}

/**
 * Must be called before the change is made, because the members of a group are unknown afterwards.
 */
export function consequenceOf(state: ModelState, change: Change): Consequence {
  const live = (wanted: (socket: Socket) => boolean): Consequence => ({
    ended: false,
    sockets: (now) => now.sockets.filter((socket) => isLive(now, socket) && wanted(socket)),
  });
  const ofUser = (user: string) => live((socket) => socket.user === user);
  switch (change.kind) {
    // These changes only add access.
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
      return live(isMember(state, change.holder.group));
    case "delete-group": {
      const members = state.sockets
        .map(({ user }) => user)
        .filter((user) => isMember(state, change.group)({ user }));
      return live(({ user }) => members.includes(user));
    }
    case "delete-user":
    case "end-session": {
      const belongs = ({ user, login }: Socket) =>
        change.kind === "delete-user" ? user === change.user : login === change.session;
      const ended = state.sockets.filter((socket) => socket.connected && belongs(socket));
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
  ({ people }: ModelState, group: string) =>
  ({ user }: Pick<Socket, "user">) =>
    user !== null && !!people.get(user)?.groups.has(group);

/**
 * Removes expired grants and memberships.
 *
 * @returns the consequences of their removal
 */
export function removeExpired(state: ModelState): Consequence[] {
  const users = new Set<string>();
  const groups = new Set<string>();
  const clear = (ends: Map<string, number | null>, ended: () => void) => {
    for (const [name, end] of ends) if (end !== null && end <= state.now && ends.delete(name)) ended();
  };
  for (const [user, { grants, groups: joined }] of state.people) {
    clear(grants, () => users.add(user));
    clear(joined, () => users.add(user));
  }
  for (const [group, grants] of state.groups) clear(grants, () => groups.add(group));
  return [
    ...[...users].map((user) => consequenceOf(state, { kind: "recheck", user })),
    ...[...groups].map((group) =>
      consequenceOf(state, { kind: "revoke", holder: { group }, permission: "" }),
    ),
  ];
}
