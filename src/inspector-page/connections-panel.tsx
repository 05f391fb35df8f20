import { useCallback, useState } from "react";
import type { ConnectionRow, OpenConnections } from "../local/inspector/messages.ts";
import { ConnectionActions } from "./connection-actions.tsx";
import { Pair } from "./event-details.tsx";
import { timeLabel } from "./event-labels.ts";
import { listKeys } from "./list-keys.ts";
import { SplitView } from "./split-view.tsx";
import { userAgentLabel } from "./user-agent-label.ts";

interface ConnectionsPanelProps {
  readonly connections: OpenConnections;
  readonly url: string;
  readonly onShowEvents: (connectionId: string) => void;
}

/** The open connections, and what can be done with the selected one. */
export function ConnectionsPanel({ connections, url, onShowEvents }: ConnectionsPanelProps) {
  const { rows, count } = connections;
  const [selectedId, setSelectedId] = useState<string>();
  const selected = rows.find(({ id }) => id === selectedId);
  const close = useCallback(() => setSelectedId(undefined), []);
  return (
    <SplitView
      title="Connection"
      onClose={close}
      details={selected && <ConnectionView key={selected.id} row={selected} onShowEvents={onShowEvents} />}
    >
      {count > rows.length && (
        <p className="note">
          The newest {rows.length} of {count} connections are shown.
        </p>
      )}
      {rows.length > 0 ? (
        <ConnectionTable rows={rows} selectedId={selectedId} onSelect={setSelectedId} />
      ) : (
        <div className="empty">
          <h2>No open connections</h2>
          <p>
            Connect a client to <code>{url}</code>. You can then send messages to it, close its connection,
            and simulate faults of its network.
          </p>
        </div>
      )}
    </SplitView>
  );
}

function ConnectionView({
  row,
  onShowEvents,
}: {
  readonly row: ConnectionRow;
  readonly onShowEvents: (connectionId: string) => void;
}) {
  return (
    <>
      <dl className="pairs">
        <Pair name="Id">
          {row.id}{" "}
          <button type="button" className="link-button" onClick={() => onShowEvents(row.id)}>
            Show its events
          </button>
        </Pair>
        <Pair name="API and stage">
          {row.apiId} {row.stage}
        </Pair>
        <Pair name="Source IP">{row.sourceIp}</Pair>
        <Pair name="User agent">{row.userAgent || "none"}</Pair>
        <Pair name="Connected">{timeLabel(row.connectedAt)}</Pair>
        <Pair name="Last active">{timeLabel(row.lastActiveAt)}</Pair>
        <Pair name="Messages">
          {row.received} in, {row.sent} out
        </Pair>
      </dl>
      <ConnectionActions row={row} />
    </>
  );
}

interface ConnectionTableProps {
  readonly rows: readonly ConnectionRow[];
  readonly selectedId: string | undefined;
  readonly onSelect: (id: string) => void;
}

function ConnectionTable({ rows, selectedId, onSelect }: ConnectionTableProps) {
  // A column in which all rows are equal contains no information.
  const hasStages = new Set(rows.map(({ apiId, stage }) => `${apiId}/${stage}`)).size > 1;
  const hasSources = new Set(rows.map(({ sourceIp }) => sourceIp)).size > 1;
  const selected = rows.findIndex(({ id }) => id === selectedId);
  const onKeyDown = listKeys((index) => {
    const row = rows[index];
    if (row) onSelect(row.id);
  });
  return (
    // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: rows of a grid can be selected
    <table role="grid" aria-label="Connections" className="grid connections" onKeyDown={onKeyDown}>
      <thead>
        <tr>
          <th scope="col" className="connection">
            Connection
          </th>
          {hasStages && (
            <th scope="col" className="stage">
              Stage
            </th>
          )}
          {hasSources && (
            <th scope="col" className="source">
              Source IP
            </th>
          )}
          <th scope="col" className="agent">
            User agent
          </th>
          <th scope="col" className="time">
            Connected
          </th>
          <th scope="col" className="time active">
            Last active
          </th>
          <th scope="col" className="messages">
            In / out
          </th>
          <th scope="col" className="fault">
            Network
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, index) => (
          <tr
            key={row.id}
            data-row
            aria-selected={row.id === selectedId}
            tabIndex={index === Math.max(selected, 0) ? 0 : -1}
            onClick={() => onSelect(row.id)}
          >
            <td className="connection">{row.id}</td>
            {hasStages && <td className="stage">{row.stage}</td>}
            {hasSources && <td className="source">{row.sourceIp}</td>}
            <td className="agent">{userAgentLabel(row.userAgent) || "none"}</td>
            <td className="time">{timeLabel(row.connectedAt)}</td>
            <td className="time active">{timeLabel(row.lastActiveAt)}</td>
            <td className="messages">
              {row.received} / {row.sent}
            </td>
            <td className="fault">
              <span className={`status ${row.fault === "none" ? "success" : "failure"}`}>
                {row.fault === "none" ? "ok" : row.fault}
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
