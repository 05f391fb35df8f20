import type { DeliveryReport } from "../delivery/report.ts";
import type { Decision } from "./decision.ts";

/** Describes an event for telemetry. It contains nothing that a client chooses. */
export interface EventInfo {
  readonly kind: "token" | "connect" | "message" | "disconnect";
  /** Path of the view, or undefined for a token request. */
  readonly view: string | undefined;
}

/** How an event ended. */
export interface EventOutcome {
  /** HTTP status of the response. */
  readonly status: number;
  /** Name of the handler that was run, or undefined if none was. */
  readonly handler?: string | undefined;
  /** The connection id that AWS assigned. */
  readonly connectionId?: string | undefined;
  /** The id that API Gateway gave the event, as in its access log. */
  readonly requestId?: string | undefined;
  /**
   * Time from the arrival of the event until all checks had passed, in milliseconds. Undefined if a
   * check failed.
   */
  readonly authorizationMs?: number | undefined;
}

/**
 * Receives events, sends and decisions for traces and metrics.
 *
 * Use `openTelemetry()` of `sallyport/telemetry`, or implement this interface.
 */
export interface Telemetry {
  /**
   * Runs `work`, which processes an event, and returns its result. It must not throw other errors
   * than `work` throws.
   *
   * @param work processes the event. Spans that it starts belong to the event
   * @param endOf returns the outcome for the result of `work`
   */
  event<Answer>(
    event: EventInfo,
    work: () => Promise<Answer>,
    endOf: (answer: Answer) => EventOutcome,
  ): Promise<Answer>;
  /**
   * Runs `work`, which sends a message, and returns its report. It must not throw other errors than
   * `work` throws.
   *
   * @param audience `channel`, `user`, `connection`, `permission` or `everyone`
   */
  send(audience: string, work: () => Promise<DeliveryReport>): Promise<DeliveryReport>;
  /** Called with each denial, and each revocation of an open connection. */
  decided(decision: Decision): void;
}
