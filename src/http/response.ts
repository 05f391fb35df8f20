import type { DecisionContext } from "../audit/decision.ts";
import { encodeFrame, encodeResult } from "../delivery/frame.ts";
import { DeliveryError, RefusedError } from "../errors.ts";
import type { CallAnswer, RefusalBody } from "../protocol/frames.ts";
import type { HttpAnswer } from "../protocol/http-call.ts";

/** What goes back for an event. */
export interface Answer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
  /** Beside those of every answer. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What a handler found out, and no refusal. */
  readonly isAllowed: boolean;
}

/** What goes back for an event that was refused or failed. */
export interface DenialResponse {
  readonly status: number;
  readonly body: RefusalBody;
  readonly headers: Record<string, string>;
}

/**
 * A call's answer bears its id; without one, what the handler returned is the body.
 *
 * @throws DeliveryError when it cannot become JSON, or is more than a message may carry
 */
export function succeeded(result: unknown, { event, callId }: DecisionContext): Answer {
  if (event !== "message") return { status: 200, body: "{}", isAllowed: true };
  if (callId === undefined) {
    return { status: 200, body: encodeResult(result ?? {}), isAllowed: true };
  }
  const answer: CallAnswer = { id: callId, ok: true, status: 200, result };
  return { status: 200, body: encodeFrame(answer, ""), isAllowed: true };
}

/** A call hears of its refusal as HTTP 200: another status may never reach the socket. */
export function refused({ status, body, headers }: DenialResponse, { callId }: DecisionContext): Answer {
  if (callId === undefined) return { status, body: JSON.stringify(body), headers, isAllowed: false };
  const { error, reference } = body;
  const answer: CallAnswer = { id: callId, ok: false, status, error, reference };
  return { status: 200, body: JSON.stringify(answer), headers, isAllowed: false };
}

/** A message can be small enough to come in and too large to go out again; that is the peer's to hear. */
export function refusalOf(error: unknown): unknown {
  return error instanceof DeliveryError && error.code === "SALLYPORT_TOO_LARGE"
    ? new RefusedError(error.message, { reason: "too-large", status: 413, reply: "Message too large." })
    : error;
}

const JSON_HEADERS = Object.freeze({ "content-type": "application/json", "cache-control": "no-store" });

/** An answer of ours: JSON that nobody may keep. */
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
