import { Text } from "@mantine/core";
import type { RoomState } from "../../src/people-routes.ts";
import { NoAccess } from "./no-access.tsx";

/** A room that the person cannot enter. It opens by itself when access is granted. */
export function LockedRoom({ room, person }: { readonly room: RoomState; readonly person: string }) {
  return (
    <NoAccess title={`${room.title} is locked`}>
      <Text size="sm" c="dimmed">
        {room.note ? `${room.note}. ` : ""}The room opens by itself when {person} gets access.
      </Text>
    </NoAccess>
  );
}
