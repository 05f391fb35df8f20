import type { EventKind, EventSummary } from "../local/inspector/messages.ts";
import { isFailure } from "./event-filter.ts";

export const KIND_LABELS: Readonly<Record<EventKind, string>> = {
  connect: "Connect",
  message: "Message",
  disconnect: "Disconnect",
  management: "API call",
};

/** Returns the status with a word for what is not a plain answer: "200", "timed out" or "403 rejected". */
export function statusLabel({ outcome, status }: EventSummary): string {
  if (outcome === "answered") return String(status);
  return status === undefined ? outcome : `${status} ${outcome}`;
}

/** Returns the class of a status, which sets its color. */
export function statusClass(event: EventSummary): string {
  if (event.outcome === "pending") return "pending";
  return isFailure(event) ? "failure" : "success";
}

interface FaultLabel {
  /** Words for the list. */
  readonly label: string;
  /** A clause for the details. */
  readonly effect: string;
}

/** Returns the simulated faults of an event. */
export function faultLabels({ faults, postFault }: EventSummary): readonly FaultLabel[] {
  if (postFault)
    return [
      { label: "not sent", effect: "the post was answered with an error, and its message was not sent" },
    ];
  if (!faults) return [];
  const { delayMs, isDropped, isDoubled, isJoined } = faults;
  const delay = Math.round(delayMs);
  return [
    ...(isDropped ? [{ label: "dropped", effect: "the backend did not receive the event" }] : []),
    ...(delayMs > 0
      ? [{ label: `delayed ${delay} ms`, effect: `the backend was called ${delay} ms later` }]
      : []),
    ...(isDoubled ? [{ label: "sent twice", effect: "the backend was called twice" }] : []),
    ...(isJoined
      ? [{ label: "headers joined", effect: "mapped headers were joined with those of the client" }]
      : []),
  ];
}

export function durationLabel(tookMs: number | undefined): string {
  if (tookMs === undefined) return "";
  return tookMs < 10 ? `${tookMs.toFixed(1)} ms` : `${Math.round(tookMs)} ms`;
}

/** Returns a local time such as "14:03:07.250". */
export function timeLabel(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

export function bytesLabel(bytes: number): string {
  return bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KB`;
}
