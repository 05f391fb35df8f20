import { Badge, Group, ScrollArea, SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { useCallback, useMemo, useState } from "react";
import { useGuide } from "../guide-progress.ts";
import { describe } from "./describe.ts";
import { Explanation } from "./explanation.tsx";
import classes from "./live.module.css";
import { LiveLine } from "./live-line.tsx";
import { useDecision, useLive, useLiveValue } from "./live-provider.tsx";
import type { LiveEntry } from "./live-store.ts";
import { rowsOf } from "./rows.ts";

type Filter = "all" | "changes";

/** Every event, decision and change, newest first. */
export function LivePanel() {
  const [filter, setFilter] = useState<Filter>("all");
  const [reference, explain] = useState<string>();
  const { complete } = useGuide();
  const explained = useDecision(reference ?? "");
  const open = useCallback(
    (chosen: string) => {
      complete("line");
      explain(chosen);
    },
    [complete],
  );
  return (
    <Stack gap="xs" h="100%" component="section" aria-labelledby="live-title" data-testid="live">
      <Group justify="space-between" wrap="nowrap">
        <Title order={2} size="h4" id="live-title">
          Live
        </Title>
        <StreamStatus />
      </Group>
      <SegmentedControl
        size="xs"
        fullWidth
        aria-label="Entries to show"
        value={filter}
        onChange={(value) => setFilter(value as Filter)}
        data={[
          { value: "all", label: "Everything" },
          { value: "changes", label: "Changes and denials" },
        ]}
      />
      <ScrollArea
        flex={1}
        mih={0}
        type="auto"
        scrollbarSize={6}
        offsetScrollbars="y"
        viewportProps={{ tabIndex: 0, "aria-label": "Live entries" }}
      >
        <Lines filter={filter} onExplain={open} />
      </ScrollArea>
      <Explanation entry={explained} onClose={() => explain(undefined)} />
    </Stack>
  );
}

interface LinesProps {
  readonly filter: Filter;
  readonly onExplain: (reference: string) => void;
}

function Lines({ filter, onExplain }: LinesProps) {
  const { entries } = useLive();
  const rows = useMemo(
    () => rowsOf(filter === "all" ? entries : entries.filter(isChangeOrDenial)),
    [entries, filter],
  );
  if (rows.length === 0)
    return (
      <Text c="dimmed" size="sm" p="xs">
        Each event of the gateway and each decision about it appears here.
      </Text>
    );
  return (
    <ol className={classes.lines}>
      {rows.map((row) => (
        <LiveLine key={row.id} {...row} onExplain={onExplain} />
      ))}
    </ol>
  );
}

function isChangeOrDenial(entry: LiveEntry): boolean {
  return entry.kind === "decision" ? describe(entry).tone !== "allowed" : entry.kind !== "disconnected";
}

/** A dot while the stream is open. Otherwise, a badge with the reason. */
function StreamStatus() {
  const state = useLiveValue((store) => store.state);
  return (
    <div role="status">
      {state === "live" ? (
        <Text span size="xs" className={classes.status}>
          live
        </Text>
      ) : (
        <Badge color="orange" variant="light">
          {STATES[state]}
        </Badge>
      )}
    </div>
  );
}

const STATES = {
  connecting: "connecting",
  stopped: "no server",
  superseded: "too many tabs, reload",
} as const;
