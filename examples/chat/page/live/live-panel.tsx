import { Badge, Group, ScrollArea, SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { describe } from "./describe.ts";
import { Explanation } from "./explanation.tsx";
import { grouped } from "./grouped.ts";
import { LiveLine } from "./live-line.tsx";
import { type DecisionEntry, type LiveEntry, useLive } from "./live-provider.tsx";

type Filter = "all" | "denied";

/** Every event, decision and change, newest first. */
export function LivePanel() {
  const { entries, isConnected } = useLive();
  const [filter, setFilter] = useState<Filter>("all");
  const [explained, explain] = useState<DecisionEntry>();
  const shown = filter === "all" ? entries : entries.filter((entry) => isDenied(entry));
  return (
    <Stack gap="xs" h="100%" component="section" aria-labelledby="live-title" data-testid="live">
      <Group justify="space-between" wrap="nowrap">
        <Title order={2} size="h4" id="live-title">
          Live
        </Title>
        <Badge color={isConnected ? "harbor" : "gray"} variant="light" role="status">
          {isConnected ? "connected" : "no server"}
        </Badge>
      </Group>
      <SegmentedControl
        size="xs"
        fullWidth
        aria-label="Entries to show"
        value={filter}
        onChange={(value) => setFilter(value as Filter)}
        data={[
          { value: "all", label: "Everything" },
          { value: "denied", label: "Denied and ended" },
        ]}
      />
      <ScrollArea
        flex={1}
        type="auto"
        scrollbarSize={6}
        offsetScrollbars="y"
        viewportProps={{ tabIndex: 0, "aria-label": "Live entries" }}
      >
        {shown.length === 0 && (
          <Text c="dimmed" size="sm" p="xs">
            Each event of the gateway and each decision about it appears here.
          </Text>
        )}
        <Stack component="ol" gap={2} p={0} m={0} style={{ listStyle: "none" }}>
          {grouped(shown).map(({ entry, count }) => (
            <LiveLine key={entry.id} entry={entry} count={count} onExplain={explain} />
          ))}
        </Stack>
      </ScrollArea>
      <Explanation entry={explained} onClose={() => explain(undefined)} />
    </Stack>
  );
}

function isDenied(entry: LiveEntry): boolean {
  return describe(entry).tone !== "allowed";
}
