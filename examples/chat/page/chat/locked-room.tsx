import { Stack, Text } from "@mantine/core";
import type { RoomState } from "../../src/people-routes.ts";
import { LockIcon } from "../icons.tsx";

/** A room that the person cannot enter. It opens by itself when access is granted. */
export function LockedRoom({ room, person }: { readonly room: RoomState; readonly person: string }) {
  return (
    <Stack flex={1} align="center" justify="center" gap={6} p="lg" ta="center" data-testid="locked-room">
      <LockIcon size={32} />
      <Text fw={600}>{room.title} is locked</Text>
      <Text size="sm" c="dimmed">
        {room.note ? `${room.note}. ` : ""}The room opens by itself when {person} gets access.
      </Text>
    </Stack>
  );
}
