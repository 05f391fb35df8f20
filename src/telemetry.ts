import { type Attributes, metrics, type Span, SpanStatusCode, type Tracer, trace } from "@opentelemetry/api";
import type { Decision } from "./audit/decision.ts";
import type { EventInfo, EventOutcome, Telemetry } from "./audit/events.ts";
import type { DeliveryReport } from "./delivery/report.ts";

export type { EventInfo, EventOutcome, Telemetry } from "./audit/events.ts";

/** Bounds of the gate's histogram, in seconds: from what takes no statement to what waits for a database. */
const GATE_BOUNDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

const OUTCOMES = ["sent", "gone", "withheld", "failed", "unsent"] as const satisfies (keyof DeliveryReport)[];

/**
 * Traces and metrics by OpenTelemetry's API: `createSallyport({ telemetry: openTelemetry() })`. They go wherever the app's own SDK sends
 * them, and nowhere without one. Names and numbers of users, channels and messages are in none of them.
 *
 * Metrics: `sallyport.events` and `sallyport.event.duration` (by event, view, handler, status), `sallyport.gate.duration`,
 * `sallyport.refusals` (by event and reason), `sallyport.evictions` (by scope), `sallyport.deliveries` (by audience and outcome).
 * Spans: `sallyport <event>` and `sallyport send`.
 */
export function openTelemetry(): Telemetry {
  return new OpenTelemetry();
}

class OpenTelemetry implements Telemetry {
  readonly #tracer: Tracer = trace.getTracer("sallyport");
  readonly #events;
  readonly #duration;
  readonly #gate;
  readonly #refusals;
  readonly #revocations;
  readonly #deliveries;

  constructor() {
    const meter = metrics.getMeter("sallyport");
    this.#events = meter.createCounter("sallyport.events", {
      description: "Token requests, connects, messages and disconnects that were answered",
    });
    this.#duration = meter.createHistogram("sallyport.event.duration", {
      description: "From an event's arrival to its answer, the app's own code included",
      unit: "s",
    });
    this.#gate = meter.createHistogram("sallyport.gate.duration", {
      description: "From an event's arrival until every guard has said yes",
      unit: "s",
      advice: { explicitBucketBoundaries: GATE_BOUNDS },
    });
    this.#refusals = meter.createCounter("sallyport.refusals", { description: "Refusals, by their reason" });
    this.#revocations = meter.createCounter("sallyport.evictions", {
      description: "Views and channels that open sockets have lost with a right",
    });
    this.#deliveries = meter.createCounter("sallyport.deliveries", {
      description: "Recipients of sends, by what became of them",
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
      const { status, handler, gateMs, connectionId, requestId } = endOf(answer);
      const handled = handler === undefined ? attributes : { ...attributes, "sallyport.handler": handler };
      if (gateMs !== undefined) this.#gate.record(gateMs / 1000, handled);
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

  /** Work within a span of its own, which says whether it failed. */
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
    if (verdict !== "refused") return;
    const at = view === undefined ? {} : { "sallyport.view": view };
    if (event === "eviction") {
      this.#revocations.add(1, { ...at, "sallyport.scope": channel === undefined ? "view" : "channel" });
      return;
    }
    this.#refusals.add(1, { ...at, "sallyport.event": event, "sallyport.reason": reason ?? "" });
    trace
      .getActiveSpan()
      ?.addEvent("refused", { "sallyport.reason": reason ?? "", "sallyport.reference": reference });
  }
}
