import { Text } from "@mantine/core";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { NoAccess } from "./no-access.tsx";
import { WhyLocked } from "./why-locked.tsx";

/** A room that the person cannot enter. It opens by itself when access is granted. */
export function LockedRoom({ room, me }: { readonly room: RoomState; readonly me: Me }) {
  return (
    <NoAccess title={`${room.title} is locked`}>
      <Text size="sm">{needsOf(room, me)}</Text>
      <Text size="sm" c="dimmed">
        The room opens by itself when {me.name} gets access.
      </Text>
      <WhyLocked room={room} person={me.name} />
    </NoAccess>
  );
}

/** Says what the person needs to enter. */
function needsOf({ title, missing, needsMembership }: RoomState, { name, isSuperuser }: Me): string {
  const place = `the ${title.toLowerCase()}`;
  if (isSuperuser) return `Superusers still need to be members of ${place}.`;
  const permissions = missing.map((label) => `“${label}”`).join(" and ");
  if (!needsMembership) return `${name} needs ${permissions}.`;
  const membership = `to be a member of ${place}`;
  return `${name} needs ${permissions ? `${permissions}, and ` : ""}${membership}.`;
}
