import { useEffect, useState } from "react";
import type {
  EventDetails,
  EventSummary,
  RecordedRequest,
  RecordedResponse,
} from "../local/inspector/messages.ts";
import { fetchDetails } from "./commands.ts";
import {
  durationLabel,
  faultLabels,
  KIND_LABELS,
  statusClass,
  statusLabel,
  timeLabel,
} from "./event-labels.ts";
import { HeaderList } from "./header-list.tsx";
import { SecretText } from "./secret-text.tsx";
import { urlParts } from "./secrets.ts";
import { TextBlock } from "./text-block.tsx";

interface EventDetailsProps {
  readonly event: EventSummary;
  readonly onFilterConnection: (connectionId: string) => void;
}

/** The request and the response of an event. They are loaded again when the event changes. */
export function EventDetailsView({ event, onFilterConnection }: EventDetailsProps) {
  const [details, setDetails] = useState<EventDetails>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    let isCurrent = true;
    void fetchDetails(event.id).then((result) => {
      if (!isCurrent) return;
      if (result.isDone) setDetails(result.body);
      else setProblem(result.problem);
    });
    return () => {
      isCurrent = false;
    };
  }, [event]);
  const faults = faultLabels(event);
  return (
    <>
      {faults.length > 0 && (
        <p className="note fault">
          <b>Injected fault:</b> {faults.map(({ effect }) => effect).join(", ")}.
        </p>
      )}
      <dl className="pairs">
        <Pair name="Status">
          <span className={`status ${statusClass(event)}`}>{statusLabel(event)}</span>{" "}
          {durationLabel(event.tookMs)}
        </Pair>
        <Pair name="Event">
          {KIND_LABELS[event.kind]} {event.routeKey}
        </Pair>
        <Pair name="Time">{timeLabel(event.at)}</Pair>
        <Pair name="Stage">{event.stage || "none"}</Pair>
        {event.connectionId !== "" && (
          <Pair name="Connection">
            {event.connectionId}{" "}
            <button
              type="button"
              className="link-button"
              onClick={() => onFilterConnection(event.connectionId)}
            >
              Show only its events
            </button>
          </Pair>
        )}
        {event.kind === "disconnect" && <Pair name="Close code">{event.preview}</Pair>}
        {event.outcome === "rejected" && <Pair name="Path">{event.preview}</Pair>}
      </dl>
      {problem !== undefined && <p className="note">{problem}</p>}
      {details?.error !== undefined && <p className="note failure">{details.error}</p>}
      {details?.request && <Request request={details.request} />}
      {details && !details.request && details.outcome !== "pending" && (
        <p className="quiet">No backend was called for this event.</p>
      )}
      {details?.response && details.request && <Response response={details.response} />}
    </>
  );
}

function Request({ request }: { readonly request: RecordedRequest }) {
  if (request.kind === "function")
    return (
      <section aria-label="Request">
        <h3>Request to the function</h3>
        <TextBlock label="Event" content={request.event} hasSecrets />
      </section>
    );
  return (
    <section aria-label="Request">
      <h3>Request</h3>
      <p className="url">
        <b>{request.method}</b> <SecretText parts={urlParts(request.url)} />
      </p>
      {request.body && <TextBlock label="Request body" content={request.body} />}
      <h4>Request headers</h4>
      <HeaderList headers={request.headers} />
    </section>
  );
}

function Response({ response }: { readonly response: RecordedResponse }) {
  const { status, headers, body, result } = response;
  return (
    <section aria-label="Response">
      <h3>Response {status}</h3>
      {result && <TextBlock label="Result" content={result} hasSecrets />}
      {body && body.bytes > 0 && <TextBlock label="Response body" content={body} />}
      {!result && (
        <>
          <h4>Response headers</h4>
          <HeaderList headers={headers} />
        </>
      )}
    </section>
  );
}

/** A term and its value in a list of pairs. */
export function Pair({ name, children }: { readonly name: string; readonly children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
