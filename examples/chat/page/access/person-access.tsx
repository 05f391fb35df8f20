import { Stack, Text } from "@mantine/core";
import type { AccessState } from "../api/access.ts";
import { SwitchRow } from "./switch-row.tsx";

type Person = AccessState["people"][number];

function throughGroups({ groups, isGranted }: Person["permissions"][number]): string | undefined {
  if (groups.length === 0) return undefined;
  return `${isGranted ? "also" : "has it"} through ${groups.join(", ")}`;
}

/** The switches of a person. */
export function PersonAccess({ person }: { readonly person: Person }) {
  const { id, name, permissions, groups, isSuperuser, isBookClubMember } = person;
  return (
    <Stack gap={2}>
      {permissions.map((permission) => (
        <SwitchRow
          key={permission.name}
          label={permission.label}
          of={name}
          isOn={permission.isGranted}
          until={permission.until}
          note={throughGroups(permission)}
          isTimed
          change={(isOn, seconds) => ({
            kind: "permission",
            holder: { user: id },
            permission: permission.name,
            isOn,
            seconds,
          })}
        />
      ))}
      {groups.map((group) => (
        <SwitchRow
          key={group.name}
          label={`Group ${group.name}`}
          of={name}
          isOn={group.isMember}
          until={group.until}
          isTimed
          change={(isOn, seconds) => ({ kind: "group", user: id, group: group.name, isOn, seconds })}
        />
      ))}
      <SwitchRow
        label="Member of the book club"
        of={name}
        isOn={isBookClubMember}
        note="data of the app"
        change={(isOn) => ({ kind: "book-club", user: id, isOn })}
      />
      <SwitchRow
        label="Superuser"
        of={name}
        isOn={isSuperuser}
        change={(isOn) => ({ kind: "superuser", user: id, isOn })}
      />
      {isSuperuser && (
        <Text size="xs" c="dimmed">
          A superuser has every permission. The book club still checks its members.
        </Text>
      )}
    </Stack>
  );
}
