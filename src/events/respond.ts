import { allowed, type DecisionContext, denied, newReference } from "../audit/decision.ts";
import { toRequestError } from "../delivery/to-request-error.ts";
import { RequestError, SallyportError } from "../errors.ts";
import type { EventServices } from "../services.ts";
import type { EventContext } from "./event-context.ts";
import { type Answer, type DenialResponse, deniedAnswer, succeeded } from "./response.ts";

/** Runs the checks and the action of an event, and returns the answer. */
export async function answerOf(
  services: EventServices,
  event: EventContext,
  work: () => Promise<unknown>,
): Promise<Answer> {
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
