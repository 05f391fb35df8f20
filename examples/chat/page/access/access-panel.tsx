import { Accordion, Alert, ScrollArea, Stack, Text, Title } from "@mantine/core";
import { type AccessState, useAccess } from "../api/access.ts";
import { PeopleIcon } from "../icons.tsx";
import { useLive } from "../live/live-provider.tsx";
import { PersonAvatar } from "../person-avatar.tsx";
import classes from "./access.module.css";
import { PersonAccess } from "./person-access.tsx";
import { SwitchRow } from "./switch-row.tsx";

/** The permissions of all people and groups, as switches. */
export function AccessPanel() {
  const { data, error } = useAccess();
  return (
    <Stack gap="xs" h="100%" component="section" aria-labelledby="access-title" data-testid="access">
      <Title order={2} size="h4" id="access-title">
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
        <Accordion multiple variant="separated" defaultValue={["Alice", "Mo"]} className={classes.people}>
          {data?.people.map((person) => (
            <Accordion.Item key={person.id} value={person.name} data-testid={`access-${person.name}`}>
              <Accordion.Control icon={<PersonAvatar name={person.name} size={28} />}>
                <Text size="sm" fw={600}>
                  {person.name}
                </Text>
                <Summary name={person.name} role={person.role} />
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

/** What the last change did to the sockets of a person, or the role of the person. */
function Summary({ name, role }: { readonly name: string; readonly role: string }) {
  const { entries } = useLive();
  const last = entries.find((entry) => entry.person === name && entry.kind !== "decision");
  return (
    <Text size="xs" c="dimmed" lh={1.2} data-testid="summary">
      {last?.kind === "closed" ? `socket closed after ${last.afterMs} ms` : role}
    </Text>
  );
}

function GroupItem({ group }: { readonly group: AccessState["groups"][number] }) {
  return (
    <Accordion.Item value={`group ${group.name}`} data-testid={`access-${group.name}`}>
      <Accordion.Control icon={<PeopleIcon size={20} />}>
        <Text size="sm" fw={600}>
          Group {group.name}
        </Text>
        <Text size="xs" c="dimmed" lh={1.2}>
          {group.members === 1 ? "1 member" : `${group.members} members`}
        </Text>
      </Accordion.Control>
      <Accordion.Panel>
        <Stack gap={2}>
          {group.permissions.map((permission) => (
            <SwitchRow
              key={permission.name}
              label={permission.label}
              of={`group ${group.name}`}
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
        </Stack>
      </Accordion.Panel>
    </Accordion.Item>
  );
}
