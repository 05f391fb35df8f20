import type { EventKind, EventSummary } from "../local/inspector/messages.ts";

export interface EventFilter {
  readonly kind: EventKind | "all";
  /** The id of a connection, or "" for all. */
  readonly connectionId: string;
  readonly onlyFailures: boolean;
  readonly text: string;
}

export const NO_FILTER: EventFilter = { kind: "all", connectionId: "", onlyFailures: false, text: "" };

/** Returns the events that match a filter, newest first. */
export function filterEvents(
  events: Iterable<EventSummary>,
  { kind, connectionId, onlyFailures, text }: EventFilter,
): readonly EventSummary[] {
  const wanted = text.trim().toLowerCase();
  return [...events]
    .filter(
      (event) =>
        (kind === "all" || event.kind === kind) &&
        (connectionId === "" || event.connectionId === connectionId) &&
        (!onlyFailures || isFailure(event)) &&
        (wanted === "" || searchText(event).includes(wanted)),
    )
    .reverse();
}

/** Returns whether an event was not handled as expected. A client without a route is not a failure. */
export function isFailure({ kind, outcome, status }: EventSummary): boolean {
  if (outcome === "pending") return false;
  if (outcome === "no route") return kind === "message";
  return outcome !== "answered" || (status ?? 0) < 200 || (status ?? 0) >= 300;
}

function searchText(event: EventSummary): string {
  const { kind, routeKey, stage, connectionId, outcome, status, preview, answerPreview } = event;
  return [kind, routeKey, stage, connectionId, outcome, status, preview, answerPreview]
    .join("\n")
    .toLowerCase();
}
