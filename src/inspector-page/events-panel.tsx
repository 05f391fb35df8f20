import { Button } from "@mantine/core";
import { useCallback, useMemo, useState } from "react";
import { sendCommand } from "./commands.ts";
import { EventDetailsView } from "./event-details.tsx";
import { type EventFilter, filterEvents, NO_FILTER } from "./event-filter.ts";
import { EventTable } from "./event-table.tsx";
import type { FeedState } from "./feed-state.ts";
import { FilterBar } from "./filter-bar.tsx";
import { HeldRows } from "./held-rows.tsx";
import { SplitView } from "./split-view.tsx";

interface EventsPanelProps {
  readonly state: FeedState;
  readonly filter: EventFilter;
  readonly onFilter: (filter: EventFilter) => void;
}

/** The events of the gateway with their filters. */
export function EventsPanel({ state, filter, onFilter }: EventsPanelProps) {
  const [selectedId, setSelectedId] = useState<number>();
  const [paused, setPaused] = useState<FeedState["events"]>();
  const events = paused ?? state.events;
  const shown = useMemo(() => filterEvents(events.values(), filter), [events, filter]);
  const selected = selectedId === undefined ? undefined : events.get(selectedId);
  const close = useCallback(() => setSelectedId(undefined), []);
  const clear = () => {
    setPaused(undefined);
    close();
    void sendCommand("clear");
  };
  return (
    <>
      <FilterBar
        filter={filter}
        onFilter={onFilter}
        events={events.values()}
        isPaused={paused !== undefined}
        onPause={() => setPaused(paused ? undefined : state.events)}
        onClear={clear}
      />
      {paused && <p className="note">The list is paused. The gateway still records events.</p>}
      <SplitView
        title="Event"
        onClose={close}
        details={
          selected && (
            <EventDetailsView
              key={selected.id}
              event={selected}
              onFilterConnection={(connectionId) => onFilter({ ...NO_FILTER, connectionId })}
            />
          )
        }
      >
        {shown.length > 0 ? (
          <HeldRows events={shown} newestId={[...events.keys()].at(-1) ?? 0}>
            {(held) => <EventTable events={held} selectedId={selectedId} onSelect={setSelectedId} />}
          </HeldRows>
        ) : (
          <NoEvents url={state.url} hasEvents={events.size > 0} onReset={() => onFilter(NO_FILTER)} />
        )}
      </SplitView>
    </>
  );
}

interface NoEventsProps {
  readonly url: string;
  readonly hasEvents: boolean;
  readonly onReset: () => void;
}

function NoEvents({ url, hasEvents, onReset }: NoEventsProps) {
  if (hasEvents)
    return (
      <div className="empty">
        <p>No event matches the filters.</p>
        <Button size="xs" variant="default" onClick={onReset}>
          Remove the filters
        </Button>
      </div>
    );
  return (
    <div className="empty">
      <h2>No events yet</h2>
      <p>
        Connect a client to <code>{url}</code>. Each connect, message and disconnect then appears here, with
        the request to your backend and its response.
      </p>
      <p>To connect from a terminal, run:</p>
      <pre>npx wscat -c {url}</pre>
    </div>
  );
}
