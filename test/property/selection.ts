import { type Audience, type Change, type Holder, isLive, type ModelState } from "./model.ts";
import type { AudienceDraft } from "./steps.ts";

/** Returns the channels that have at least one live socket. */
export function joinedChannels(state: ModelState): readonly string[] {
  return [
    ...new Set(state.sockets.filter((socket) => isLive(state, socket)).flatMap(({ channels }) => channels)),
  ];
}

/** Resolves an audience of a scenario to an audience of the app. */
export function audienceOf(state: ModelState, to: AudienceDraft): Audience {
  if (to === "everyone") return to;
  if ("joined" in to) return { channel: itemAt(joinedChannels(state), to.joined) ?? "lobby" };
  if ("socket" in to) return { connectionId: itemAt(state.sockets, to.socket)?.id ?? "no-such-socket" };
  return to;
}

/** Returns an item of a list. The number wraps around at the end of the list. */
export function itemAt<Item>(list: readonly Item[], number: number): Item | undefined {
  return list[number % Math.max(1, list.length)];
}

/** Returns a change for each grant and each membership that can be removed. */
export function removals({ people, groups }: ModelState): Change[] {
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
