import type { DeliveryReport } from "../delivery/report.ts";
import type { Decision } from "./decision.ts";

/** An event as telemetry tells it. Nothing in it is chosen by a peer. */
export interface EventInfo {
  readonly kind: "token" | "connect" | "message" | "disconnect";
  /** Path of the view; undefined for a token. */
  readonly view: string | undefined;
}

/** How an event ended. */
export interface EventOutcome {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Handler that was run; undefined where none was. */
  readonly handler?: string | undefined;
  readonly connectionId?: string | undefined;
  readonly requestId?: string | undefined;
  /** From the event's arrival until all its guards had said yes, in milliseconds; undefined where one said no. */
  readonly gateMs?: number | undefined;
}

/** Whoever is told of what happens, for traces and metrics: `openTelemetry()` of `sallyport/telemetry`, or one of your own. */
export interface Telemetry {
  /** Called in place of answering an event, which `work` does: what it starts belongs to the event. It must not throw. */
  event<Answer>(
    event: EventInfo,
    work: () => Promise<Answer>,
    endOf: (answer: Answer) => EventOutcome,
  ): Promise<Answer>;
  /** The same for a send. @param audience what it is for: `channel`, `user`, `connection`, `permission` or `everyone` */
  send(audience: string, work: () => Promise<DeliveryReport>): Promise<DeliveryReport>;
  /** A refusal, or a right that ended under an open socket. */
  decided(decision: Decision): void;
}
