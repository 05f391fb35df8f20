import { Group, Text } from "@mantine/core";
import { PersonAvatar } from "../person-avatar.tsx";

interface Props {
  readonly name: string;
  readonly role: string;
}

/** A person to sign in as, with the role on a second line. */
export function PersonLabel({ name, role }: Props) {
  return (
    <Group gap={10} wrap="nowrap" component="span">
      <PersonAvatar name={name} size={28} />
      <span>
        <Text span size="sm" fw={600} lh={1.3} display="block">
          {name}
        </Text>{" "}
        <Text span size="xs" c="dimmed" lh={1.3} display="block">
          {role}
        </Text>
      </span>
    </Group>
  );
}
