/**
 * Who may do what, told a second time and as plainly as possible: facts in maps, and functions that look at all of
 * them. It imports nothing, so that it cannot agree with the gate by sharing its mistakes.
 */

/** Epoch milliseconds at which a grant ends; null for never. */
type End = number | null;

/** `any`: one of these is enough; `all`: every one. Neither, and not `signedIn`: open to everybody. */
export type Rule = { any?: readonly string[]; all?: readonly string[]; signedIn?: boolean };
/** `asks`: the club of the channel's name is asked about whoever joins, or about each page of recipients too. */
export type Channel = {
  pattern: string;
  rule: Rule;
  send?: readonly string[];
  asks?: "joining" | "receiving";
};
export type View = { rules: readonly Rule[]; handlers: Record<string, { rule: Rule; ofClub?: boolean }> };
export type Person = {
  active: boolean;
  superuser: boolean;
  grants: Map<string, End>;
  groups: Map<string, End>;
};
/** Without a view or a channel, a token opens any. */
export type Token = {
  text: string;
  user: string;
  login: string;
  view: string | undefined;
  channel: string | undefined;
  ends: number;
  spent: boolean;
};
/** `open`: its row; `connected`: no $disconnect has come. One that has `vanished` took neither along. */
export type Socket = {
  id: string;
  view: string;
  user: string | null;
  login: string | null;
  channels: string[];
  since: number;
  open: boolean;
  connected: boolean;
  vanished: boolean;
};
export type Audience =
  | { channel: string }
  | { user: string }
  | { connectionId: string }
  | { permission: string }
  | "everyone";
export type Holder = string | { group: string };
export type Change =
  | { kind: "grant"; holder: Holder; permission: string; until?: number }
  | { kind: "revoke"; holder: Holder; permission: string }
  | { kind: "add-to-group"; user: string; group: string; until?: number }
  | { kind: "remove-from-group"; user: string; group: string }
  | { kind: "create-group" | "delete-group"; group: string }
  | { kind: "set-active"; user: string; active: boolean }
  | { kind: "set-superuser"; user: string; superuser: boolean }
  | { kind: "delete-user"; user: string }
  | { kind: "end-session"; session: string }
  | { kind: "recheck"; user: string }
  | { kind: "recheck"; channel: string };
export type Facts = {
  now: number;
  views: Record<string, View>;
  channels: readonly Channel[];
  people: Map<string, Person>;
  groups: Map<string, Map<string, End>>;
  /** The app's own data: who is in which club. Clubs are named like channels. */
  clubs: Map<string, Set<string>>;
  tokens: Token[];
  sockets: Socket[];
  /** How often a session was ended, such as `dan-phone`. The next sign-in has a session id of its own. */
  endings: Map<string, number>;
};

const OLDEST_SOCKET_MS = (2 * 60 + 5) * 60_000;

export function has(facts: Facts, user: string | null, permission: string): boolean {
  const person = user === null ? undefined : facts.people.get(user);
  if (!person?.active) return false;
  const lasts = (end: End | undefined) => end === null || (end !== undefined && end > facts.now);
  const through = ([group, end]: [string, End]) =>
    lasts(end) && lasts(facts.groups.get(group)?.get(permission));
  return person.superuser || lasts(person.grants.get(permission)) || [...person.groups].some(through);
}

export function passes(facts: Facts, user: string | null, { any, all, signedIn }: Rule): boolean {
  if (user === null) return !any && !all && !signedIn;
  const held = (permission: string) => has(facts, user, permission);
  return !!facts.people.get(user)?.active && (!any || any.some(held)) && (!all || all.every(held));
}

export const mayUse = (facts: Facts, user: string | null, view: string): boolean =>
  !!facts.views[view]?.rules.every((rule) => passes(facts, user, rule));

export function mayCall(facts: Facts, user: string | null, view: string, name: string, club: string) {
  const handler = facts.views[view]?.handlers[name];
  if (!handler || !mayUse(facts, user, view) || !passes(facts, user, handler.rule)) return false;
  return !handler.ofClub || isIn(facts, user, club);
}

const isIn = (facts: Facts, user: string | null, club: string) =>
  user !== null && !!facts.clubs.get(club)?.has(user);

/** Definitions of a channel's name; none: there is no such channel. */
export function definitions({ channels }: Facts, name: string): readonly Channel[] {
  const parts = name.split("/");
  const fits = (pattern: readonly string[]) =>
    pattern.length === parts.length && pattern.every((part, n) => part.startsWith(":") || part === parts[n]);
  return channels.filter(({ pattern }) => fits(pattern.split("/")));
}

export const exists = (facts: Facts, channel: string): boolean => definitions(facts, channel).length > 0;

/** By rules, whatever the app's own data says. */
export const passesChannel = (facts: Facts, user: string | null, channel: string): boolean =>
  exists(facts, channel) && definitions(facts, channel).every(({ rule }) => passes(facts, user, rule));

export const mayEnter = (facts: Facts, user: string | null, channel: string): boolean =>
  passesChannel(facts, user, channel) &&
  definitions(facts, channel).every(({ asks }) => !asks || isIn(facts, user, channel));

export const maySpeak = (facts: Facts, user: string | null, channel: string): boolean =>
  mayEnter(facts, user, channel) &&
  definitions(facts, channel).every(({ send }) => !send || passes(facts, user, { any: send }));

export const isYoung = ({ now }: Facts, { since }: Socket): boolean => since > now - OLDEST_SOCKET_MS;
export const isLive = (facts: Facts, socket: Socket): boolean => socket.open && isYoung(facts, socket);

export function isAddressed(facts: Facts, socket: Socket, to: Audience): boolean {
  if (!isLive(facts, socket)) return false;
  if (to === "everyone") return true;
  if ("channel" in to) return socket.channels.includes(to.channel);
  if ("user" in to) return socket.user === to.user;
  if ("connectionId" in to) return socket.id === to.connectionId;
  return has(facts, socket.user, to.permission);
}

/** Whether an addressed socket may have what is being sent, now. */
export function mayHear(facts: Facts, { user, view }: Socket, to: Audience, required: Rule): boolean {
  if (!mayUse(facts, user, view) || !passes(facts, user, required)) return false;
  if (to === "everyone" || !("channel" in to)) return true;
  if (!passesChannel(facts, user, to.channel)) return false;
  return definitions(facts, to.channel).every(
    ({ asks }) => asks !== "receiving" || isIn(facts, user, to.channel),
  );
}
