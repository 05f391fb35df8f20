import type { EventSummary, FaultState, FeedMessage, OpenConnections } from "../local/inspector/messages.ts";

/** The state of the gateway, as the page has received it. */
export interface FeedState {
  readonly url: string;
  /** The events by id, oldest first. */
  readonly events: ReadonlyMap<number, EventSummary>;
  readonly connections: OpenConnections;
  readonly faults: FaultState;
}

export const EMPTY_FEED: FeedState = {
  url: "",
  events: new Map(),
  connections: { rows: [], count: 0 },
  faults: {},
};

/** Returns the state after a message of the event stream. */
export function applyMessage(state: FeedState, message: FeedMessage): FeedState {
  if (message.type === "superseded") return state;
  if (message.type === "snapshot") {
    const { url, events, connections, faults } = message;
    return { url, events: new Map(events.map((event) => [event.id, event])), connections, faults };
  }
  return {
    url: state.url,
    events: changedEvents(state.events, message.events, message.oldestId),
    connections: message.connections ?? state.connections,
    faults: message.faults ?? state.faults,
  };
}

function changedEvents(
  events: FeedState["events"],
  changes: readonly EventSummary[],
  oldestId: number,
): FeedState["events"] {
  if (changes.length === 0) return events;
  const changed = new Map([...events].filter(([id]) => id >= oldestId));
  for (const event of changes) changed.set(event.id, event);
  return changed;
}
