import type { DecisionContext } from "../audit/decision.ts";
import { encodeFrame, encodeResult } from "../delivery/frame.ts";
import type { CallAnswer, DenialBody } from "../protocol/frames.ts";
import type { HttpAnswer } from "../protocol/http-call.ts";

/** The response to an event. */
export interface Answer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
  /** Headers in addition to those of every response. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether it is the result of a handler, and not a denial or an error. */
  readonly isAllowed: boolean;
}

/** The response to an event that was denied, rejected or failed. */
export interface DenialResponse {
  readonly status: number;
  readonly body: DenialBody;
  readonly headers: Record<string, string>;
}

/**
 * Returns the response to an event that succeeded. The answer of a call contains the id of the
 * call. Without an id, the body is the result of the handler.
 *
 * @throws DeliveryError if JSON cannot represent the result, or it is too large for a message
 */
export function succeeded(result: unknown, { event, callId }: DecisionContext): Answer {
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
export function deniedAnswer({ status, body, headers }: DenialResponse, { callId }: DecisionContext): Answer {
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
): HttpAnswer {
  return {
    status,
    headers: headers === undefined ? JSON_HEADERS : { ...JSON_HEADERS, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  };
}
