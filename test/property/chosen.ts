import { type Audience, type Change, type Facts, type Holder, isLive } from "./oracle.ts";
import type { Wanted } from "./steps.ts";

/** Channels that any live socket is in. */
export function joinedChannels(facts: Facts): readonly string[] {
  return [
    ...new Set(facts.sockets.filter((socket) => isLive(facts, socket)).flatMap(({ channels }) => channels)),
  ];
}

/** An audience, once it is known which sockets there are. */
export function audienceOf(facts: Facts, to: Wanted): Audience {
  if (to === "everyone") return to;
  if ("joined" in to) return { channel: counted(joinedChannels(facts), to.joined) ?? "lobby" };
  if ("socket" in to) return { connectionId: counted(facts.sockets, to.socket)?.id ?? "nobody-at-all" };
  return to;
}

/** One of a list that may be shorter than the number. */
export function counted<Item>(list: readonly Item[], number: number): Item | undefined {
  return list[number % Math.max(1, list.length)];
}

/** Everything that can be taken back. */
export function takeable({ people, groups }: Facts): Change[] {
  const revokes = (holder: Holder, grants: Map<string, unknown>): Change[] =>
    [...grants.keys()].map((permission) => ({ kind: "revoke", holder, permission }));
  return [
    ...[...people].flatMap(([user, { grants }]) => revokes(user, grants)),
    ...[...groups].flatMap(([group, grants]) => revokes({ group }, grants)),
    ...[...people].flatMap(([user, person]) =>
      [...person.groups.keys()].map((group): Change => ({ kind: "remove-from-group", user, group })),
    ),
  ];
}
