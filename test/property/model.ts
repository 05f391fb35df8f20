/**
 * The reference model of the permissions: its state in maps, and functions that read all of it. It
 * is as simple as possible. It imports nothing, so it cannot share a mistake with the library.
 */

/** Time at which a grant expires, in milliseconds since the epoch. Null if it does not expire. */
type End = number | null;

/**
 * `any`: at least one of these permissions is required. `all`: every one is required. Without any
 * field, anonymous users pass.
 */
export type Rule = { any?: readonly string[]; all?: readonly string[]; signedIn?: boolean };
/**
 * `hook`: the hook of the channel checks the club with the channel's name. "joining" checks it for
 * each join, "receiving" also for each page of recipients.
 */
export type Channel = {
  pattern: string;
  rule: Rule;
  send?: readonly string[];
  hook?: "joining" | "receiving";
};
export type View = { rules: readonly Rule[]; handlers: Record<string, { rule: Rule; ofClub?: boolean }> };
export type UserState = {
  active: boolean;
  superuser: boolean;
  grants: Map<string, End>;
  groups: Map<string, End>;
};
/** A token without a view or a channel is valid for all of them. */
export type Token = {
  text: string;
  user: string;
  login: string;
  view: string | undefined;
  channel: string | undefined;
  ends: number;
  used: boolean;
};
/**
 * `open`: the row is open. `connected`: no $disconnect has arrived. `lost`: the gateway has
 * lost the connection, but no $disconnect has arrived.
 */
export type Socket = {
  id: string;
  view: string;
  user: string | null;
  login: string | null;
  channels: string[];
  since: number;
  open: boolean;
  connected: boolean;
  lost: boolean;
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
export type ModelState = {
  now: number;
  views: Record<string, View>;
  channels: readonly Channel[];
  people: Map<string, UserState>;
  groups: Map<string, Map<string, End>>;
  /** Data of the app: the members of each club. Clubs have the names of channels. */
  clubs: Map<string, Set<string>>;
  tokens: Token[];
  sockets: Socket[];
  /**
   * How often the session of a device, such as `dan-phone`, was ended. The next sign-in has a new
   * session id.
   */
  endings: Map<string, number>;
};

const OLDEST_SOCKET_MS = (2 * 60 + 5) * 60_000;

export function has(state: ModelState, user: string | null, permission: string): boolean {
  const person = user === null ? undefined : state.people.get(user);
  if (!person?.active) return false;
  const isValid = (end: End | undefined) => end === null || (end !== undefined && end > state.now);
  const through = ([group, end]: [string, End]) =>
    isValid(end) && isValid(state.groups.get(group)?.get(permission));
  return person.superuser || isValid(person.grants.get(permission)) || [...person.groups].some(through);
}

export function passes(state: ModelState, user: string | null, { any, all, signedIn }: Rule): boolean {
  if (user === null) return !any && !all && !signedIn;
  const held = (permission: string) => has(state, user, permission);
  return !!state.people.get(user)?.active && (!any || any.some(held)) && (!all || all.every(held));
}

export const canUseView = (state: ModelState, user: string | null, view: string): boolean =>
  !!state.views[view]?.rules.every((rule) => passes(state, user, rule));

export function canCall(state: ModelState, user: string | null, view: string, name: string, club: string) {
  const handler = state.views[view]?.handlers[name];
  if (!handler || !canUseView(state, user, view) || !passes(state, user, handler.rule)) return false;
  return !handler.ofClub || isIn(state, user, club);
}

const isIn = (state: ModelState, user: string | null, club: string) =>
  user !== null && !!state.clubs.get(club)?.has(user);

/** Returns the definitions that match the name of a channel. */
export function definitions({ channels }: ModelState, name: string): readonly Channel[] {
  const parts = name.split("/");
  const fits = (pattern: readonly string[]) =>
    pattern.length === parts.length && pattern.every((part, n) => part.startsWith(":") || part === parts[n]);
  return channels.filter(({ pattern }) => fits(pattern.split("/")));
}

export const exists = (state: ModelState, channel: string): boolean => definitions(state, channel).length > 0;

/** Checks the rules of a channel only, not the data of the app. */
export const passesChannel = (state: ModelState, user: string | null, channel: string): boolean =>
  exists(state, channel) && definitions(state, channel).every(({ rule }) => passes(state, user, rule));

export const canJoin = (state: ModelState, user: string | null, channel: string): boolean =>
  passesChannel(state, user, channel) &&
  definitions(state, channel).every(({ hook }) => !hook || isIn(state, user, channel));

export const canSend = (state: ModelState, user: string | null, channel: string): boolean =>
  canJoin(state, user, channel) &&
  definitions(state, channel).every(({ send }) => !send || passes(state, user, { any: send }));

export const isYoung = ({ now }: ModelState, { since }: Socket): boolean => since > now - OLDEST_SOCKET_MS;
export const isLive = (state: ModelState, socket: Socket): boolean => socket.open && isYoung(state, socket);

export function isAddressed(state: ModelState, socket: Socket, to: Audience): boolean {
  if (!isLive(state, socket)) return false;
  if (to === "everyone") return true;
  if ("channel" in to) return socket.channels.includes(to.channel);
  if ("user" in to) return socket.user === to.user;
  if ("connectionId" in to) return socket.id === to.connectionId;
  return has(state, socket.user, to.permission);
}

/** Checks whether an addressed socket is allowed to receive a message now. */
export function canReceive(state: ModelState, { user, view }: Socket, to: Audience, required: Rule): boolean {
  if (!canUseView(state, user, view) || !passes(state, user, required)) return false;
  if (to === "everyone" || !("channel" in to)) return true;
  if (!passesChannel(state, user, to.channel)) return false;
  return definitions(state, to.channel).every(
    ({ hook }) => hook !== "receiving" || isIn(state, user, to.channel),
  );
}
