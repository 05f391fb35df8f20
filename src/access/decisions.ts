import { randomUUID } from "node:crypto";
import type { RefusedError } from "../errors.ts";

/** What was asked for. */
export type DecidedEvent = "token" | "connect" | "message" | "disconnect";

/** What is known about an event while it is being decided; filled in as guards pass. */
export interface Trail {
  readonly event: DecidedEvent;
  readonly path: string;
  gateway?: string;
  connectionId?: string;
  /** API Gateway's id of the event, as in its access log. */
  requestId?: string;
  sourceIp?: string;
  origin?: string;
  sessionId?: string;
  userId?: string;
  loginId?: string;
  view?: string;
  handler?: string;
  channel?: string;
  /** The `id` of the call, as the peer chose it. */
  callId?: string | number;
}

/** One refusal with its reasons: what `onDecision` is told. The peer hears the reference and nothing else of it. */
export interface Decision extends Readonly<Trail> {
  /** Leads from what the peer heard to this decision. */
  readonly reference: string;
  /** Epoch milliseconds. */
  readonly at: number;
  readonly verdict: "refused";
  readonly status: number;
  readonly reason: RefusedError["reason"];
  /** For the developer: what happened and what to do. */
  readonly message: string;
  /** Permissions any or all of which would have let the user in. */
  readonly missing: readonly string[];
}

/** Short enough to read out, random enough never to meet another: 12 hex characters. */
export function newReference(): string {
  return randomUUID().replaceAll("-", "").slice(0, 12);
}

export function decisionOf(trail: Trail, error: RefusedError, reference: string): Decision {
  return {
    ...trail,
    reference,
    at: Date.now(),
    verdict: "refused",
    status: error.status,
    reason: error.reason,
    message: error.message,
    missing: error.missing,
  };
}
