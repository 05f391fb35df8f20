import { Button, NativeSelect, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import type { EventSummary } from "../local/inspector/messages.ts";
import type { EventFilter } from "./event-filter.ts";
import { KIND_LABELS } from "./event-labels.ts";

interface FilterBarProps {
  readonly filter: EventFilter;
  readonly onFilter: (filter: EventFilter) => void;
  readonly events: Iterable<EventSummary>;
  readonly isPaused: boolean;
  readonly onPause: () => void;
  readonly onClear: () => void;
}

const KINDS = [
  { value: "all", label: "All events" },
  ...Object.entries(KIND_LABELS).map(([value, label]) => ({ value, label })),
];

/** The filters of the events, and the buttons Pause and Clear. */
export function FilterBar({ filter, onFilter, events, isPaused, onPause, onClear }: FilterBarProps) {
  const set = (changes: Partial<EventFilter>) => onFilter({ ...filter, ...changes });
  const ids = new Set([filter.connectionId, ...[...events].map(({ connectionId }) => connectionId)]);
  ids.delete("");
  const [isOpen, setOpen] = useState(false);
  const activeCount = [
    filter.text !== "",
    filter.kind !== "all",
    filter.connectionId !== "",
    filter.onlyFailures,
  ].filter(Boolean).length;
  return (
    <search className="bar" aria-label="Filters">
      <Button
        size="xs"
        variant="default"
        className="filters-button"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        Filters{activeCount > 0 ? ` (${activeCount})` : ""}
      </Button>
      <div className={isOpen ? "filters open" : "filters"}>
        <TextInput
          size="xs"
          type="search"
          aria-label="Search"
          placeholder="Search"
          className="search"
          value={filter.text}
          onChange={({ currentTarget }) => set({ text: currentTarget.value })}
        />
        <NativeSelect
          size="xs"
          aria-label="Kind of event"
          data={KINDS}
          value={filter.kind}
          onChange={({ currentTarget }) => set({ kind: currentTarget.value as EventFilter["kind"] })}
        />
        <NativeSelect
          size="xs"
          aria-label="Connection"
          data={[{ value: "", label: "All connections" }, ...ids]}
          value={filter.connectionId}
          onChange={({ currentTarget }) => set({ connectionId: currentTarget.value })}
        />
        <Switch
          size="xs"
          label="Only failures"
          checked={filter.onlyFailures}
          onChange={({ currentTarget }) => set({ onlyFailures: currentTarget.checked })}
        />
      </div>
      <span className="buttons">
        <Button size="xs" variant="default" aria-pressed={isPaused} onClick={onPause}>
          {isPaused ? "Resume" : "Pause"}
        </Button>
        <Button size="xs" variant="default" onClick={onClear}>
          Clear
        </Button>
      </span>
    </search>
  );
}
