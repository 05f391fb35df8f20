import { memo } from "react";
import type { EventSummary } from "../local/inspector/messages.ts";
import { answerLabel, type ContentLabel, contentLabel } from "./content-label.ts";
import {
  durationLabel,
  faultLabels,
  KIND_LABELS,
  statusClass,
  statusLabel,
  timeLabel,
} from "./event-labels.ts";
import { listKeys } from "./list-keys.ts";

interface EventTableProps {
  readonly events: readonly EventSummary[];
  readonly selectedId: number | undefined;
  readonly onSelect: (id: number) => void;
}

/** The list of events. The arrow keys select a row. */
export function EventTable({ events, selectedId, onSelect }: EventTableProps) {
  const selected = events.findIndex(({ id }) => id === selectedId);
  const onKeyDown = listKeys((index) => {
    const event = events[index];
    if (event) onSelect(event.id);
  });
  return (
    // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: rows of a grid can be selected
    <table role="grid" aria-label="Events" className="grid events" onKeyDown={onKeyDown}>
      <thead>
        <tr>
          <th scope="col" className="time">
            Time
          </th>
          <th scope="col" className="kind">
            Event
          </th>
          <th scope="col" className="route">
            Route
          </th>
          <th scope="col" className="connection">
            Connection
          </th>
          <th scope="col" className="status-column">
            Status
          </th>
          <th scope="col" className="duration">
            Duration
          </th>
          <th scope="col" className="content">
            Content
          </th>
        </tr>
      </thead>
      <tbody>
        {events.map((event, index) => (
          <EventRow
            key={event.id}
            event={event}
            isSelected={event.id === selectedId}
            isTabStop={index === Math.max(selected, 0)}
            onSelect={onSelect}
          />
        ))}
      </tbody>
    </table>
  );
}

interface EventRowProps {
  readonly event: EventSummary;
  readonly isSelected: boolean;
  readonly isTabStop: boolean;
  readonly onSelect: (id: number) => void;
}

/** A row renders again only if its own event changes, so that 500 rows stay fast. */
const EventRow = memo(function EventRow({ event, isSelected, isTabStop, onSelect }: EventRowProps) {
  const faults = faultLabels(event);
  const answer = answerLabel(event);
  return (
    <tr
      data-row
      aria-selected={isSelected}
      tabIndex={isTabStop ? 0 : -1}
      className={statusClass(event)}
      onClick={() => onSelect(event.id)}
    >
      <td className="time">{timeLabel(event.at)}</td>
      <td className={`kind ${event.kind}`}>{KIND_LABELS[event.kind]}</td>
      <td className="route">{event.routeKey}</td>
      <td className="connection">{event.connectionId}</td>
      <td className="status-column">
        <span className={`status ${statusClass(event)}`}>{statusLabel(event)}</span>
        {faults.length > 0 && <span className="fault-mark">fault</span>}
      </td>
      <td className="duration">{durationLabel(event.tookMs)}</td>
      <td className="content">
        <Content {...contentLabel(event)} />
        {answer && (
          <span className="answer">
            {" → "}
            <Content {...answer} />
          </span>
        )}
        {faults.length > 0 && (
          <span className="fault-words">{faults.map(({ label }) => label).join(", ")}</span>
        )}
      </td>
    </tr>
  );
});

function Content({ lead, rest }: ContentLabel) {
  if (lead === "") return rest;
  return (
    <>
      <b>{lead}</b>
      {rest !== "" && ` ${rest}`}
    </>
  );
}
