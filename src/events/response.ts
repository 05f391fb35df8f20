import { allowed, type DecisionContext, denied, newReference } from "../audit/decision.ts";
import { encodeFrame, encodeResult, toRequestError } from "../delivery/frame.ts";
import { RequestError, SallyportError } from "../errors.ts";
import type { CallAnswer, DenialBody } from "../protocol/frames.ts";
import type { HttpResponse } from "../protocol/http.ts";
import type { EventServices } from "../services.ts";
import type { EventContext } from "./event-context.ts";

/** The response to an event: the result of a handler, or a denial. */
export interface EventAnswer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
  /** Headers in addition to those of every response. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether it is the result of a handler, and not a denial or an error. */
  readonly isAllowed: boolean;
}

/** What a denial or error becomes: the status and body of an {@link EventAnswer}, with headers. */
export interface DenialResponse {
  readonly status: number;
  readonly body: DenialBody;
  readonly headers: Record<string, string>;
}

/** Runs the checks and the action of an event, and returns the answer. */
export async function answerOf(
  services: EventServices,
  event: EventContext,
  work: () => Promise<unknown>,
): Promise<EventAnswer> {
  const { decision } = event;
  try {
    const answer = succeeded(await work(), decision);
    if (decision.event !== "disconnect") sampleAllowed(services, decision);
    return answer;
  } catch (error) {
    const denial = await denialOf(services, error, decision);
    event.deniedStatus = denial.status;
    return deniedAnswer(denial, decision);
  }
}

/** Stores a sample of the allowed decisions, with their steps. */
export function sampleAllowed({ reports }: EventServices, decision: DecisionContext): void {
  if (reports.decisionLog.isSampled()) reports.recordDecision(allowed(decision, newReference()));
}

/**
 * Converts an error to a response. A denial is stored before the client receives its reference.
 */
export async function denialOf(
  { reports, store }: EventServices,
  error: unknown,
  decision: DecisionContext,
): Promise<DenialResponse> {
  const failure = toRequestError(store.failure(error));
  if (failure instanceof RequestError) {
    const reference = reports.recordDecision(denied(decision, failure, newReference()));
    await reports.decisionLog.flush();
    const headers: Record<string, string> =
      failure.retryAfterSeconds === undefined ? {} : { "retry-after": String(failure.retryAfterSeconds) };
    return { status: failure.status, body: { ok: false, error: failure.clientMessage, reference }, headers };
  }
  const reference = newReference();
  const handler = decision.handler === undefined ? "" : ` handler ${decision.handler}`;
  reports.onError(failure, `${decision.path}${handler} (reference ${reference})`);
  const [status, text] =
    failure instanceof SallyportError ? [failure.status, failure.clientMessage] : [500, "Internal error."];
  return { status, body: { ok: false, error: text, reference }, headers: {} };
}

/**
 * Returns the response to an event that succeeded. The answer of a call contains the id of the
 * call. Without an id, the body is the result of the handler.
 *
 * @throws DeliveryError if JSON cannot represent the result, or it is too large for a message
 */
function succeeded(result: unknown, { event, callId }: DecisionContext): EventAnswer {
  if (event !== "message") return { status: 200, body: "{}", isAllowed: true };
  if (callId === undefined) {
    return { status: 200, body: encodeResult(result ?? {}), isAllowed: true };
  }
  const answer: CallAnswer = { id: callId, ok: true, status: 200, result };
  return { status: 200, body: encodeFrame(answer, ""), isAllowed: true };
}

/**
 * Returns the response to a failed event. For a call, it is HTTP 200, as API Gateway may drop
 * others.
 */
export function deniedAnswer(
  { status, body, headers }: DenialResponse,
  { callId }: DecisionContext,
): EventAnswer {
  if (callId === undefined) return { status, body: JSON.stringify(body), headers, isAllowed: false };
  const { error, reference } = body;
  const answer: CallAnswer = { id: callId, ok: false, status, error, reference };
  return { status: 200, body: JSON.stringify(answer), headers, isAllowed: false };
}

const JSON_HEADERS = Object.freeze({ "content-type": "application/json", "cache-control": "no-store" });

/** Returns a JSON response that must not be cached. */
export function reply(
  status: number,
  body: object | string,
  headers?: Readonly<Record<string, string>>,
): HttpResponse {
  return {
    status,
    headers: headers === undefined ? JSON_HEADERS : { ...JSON_HEADERS, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  };
}
