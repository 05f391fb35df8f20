import type { NetworkFault } from "../connections.ts";
import type { FaultPlan, PostFault } from "../faults.ts";

/** The types of the messages between the gateway and the page of the inspector. */

export type EventKind = "connect" | "message" | "disconnect" | "management";

/**
 * The state of an event. An event that called no integration has the outcome "no route",
 * "throttled" or "rejected".
 */
export type EventOutcome =
  | "pending"
  | "answered"
  | "timed out"
  | "unreachable"
  | "failed"
  | "no route"
  | "throttled"
  | "rejected";

/** An event or a call of the Management API, as a row of the list contains it. */
export interface EventSummary {
  readonly id: number;
  /** Time of the event, in epoch milliseconds. */
  readonly at: number;
  readonly kind: EventKind;
  /** The route key, or the HTTP method of a call of the Management API. */
  readonly routeKey: string;
  readonly apiId: string;
  readonly stage: string;
  /** The id of the connection, or "" for an upgrade that was rejected before it had one. */
  readonly connectionId: string;
  readonly outcome: EventOutcome;
  /** The HTTP status, or undefined without an answer. */
  readonly status?: number | undefined;
  /** Duration in milliseconds, or undefined while the event is pending. */
  readonly tookMs?: number | undefined;
  /** The first characters of the body. */
  readonly preview: string;
  /** The first characters of the body of the answer. */
  readonly answerPreview: string;
  /** The simulated faults of the event. */
  readonly faults?: FaultPlan | undefined;
  /** The simulated fault that caused the answer to a call of the Management API. */
  readonly postFault?: PostFault | undefined;
}

/** A text that can be cut. */
export interface CutText {
  readonly text: string;
  /** The size of the whole text, in bytes. */
  readonly bytes: number;
  readonly isCut: boolean;
}

export type Header = readonly [name: string, value: string];

export type RecordedRequest =
  | {
      readonly kind: "http";
      readonly method: string;
      readonly url: string;
      readonly headers: readonly Header[];
      readonly body?: CutText | undefined;
    }
  | { readonly kind: "function"; readonly event: CutText };

export interface RecordedResponse {
  readonly status?: number | undefined;
  readonly headers: readonly Header[];
  readonly body?: CutText | undefined;
  /** The result of a function. It replaces the headers and the body. */
  readonly result?: CutText | undefined;
}

/** An event with its request and its response. */
export interface EventDetails extends EventSummary {
  readonly request?: RecordedRequest | undefined;
  readonly response?: RecordedResponse | undefined;
  readonly error?: string | undefined;
}

/** An open connection. */
export interface ConnectionRow {
  readonly id: string;
  readonly apiId: string;
  readonly stage: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  /** Time of the connect, in epoch milliseconds. */
  readonly connectedAt: number;
  /** Time of the last message in either direction, in epoch milliseconds. */
  readonly lastActiveAt: number;
  /** The number of messages from the client. */
  readonly received: number;
  /** The number of messages to the client. */
  readonly sent: number;
  readonly fault: NetworkFault;
}

/** The newest open connections, and the number of all. */
export interface OpenConnections {
  readonly rows: readonly ConnectionRow[];
  readonly count: number;
}

/** The names of the faults that the page can switch. */
export const SWITCHED_FAULTS = ["drop", "delayMs", "duplicate", "gone", "limitExceeded"] as const;

export type SwitchedFault = (typeof SWITCHED_FAULTS)[number];

/** Each active fault. "function" is a fault that code selects. */
export type FaultState = Readonly<Record<string, number | boolean | "function">>;

/** A message of the event stream. */
export type FeedMessage =
  | {
      readonly type: "snapshot";
      /** The WebSocket URL of the gateway. */
      readonly url: string;
      /** The recorded events, oldest first. */
      readonly events: readonly EventSummary[];
      readonly connections: OpenConnections;
      readonly faults: FaultState;
    }
  | {
      readonly type: "changes";
      /** New and changed events. */
      readonly events: readonly EventSummary[];
      /** The id of the oldest event that is kept. */
      readonly oldestId: number;
      readonly connections?: OpenConnections | undefined;
      readonly faults?: FaultState | undefined;
    }
  /** The last message of a stream that is closed, because too many pages are open. */
  | { readonly type: "superseded" };
