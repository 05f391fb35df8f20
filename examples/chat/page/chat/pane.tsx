import { Group, Paper, Skeleton, Stack, Text } from "@mantine/core";
import { useState } from "react";
import type { Pane as PaneName } from "../../src/panes.ts";
import type { Me } from "../../src/people-routes.ts";
import { useConfig, useMe } from "../api/people.ts";
import classes from "./chat.module.css";
import { ConnectionBadge } from "./connection-badge.tsx";
import { LockedRoom } from "./locked-room.tsx";
import { PersonMenu } from "./person-menu.tsx";
import { Room } from "./room.tsx";
import { RoomList } from "./room-list.tsx";
import { SignIn } from "./sign-in.tsx";
import { SallyportProvider, VIEW } from "./socket.ts";
import { useFirstSignIn } from "./use-first-sign-in.ts";

interface Props {
  readonly pane: PaneName;
  /** Who is signed in here when the page is opened for the first time. */
  readonly firstEmail: string;
}

/** The chat of one person. */
export function Pane({ pane, firstEmail }: Props) {
  const me = useMe(pane);
  const config = useConfig();
  const isSigningIn = useFirstSignIn(pane, firstEmail, me.data);
  const error = me.error ?? config.error;
  return (
    <Paper
      component="section"
      aria-label={me.data ? `The chat of ${me.data.name}` : `The ${pane} chat`}
      withBorder
      className={classes.pane}
      data-testid={`pane-${pane}`}
    >
      {me.data && config.data ? (
        <PersonPane key={me.data.id} pane={pane} me={me.data} gatewayUrl={config.data.gatewayUrl} />
      ) : error ? (
        <Text p="lg" role="alert">
          {error.message}
        </Text>
      ) : me.data === null && !isSigningIn ? (
        <SignIn pane={pane} />
      ) : (
        <Skeleton flex={1} m="sm" />
      )}
    </Paper>
  );
}

function PersonPane({
  pane,
  me,
  gatewayUrl,
}: {
  readonly pane: PaneName;
  readonly me: Me;
  readonly gatewayUrl: string;
}) {
  const [selected, select] = useState(me.rooms[0]?.slug);
  const [entered, enter] = useState(selected);
  const room = me.rooms.find(({ slug }) => slug === selected);
  // A locked room is shown, but the connection stays in the room before until it is unlocked.
  if (room && room.slug !== entered && !room.isLocked) enter(room.slug);
  if (!room || entered === undefined) return <Text p="lg">The chat has no rooms.</Text>;
  return (
    <SallyportProvider
      url={gatewayUrl}
      token={`/api/ws-token?pane=${pane}`}
      view={VIEW}
      channel={`rooms/${entered}`}
      keepAlive={{}}
    >
      <Stack gap={0} h="100%" mih={0}>
        <Group justify="space-between" wrap="nowrap" p="xs" pb={4}>
          <PersonMenu pane={pane} name={me.name} />
          <ConnectionBadge />
        </Group>
        <RoomList rooms={me.rooms} selected={room.slug} person={me.name} onSelect={select} />
        {room.slug === entered ? <Room me={me} room={room} /> : <LockedRoom room={room} person={me.name} />}
      </Stack>
    </SallyportProvider>
  );
}
