import { type Attributes, metrics, type Span, SpanStatusCode, type Tracer, trace } from "@opentelemetry/api";
import type { Decision } from "./audit/decision.ts";
import type { EventInfo, EventOutcome, Telemetry } from "./audit/events.ts";
import type { DeliveryReport } from "./delivery/report.ts";

export type { EventInfo, EventOutcome, Telemetry } from "./audit/events.ts";

/** Bucket bounds in seconds, from no database statement to a wait for the database. */
const BUCKET_SECONDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

const OUTCOMES = ["sent", "gone", "denied", "failed", "unsent"] as const satisfies (keyof DeliveryReport)[];

/**
 * Returns traces and metrics for `createSallyport({ telemetry: openTelemetry() })`.
 *
 * They use the API of OpenTelemetry. The OpenTelemetry SDK of the app exports them. Without an SDK,
 * nothing is recorded. They contain no user ids, channel names or message contents.
 *
 * Metrics:
 *
 * - `sallyport.events` and `sallyport.event.duration`, by event, view, handler and status
 * - `sallyport.authorization.duration`, the time until an event was authorized
 * - `sallyport.denials`, by event and reason
 * - `sallyport.revocations`, by scope
 * - `sallyport.deliveries`, by audience and outcome
 *
 * Spans: `sallyport <event>` and `sallyport send`.
 */
export function openTelemetry(): Telemetry {
  return new OpenTelemetry();
}

class OpenTelemetry implements Telemetry {
  readonly #tracer: Tracer = trace.getTracer("sallyport");
  readonly #events;
  readonly #duration;
  readonly #authorization;
  readonly #denials;
  readonly #revocations;
  readonly #deliveries;

  constructor() {
    const meter = metrics.getMeter("sallyport");
    this.#events = meter.createCounter("sallyport.events", {
      description: "Token requests, connects, messages and disconnects that were processed",
    });
    this.#duration = meter.createHistogram("sallyport.event.duration", {
      description: "Time from the arrival of an event to its response, including the code of the app",
      unit: "s",
    });
    this.#authorization = meter.createHistogram("sallyport.authorization.duration", {
      description: "Time from the arrival of an event until all checks have passed",
      unit: "s",
      advice: { explicitBucketBoundaries: BUCKET_SECONDS },
    });
    this.#denials = meter.createCounter("sallyport.denials", {
      description: "Denied and rejected events, by reason",
    });
    this.#revocations = meter.createCounter("sallyport.revocations", {
      description: "Views and channels that open connections lost together with a permission",
    });
    this.#deliveries = meter.createCounter("sallyport.deliveries", {
      description: "Recipients of sends, by outcome",
    });
  }

  event<Answer>(
    { kind, view }: EventInfo,
    work: () => Promise<Answer>,
    endOf: (answer: Answer) => EventOutcome,
  ): Promise<Answer> {
    const startedAt = performance.now();
    const attributes: Attributes = {
      "sallyport.event": kind,
      ...(view === undefined ? {} : { "sallyport.view": view }),
    };
    return this.#span(`sallyport ${kind}`, attributes, async (span) => {
      const answer = await work();
      const { status, handler, authorizationMs, connectionId, requestId } = endOf(answer);
      const handled = handler === undefined ? attributes : { ...attributes, "sallyport.handler": handler };
      if (authorizationMs !== undefined) this.#authorization.record(authorizationMs / 1000, handled);
      const answered = { ...handled, "sallyport.status": status };
      this.#duration.record((performance.now() - startedAt) / 1000, answered);
      this.#events.add(1, answered);
      span.setAttributes(answered);
      if (connectionId !== undefined) span.setAttribute("sallyport.connection_id", connectionId);
      if (requestId !== undefined) span.setAttribute("sallyport.request_id", requestId);
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      return answer;
    });
  }

  send(audience: string, work: () => Promise<DeliveryReport>): Promise<DeliveryReport> {
    const attributes = { "sallyport.audience": audience };
    return this.#span("sallyport send", attributes, async (span) => {
      const report = await work();
      for (const outcome of OUTCOMES) {
        const count = report[outcome];
        span.setAttribute(`sallyport.${outcome}`, count);
        if (count > 0) this.#deliveries.add(count, { ...attributes, "sallyport.outcome": outcome });
      }
      return report;
    });
  }

  /** Runs `work` in a new span and records its failure there. */
  #span<Result>(
    name: string,
    attributes: Attributes,
    work: (span: Span) => Promise<Result>,
  ): Promise<Result> {
    return this.#tracer.startActiveSpan(name, { attributes }, async (span) => {
      try {
        return await work(span);
      } catch (error) {
        span.recordException(error instanceof Error ? error : String(error));
        span.setStatus({ code: SpanStatusCode.ERROR });
        throw error;
      } finally {
        span.end();
      }
    });
  }

  decided({ event, verdict, reason, view, channel, reference }: Decision): void {
    if (verdict !== "denied") return;
    const at = view === undefined ? {} : { "sallyport.view": view };
    if (event === "revocation") {
      this.#revocations.add(1, { ...at, "sallyport.scope": channel === undefined ? "view" : "channel" });
      return;
    }
    this.#denials.add(1, { ...at, "sallyport.event": event, "sallyport.reason": reason ?? "" });
    trace
      .getActiveSpan()
      ?.addEvent("denied", { "sallyport.reason": reason ?? "", "sallyport.reference": reference });
  }
}
