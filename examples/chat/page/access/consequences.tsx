import { Button, Group, List, Stack, Text } from "@mantine/core";
import { type Consequence, type Switch, usePreview } from "../api/access.ts";

interface Props {
  /** The switch in the position that it would get. */
  readonly change: Switch;
  readonly onConfirm: () => void;
  readonly onCancel: () => void;
}

/** What a change would end, before it is made. */
export function Consequences({ change, onConfirm, onCancel }: Props) {
  const { data, error } = usePreview(change, { isEnabled: true });
  return (
    <Stack gap="xs" role="status" data-testid="preview">
      <Text size="sm" fw={600}>
        What this ends
      </Text>
      {error && <Text size="sm">{error.message}</Text>}
      {data && (
        <List size="sm" spacing={4}>
          {data.flatMap(sentences).map((sentence) => (
            <List.Item key={sentence}>{sentence}</List.Item>
          ))}
          {data.length === 0 && <List.Item>Nobody loses access.</List.Item>}
        </List>
      )}
      <Group gap="xs" justify="flex-end">
        <Button size="xs" variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button size="xs" color="red.9" data-autofocus onClick={onConfirm} data-testid="confirm">
          Revoke
        </Button>
      </Group>
    </Stack>
  );
}

function sentences({ person, loses, closedConnections, leftRooms }: Consequence): string[] {
  return [
    ...(loses.length > 0 ? [`${person} loses ${loses.map((label) => `“${label}”`).join(" and ")}.`] : []),
    ...(closedConnections > 0
      ? [
          `${closedConnections === 1 ? "One socket" : `${closedConnections} sockets`} of ${person} will be closed.`,
        ]
      : []),
    ...leftRooms.map((room) => `${person} leaves the room ${room}.`),
  ];
}
