import { Accordion, Alert, Avatar, ScrollArea, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { type AccessState, useAccess } from "../api/access.ts";
import { useConnectionOf } from "../api/connections.ts";
import { useMe } from "../api/people.ts";
import { PeopleIcon } from "../icons.tsx";
import { useClosed } from "../live/live-provider.tsx";
import { PersonAvatar } from "../person-avatar.tsx";
import classes from "./access.module.css";
import { PersonAccess } from "./person-access.tsx";
import { SwitchRow } from "./switch-row.tsx";

type Person = AccessState["people"][number];
type Group = AccessState["groups"][number];

/** The permissions of all people and groups, as switches. */
export function AccessPanel() {
  const { data, error } = useAccess();
  const signedIn = useSignedIn();
  const [opened, setOpened] = useOpened(signedIn);
  const isSignedIn = ({ id }: Person) => signedIn.includes(id);
  const people = [
    ...signedIn.flatMap((id) => data?.people.filter((person) => person.id === id) ?? []),
    ...(data?.people.filter((person) => !isSignedIn(person)) ?? []),
  ];
  return (
    <Stack gap="xs" h="100%" component="section" aria-labelledby="access-title" data-testid="access">
      <Title order={2} size="h4" id="access-title" className={classes.title}>
        Access
      </Title>
      {error && (
        <Alert color="red" role="alert">
          {error.message}
        </Alert>
      )}
      <ScrollArea
        flex={1}
        type="auto"
        scrollbarSize={6}
        offsetScrollbars="y"
        viewportProps={{ tabIndex: 0, "aria-label": "People and groups" }}
      >
        <Accordion
          multiple
          variant="separated"
          value={[...opened]}
          onChange={setOpened}
          className={classes.people}
        >
          {people.map((person) => (
            <Accordion.Item key={person.id} value={person.id} data-testid={`access-${person.name}`}>
              <Accordion.Control icon={<PersonAvatar name={person.name} size={28} />}>
                <Text size="sm" fw={600}>
                  {person.name}
                </Text>
                <Summary person={person} />
              </Accordion.Control>
              <Accordion.Panel>
                <PersonAccess person={person} />
              </Accordion.Panel>
            </Accordion.Item>
          ))}
          {data?.groups.map((group) => (
            <GroupItem key={group.name} group={group} />
          ))}
        </Accordion>
      </ScrollArea>
    </Stack>
  );
}

/** Returns the ids of the people who are signed in on this page, the left one first. */
function useSignedIn(): readonly string[] {
  const ids = [useMe("left").data?.id, useMe("right").data?.id];
  return [...new Set(ids.filter((id) => id !== undefined))];
}

/** Returns the open cards. The card of a person opens when the person signs in, and then closes. */
function useOpened(signedIn: readonly string[]) {
  const [opened, setOpened] = useState<readonly string[]>([]);
  const [known, setKnown] = useState<readonly string[]>([]);
  if (known.join() !== signedIn.join()) {
    setKnown(signedIn);
    const kept = opened.filter((id) => !known.includes(id) || signedIn.includes(id));
    const added = signedIn.filter((id) => !known.includes(id) && !kept.includes(id));
    setOpened([...kept, ...added]);
  }
  return [opened, setOpened] as const;
}

/** Whether the person is connected, or has lost the connection, and the role of the person. */
function Summary({ person: { id, role } }: { readonly person: Person }) {
  const connection = useConnectionOf(id);
  const closed = useClosed(connection?.endedBy ?? "");
  const [shortRole = role] = role.split(",");
  return (
    <Text size="xs" c="dimmed" lh={1.2} data-testid="summary">
      {connection?.isOpen
        ? `${shortRole}, connected`
        : closed && connection?.endedBy
          ? `socket closed after ${closed.afterMs} ms`
          : role}
    </Text>
  );
}

function GroupItem({ group }: { readonly group: Group }) {
  return (
    <Accordion.Item value={`group ${group.name}`} data-testid={`access-${group.name}`}>
      <Accordion.Control
        icon={
          <Avatar size={28} radius="xl" color="gray" variant="light" aria-hidden>
            <PeopleIcon size={16} />
          </Avatar>
        }
      >
        <Text size="sm" fw={600}>
          Group: {group.name}
        </Text>
        <Text size="xs" c="dimmed" lh={1.2}>
          {group.members === 1 ? "1 member" : `${group.members} members`}
        </Text>
      </Accordion.Control>
      <Accordion.Panel>
        <div className={classes.rows}>
          {group.permissions.map((permission) => (
            <SwitchRow
              key={permission.name}
              label={permission.label}
              of={`group ${group.name}`}
              question={`Revoke “${permission.label}” from the group ${group.name}?`}
              isOn={permission.isGranted}
              until={permission.until}
              isTimed
              change={(isOn, seconds) => ({
                kind: "permission",
                holder: { group: group.name },
                permission: permission.name,
                isOn,
                seconds,
              })}
            />
          ))}
        </div>
      </Accordion.Panel>
    </Accordion.Item>
  );
}
